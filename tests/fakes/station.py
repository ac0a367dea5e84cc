"""The gateway's own ingest, session and store in virtual time, on one line; and a witness of all that is said on it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from random import Random

from fakes.line import Line
from fakes.virtual_loop import VirtualLoop
from wayside_gateway.clock import GatewayClock
from wayside_gateway.errors import LinkError
from wayside_gateway.ingest import Ingest
from wayside_gateway.keys import NodeKey
from wayside_gateway.store import Store
from wayside_protocol.cobs import Deframer
from wayside_protocol.errors import ProtocolError
from wayside_protocol.frame import DOWNLINK, Opener, parse
from wayside_protocol.session import Ack, decode_downlink

GATEWAY = 7
RESTART_S = 2.0


class LineEnd:
    """The gateway's end of the line, as a `Link`."""

    name = "line0"

    def __init__(self, line: Line, loop: VirtualLoop, said: Callable[[bytes], None]) -> None:
        self.arrived_ms = 0
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._line, self._loop, self._said = line, loop, said
        line.ears[line.up] = self._queue.put_nowait

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            data = await self._queue.get()
            self.arrived_ms = int(self._loop.time() * 1000)
            if data is None:
                raise LinkError("gone", "the test ended it")
            yield data

    def write(self, data: bytes) -> bool:
        self._said(data)
        self._line.down.send(data)
        return True

    def end(self) -> None:
        self._queue.put_nowait(None)


class Witness:
    """Hears both sides before the line can harm anything. Fails the test at once where a promise is broken."""

    def __init__(self, key: bytes) -> None:
        self.acks = self.acked = self.frames = 0
        self.faults: list[str] = []
        self._opener = Opener(key)
        self._said: dict[tuple[int, int, int, int], bytes] = {}
        self._deframers = (Deframer(), Deframer())

    def hear(self, data: bytes, boot: int, store: Store | None = None) -> None:
        """Bytes of one side; with a store, of the gateway: what it acks must be in there by now."""
        for raw in self._deframers[store is not None].feed(data):
            try:
                frame = parse(raw)
            except ProtocolError:
                self.faults.append(f"a frame of ours that is none: {raw.hex()}")
                continue
            self.frames += 1
            nonce = (frame.kind, frame.node, frame.a, frame.b)
            if self._said.setdefault(nonce, frame.ciphertext) != frame.ciphertext:
                self.faults.append(f"nonce {nonce} for two texts")
            if frame.kind == DOWNLINK and store is not None:
                self._check(frame.node, decode_downlink(self._opener.open(frame, boot)), store)

    def _check(self, node: int, message: object, store: Store) -> None:
        if not isinstance(message, Ack):
            return
        self.acks += 1
        for first, last in message.ranges:
            rows = store.read("SELECT count(*) FROM record WHERE node = ? AND seq BETWEEN ? AND ?", (node, first, last))
            self.acked += last - first + 1
            if rows[0][0] != last - first + 1:
                self.faults.append(f"acked {first}..{last}, of which {rows[0][0]} are on disk")


class Station:
    """A gateway. `start`, `kill`, `start` … `true_s` is the true time, `wrong_s` how far its own clock is off."""

    def __init__(
        self, loop: VirtualLoop, path: Path, line: Line, witness: Witness, true_s: Callable[[], float]
    ) -> None:
        self.wrong_s = 0.0
        self.believed = True
        self.starts = 0
        self._loop, self._path, self._line, self._witness = loop, path, line, witness
        self._true_s = true_s
        self._keys: dict[int, NodeKey] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self.store: Store

    def know(self, node: int, key: bytes) -> None:
        self._keys[node] = NodeKey(key)

    def start(self) -> None:
        """Open the store and the line."""
        self.starts += 1
        self.store = Store(self._path)
        self.clock = GatewayClock(
            wall_s=lambda: self._true_s() + self.wrong_s,
            monotonic_s=self._loop.time,
            synchronised=lambda: self.believed,
        )
        self.ingest = Ingest(self.store, self._keys, GATEWAY, self.clock)
        self.stop_event = asyncio.Event()
        self._tasks = [
            self._loop.create_task(self.ingest.run(self.stop_event)),
            self._loop.create_task(self._pulse()),
        ]
        self.open_line()

    def open_line(self) -> None:
        """As the serial station does when a port comes, or comes back."""
        self.end = LineEnd(self._line, self._loop, self._said)
        self._tasks.append(self._loop.create_task(self._serve(self.end)))

    async def _serve(self, end: LineEnd) -> None:
        with contextlib.suppress(LinkError):
            await self.ingest.serve(end)

    async def _pulse(self) -> None:
        """What the keeper does each second."""
        while True:
            self.clock.pulse()
            self.ingest.pulse()
            await asyncio.sleep(1)

    def _said(self, data: bytes) -> None:
        peers = self.ingest.peers
        node = next(iter(peers))
        self._witness.hear(data, peers[node].session.boot, self.store)

    def kill(self) -> None:
        """kill -9: what was not committed is gone, and nothing more is said."""
        self._line.ears[self._line.up] = None
        for task in self._tasks:
            task.cancel()
        self._loop.drop_work()
        self.store.close()

    async def restart_at_random(self, rng: Random, every_s: float) -> None:
        """For ever: killed, or its port pulled, and back after a while."""
        while True:
            await asyncio.sleep(rng.expovariate(1 / every_s))
            if rng.random() < 0.3:
                self.end.end()
                await asyncio.sleep(rng.uniform(0, RESTART_S))
                self.open_line()
            else:
                self.kill()
                await asyncio.sleep(rng.uniform(0, RESTART_S))
                self.start()
