"""Group commit: what came gathers while the disk is busy, one transaction takes it all, and then it is answered."""

import asyncio
import time
from collections.abc import Callable, Mapping

from wayside_gateway import log
from wayside_gateway.errors import StoreError
from wayside_gateway.links.base import Link
from wayside_gateway.metrics import Metrics
from wayside_gateway.peer import Peer
from wayside_gateway.ranges import ranges_of
from wayside_gateway.rows import Batch, Outcome
from wayside_gateway.store import Store

BATCH_RECORDS = 512
"""So many records start a commit at once; beyond about this many, a larger group saves nothing."""
PENDING_RECORDS = 4096
"""With so many waiting for the disk no link is read any further: what backs up stays with the nodes."""
CONFLICT_LOG_S = 60.0
"""A key that is used twice is told this often at most: both nodes go on sending."""

Answer = Callable[[Peer, Link, list[int], int | None], None]
"""Called after the commit: this peer's seqs are on disk, and the hello of this number, if any, may be answered."""


class Commits:
    """`batch` is what the next commit takes; whoever adds to it calls `touch` and `schedule`."""

    def __init__(self, store: Store, peers: Mapping[int, Peer], metrics: Metrics, interval_ms: int, answer: Answer):
        self.batch = Batch()
        self.room = asyncio.Event()
        """Set while more may be added; links wait for it."""
        self.room.set()
        self._store = store
        self._peers = peers
        self._metrics = metrics
        self._interval_s = interval_ms / 1000
        self._answer = answer
        self._touched: list[Peer] = []
        self._due = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._told: dict[int, float] = {}
        self._log = log.get("ingest")

    def touch(self, peer: Peer) -> None:
        """The first of this peer's frames since the last commit: it is answered after the next one."""
        peer.touched = True
        self._touched.append(peer)
        row = peer.session.wants_reserve()
        if row is not None:
            self.batch.nodes[peer.node] = row

    def schedule(self) -> None:
        """Something was added: see to it that it is committed in time."""
        waiting = self.batch.size()
        if waiting >= BATCH_RECORDS:
            self._due.set()
            if waiting >= PENDING_RECORDS:
                self.room.clear()
        elif self._timer is None and waiting:
            self._timer = asyncio.get_running_loop().call_later(self._interval_s, self._due.set)

    async def run(self, stop: asyncio.Event) -> None:
        """Commit and answer until `stop`, and then what is left. Raises StoreError: nothing of that was acked."""
        stopped = asyncio.ensure_future(stop.wait())
        stopped.add_done_callback(lambda _: self._due.set())
        try:
            while not stop.is_set():
                await self._due.wait()
                await self.flush()
        finally:
            stopped.cancel()

    async def flush(self) -> None:
        """Commit what waits, then answer it. Raises StoreError; what it was about comes again from the nodes."""
        self._due.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        batch, work = self.batch, [(peer, peer.link, peer.seqs, peer.hello_n) for peer in self._touched]
        for peer in self._touched:
            peer.seqs, peer.hello_n, peer.touched = [], None, False
        self.batch, self._touched = Batch(), []
        self.room.set()
        if not batch.size():
            return
        try:
            outcome = await self._store.commit_async(batch)
        except StoreError as error:
            self._metrics.count("commits_failed", label=error.reason)
            raise
        for node, row in batch.nodes.items():
            if node in self._peers:
                self._peers[node].session.committed(row)
        self._count(outcome)
        for peer, link, seqs, hello_n in work:
            if link is not None:
                if outcome.refused:
                    seqs = [seq for seq in seqs if (peer.node, seq) not in outcome.refused]
                self._answer(peer, link, seqs, hello_n)

    def _count(self, outcome: Outcome) -> None:
        self._metrics.count("commits")
        self._metrics.count("records_stored", outcome.stored)
        self._metrics.count("records_repeated", outcome.duplicates)
        if outcome.conflicts:
            self._metrics.count("records_conflicting", len(outcome.conflicts))
            for node in sorted({node for node, _ in outcome.conflicts}):
                self._tell(node, [seq for owner, seq in outcome.conflicts if owner == node])

    def _tell(self, node: int, seqs: list[int]) -> None:
        now_s = time.monotonic()
        if now_s - self._told.get(node, -CONFLICT_LOG_S) < CONFLICT_LOG_S:
            return
        self._told[node] = now_s
        self._log.error(
            "two different records under one number: two nodes use one key", node=node, seqs=ranges_of(seqs)[:8]
        )
