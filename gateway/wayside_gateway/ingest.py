"""Ingest: bytes of any link -> frames -> opened messages -> one commit for many -> acks of what is on disk.

What peers send can do no more here than raise a counter: bad input never raises past `feed`, never stops a
link, and holds no memory beyond the limits below.
"""

import asyncio

from wayside_gateway.clock import GatewayClock
from wayside_gateway.commits import Commits
from wayside_gateway.keys import NodeKey
from wayside_gateway.links.base import Link
from wayside_gateway.metrics import Metrics
from wayside_gateway.peer import Peer
from wayside_gateway.refusals import Refusals
from wayside_gateway.rows import UNREADABLE, AnswerRow, DefinitionRow, Lost
from wayside_gateway.session import NodeSession, anchor
from wayside_gateway.store import Store
from wayside_protocol import VERSION, event, record
from wayside_protocol.cobs import Deframer
from wayside_protocol.errors import ProtocolError
from wayside_protocol.frame import DOWNLINK, RECORD, Frame, parse
from wayside_protocol.limits import U32_MAX
from wayside_protocol.session import Command, Hello, decode_uplink

_SAMPLES_HEAD = b"\x86\x00"
"""An array of six whose first element is 0. Whether the rest of it is right is for its readers to find."""
STALE_MS = 5_000
"""A hello that may have waited longer than this in our own buffers dates nothing."""


class Ingest:
    """Feeds from any number of links, one `run` that commits. Everything but the commit is in the event loop."""

    def __init__(
        self,
        store: Store,
        keys: dict[int, NodeKey],
        gateway: int,
        clock: GatewayClock,
        metrics: Metrics | None = None,
        commit_interval_ms: int = 20,
    ) -> None:
        self.metrics = metrics if metrics is not None else Metrics()
        self.peers: dict[int, Peer] = {}
        self.refusals = Refusals(store.refusals())
        self._store = store
        self._gateway = gateway
        self._clock = clock
        self._commits = Commits(store, self.peers, self.metrics, commit_interval_ms, self._answer)
        self._believed = clock.believed()
        self.set_keys(keys)

    def set_keys(self, keys: dict[int, NodeKey]) -> None:
        """These nodes are known from now on; one whose key is new starts over with it."""
        for node in [node for node, peer in self.peers.items() if node not in keys or keys[node].key != peer.key]:
            del self.peers[node]
        for node, entry in keys.items():
            if node not in self.peers:
                session = NodeSession(node, self._store.node(node), self._clock.wall_ms())
                self.peers[node] = Peer(node, entry.key, session)

    # -- from links --------------------------------------------------------------------------------------

    async def serve(self, link: Link) -> None:
        """Take what this link gives until it ends. Raises what ends it: LinkError."""
        deframer = Deframer()
        noise_bytes = oversize = 0
        try:
            async for data in link:
                self.feed(link, deframer.feed(data))
                if deframer.noise_bytes != noise_bytes or deframer.oversize != oversize:
                    self.metrics.count("noise_bytes", deframer.noise_bytes - noise_bytes)
                    self.metrics.count("oversize", deframer.oversize - oversize)
                    noise_bytes, oversize = deframer.noise_bytes, deframer.oversize
                if not self._commits.room.is_set():
                    self.metrics.count("backpressure")
                    await self._commits.room.wait()
        finally:
            for peer in self.peers.values():
                if peer.link is link:
                    peer.link = None

    def feed(self, link: Link, frames: list[bytes]) -> None:
        """Take frames that a link brought. Raises nothing that they can cause."""
        if not frames:
            return
        unix_ms = self._clock.unix_ms() or 0
        peers = self.peers
        now_ms = self._clock.monotonic_ms()
        records = self._commits.batch.records
        for raw in frames:
            try:
                frame = parse(raw)
                peer = peers.get(frame.node)
                if peer is None:
                    self._unknown(frame, link)
                    continue
                if frame.kind == RECORD:
                    body = peer.open(frame)
                    kind = record.SAMPLES if body[:2] == _SAMPLES_HEAD else self._look_into(frame, body)
                    if not peer.touched:
                        peer.heard_ms = now_ms
                        self._commits.touch(peer)
                    peer.seqs.append(frame.b)
                    peer.link = link
                    records.append((frame.node, frame.b, kind, unix_ms, body))
                elif frame.kind != DOWNLINK:
                    self._session(peer, frame, link)
                else:
                    self.metrics.count("frames_refused", label="downlink")
            except ProtocolError as error:
                self._refused(raw, error, link)
        self.metrics.count("frames", len(frames))
        self._commits.schedule()

    def _unknown(self, frame: Frame, link: Link) -> None:
        self.metrics.count("frames_refused", label="unknown_node")
        self.refusals.note(frame.node, "unknown_node", self._clock.wall_ms(), link.name)

    def _refused(self, raw: bytes, error: ProtocolError, link: Link) -> None:
        self.metrics.count("frames_refused", label=error.reason)
        if error.reason == "auth":
            self.refusals.note(parse(raw).node, "auth", self._clock.wall_ms(), link.name)

    def _look_into(self, frame: Frame, body: bytes) -> int:
        """Note what the gateway itself needs of a record; return its kind, UNREADABLE if it is no message."""
        try:
            value = record.decode(body)
        except ProtocolError as error:
            self.metrics.count("records_unreadable", label=error.reason)
            return UNREADABLE
        if isinstance(value, record.Channels):
            self._commits.batch.definitions.append(DefinitionRow(frame.node, value.set_id, frame.b, body))
        elif isinstance(value, record.Event) and value.code == event.LOST:
            self._loss(frame.node, value.detail)
        return body[1]

    def _loss(self, node: int, detail: tuple[int | str, ...]) -> None:
        match detail:
            case (int(first), int(last), int(why)) if 0 <= first <= last <= U32_MAX:
                reason = event.LOSSES.get(why, "unknown")
                self._commits.batch.lost.append(Lost(node, "", first, last, reason, self._clock.unix_ms() or 0))
            case _:
                self.metrics.count("records_unreadable", label="loss_form")

    # -- sessions ----------------------------------------------------------------------------------------

    def _session(self, peer: Peer, frame: Frame, link: Link) -> None:
        message = decode_uplink(peer.open(frame))
        refusal = peer.session.refusal(frame)
        if refusal:
            self.metrics.count("frames_refused", label=refusal)
            if refusal == "boot_fell":  # a replay, or another board under this number: a person should see it
                self.refusals.note(peer.node, refusal, self._clock.wall_ms(), link.name)
            return
        if not isinstance(message, Hello):
            row = peer.session.answer(frame, message.id)
            if row is not None:
                answer = AnswerRow(message.id, message.status, message.result, self._clock.wall_ms())
                self._commits.batch.answers.append(answer)
                self._commits.batch.nodes[peer.node] = row
            return
        if message.version != VERSION:
            self.metrics.count("frames_refused", label="version")
            return
        self._hello(peer, frame, message, link)

    def _hello(self, peer: Peer, frame: Frame, hello: Hello, link: Link) -> None:
        unix_ms = self._clock.unix_ms()
        late_ms = max(self._clock.monotonic_ms() - link.arrived_ms, self._clock.pulse_age_ms() - 1000, 0)
        self._commits.batch.nodes[peer.node] = peer.session.hello(frame, hello, self._clock.wall_ms(), link.name)
        peer.undated = None
        if late_ms < STALE_MS and unix_ms is not None:
            self._commits.batch.anchors.append(anchor(peer.node, frame, hello, unix_ms, late_ms))
        elif late_ms < STALE_MS:
            peer.undated = (frame, hello, self._clock.monotonic_ms(), late_ms)
        peer.hello_n = frame.b
        peer.link = link
        peer.heard_ms = self._clock.monotonic_ms()
        if not peer.touched:
            self._commits.touch(peer)

    def pulse(self) -> None:
        """About once a second: send commands that are due, and date what waited for a believed clock."""
        now_ms = self._clock.monotonic_ms()
        for peer in self.peers.values():
            row = peer.session.due(now_ms) if peer.link is not None else None
            if row is not None and peer.link is not None:
                line = peer.command(self._gateway, Command(row.id, row.name, row.argument))
                self._send(peer.link, line, "command")
        believed = self._clock.believed()
        if believed and not self._believed:
            self._date_hellos(now_ms)
        self._believed = believed

    def _date_hellos(self, now_ms: int) -> None:
        """The clock is believed from now on: the last hellos, whose age is known, become anchors."""
        wall_ms = self._clock.wall_ms()
        for peer in self.peers.values():
            if peer.undated is not None:
                frame, hello, at_ms, late_ms = peer.undated
                utc_ms = wall_ms - (now_ms - at_ms)
                if frame.a == peer.session.boot:
                    self._commits.batch.anchors.append(anchor(peer.node, frame, hello, utc_ms, late_ms))
                peer.undated = None
        self._commits.schedule()

    def offer_commands(self) -> None:
        """Look for commands that wait in the store, which other programs may have put there."""
        waiting = {row.node: row for row in reversed(self._store.commands(waiting=True))}
        for node, peer in self.peers.items():
            if node in waiting:
                peer.session.offer(waiting[node])
            else:
                peer.session.withdraw()

    # -- to disk and back --------------------------------------------------------------------------------

    async def run(self, stop: asyncio.Event) -> None:
        """Commit and ack until `stop`. Raises StoreError: nothing of that was acked."""
        await self._commits.run(stop)

    async def flush(self) -> None:
        """Commit what waits, then ack it. Raises StoreError."""
        await self._commits.flush()

    def _answer(self, peer: Peer, link: Link, seqs: list[int], hello_n: int | None) -> None:
        if hello_n is not None:
            held = self._store.held(peer.node)
            line = peer.welcome(self._gateway, hello_n, self._clock.unix_ms(), held)
            self._send(link, line, "welcome")
        if seqs:
            self._send(link, peer.acks(self._gateway, seqs), "ack")

    def _send(self, link: Link, line: bytes, what: str) -> None:
        """What is not sent now is asked for again: acks by the repeated record, welcomes by the next hello."""
        if not line or not link.write(line):
            self.metrics.count("downlinks_dropped", label=what)
        else:
            self.metrics.count("downlinks", label=what)
