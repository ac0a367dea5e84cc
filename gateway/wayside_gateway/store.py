"""The store: an append-only log of what nodes sent, each record once, and what is known of the nodes.

One writer at a time holds `_lock`; the gateway gives all writing to one thread by `run`, so that a slow
disk never holds up the event loop. Reading has its own connection and sees what is committed.
"""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import ParamSpec, TypeVar

from wayside_gateway import commit
from wayside_gateway.database import connect, told
from wayside_gateway.ranges import RangeSet
from wayside_gateway.rows import Anchor, Batch, CommandRow, Lost, NodeRow, Outcome, Parked, Refusal, Row

P = ParamSpec("P")
T = TypeVar("T")

_NODES = (
    "SELECT node, first_seen_ms, hello_ms, boot, session_n, downlink_ceiling, oldest, newest, evicted, set_id,"
    " firmware, board, config, link FROM node"
)

BLOCK_MAX = 5000
"""Rows of one read at most, so that a reader's memory is bounded."""


class Store:
    """An open store. All methods raise StoreError; those that write did nothing when they raise."""

    def __init__(self, path: Path, read_only: bool = False) -> None:
        self.path = path
        self.read_only = read_only
        self.anchors_version = 0
        """Grows with every commit that brings anchors or boots: what was computed from them may be renewed."""
        self.clock_versions: dict[int, int] = {}
        """The same for each node, since this store was opened."""
        self._lock = threading.RLock()
        self._reading = threading.Lock()
        self._writer = connect(path, read_only)
        self._reader = connect(path, read_only=True)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")
        self._listeners: list[Callable[[], None]] = []
        self._held: dict[int, RangeSet] = {}
        with told(path), self._lock:
            self._load()

    def _load(self) -> None:
        self._held = {}
        ranges: dict[int, list[tuple[int, int]]] = {}
        with closing(self._writer.execute("SELECT node, first, last FROM held ORDER BY node, first")) as rows:
            for node, first, last in rows:
                ranges.setdefault(node, []).append((first, last))
        for node, pairs in ranges.items():
            self._held[node] = RangeSet(pairs)
        newest = self._writer.execute(
            "SELECT max(coalesce((SELECT max(id) FROM record), 0), coalesce((SELECT max(last_id) FROM cursor), 0))"
        ).fetchone()[0]
        self._next_id = newest + 1

    def close(self) -> None:
        """Wait for the writer's work, then close. Calling it again does nothing."""
        self._thread.shutdown()
        with self._lock, self._reading:
            self._reader.close()
            self._writer.close()

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a method that writes in the writer's thread. A cancelled caller does not undo the write."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, lambda: function(*args, **kwargs))

    def listen(self, callback: Callable[[], None]) -> None:
        """Have callback called, in the event loop's thread, after every commit that stored records."""
        self._listeners.append(callback)

    def unlisten(self, callback: Callable[[], None]) -> None:
        self._listeners.remove(callback)

    async def commit_async(self, batch: Batch) -> Outcome:
        """`commit` in the writer's thread; then tell the listeners."""
        outcome = await self.run(self.commit, batch)
        if outcome.stored:
            for callback in self._listeners:
                callback()
        return outcome

    def commit(self, batch: Batch) -> Outcome:
        """Make all of the batch durable in one transaction; only then may its records be acked."""
        with self._lock, told(self.path):
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                outcome = commit.write(self._writer, batch, self._held, self._next_id)
                self._writer.execute("COMMIT")
            except BaseException:
                self._undo()
                raise
            self._next_id += len(batch.records)  # at least what was used: an id never comes twice
            for node in batch.nodes:
                self.clock_versions[node] = self.clock_versions.get(node, 0) + 1
            if batch.nodes or batch.anchors:
                self.anchors_version += 1
            return outcome

    def _undo(self) -> None:
        """Back to what is on disk, in the file and in memory."""
        if self._writer.in_transaction:
            self._writer.execute("ROLLBACK")
        self._load()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction: committed at the end of the block, undone if the block raises."""
        with self._lock, told(self.path):
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
                self._writer.execute("COMMIT")
            except BaseException:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                raise

    def read(self, sql: str, values: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
        """All rows of a query on what is committed."""
        with self._reading, told(self.path):
            return self._reader.execute(sql, values).fetchall()

    # -- records -----------------------------------------------------------------------------------------

    def after(self, last_id: int, limit: int) -> list[Row]:
        """Up to `limit` (and BLOCK_MAX) records with a greater id, in order of arrival."""
        with self._reading, told(self.path):
            rows = self._reader.execute(
                "SELECT id, node, seq, kind, received_ms, body FROM record WHERE id > ? ORDER BY id LIMIT ?",
                (last_id, min(limit, BLOCK_MAX)),
            ).fetchall()
        return list(map(Row._make, rows))

    def rows(self, ids: Iterable[int]) -> list[Row]:
        """The records of these ids that are still there, in order of arrival."""
        out: list[Row] = []
        for number in sorted(ids):
            found = self.read("SELECT id, node, seq, kind, received_ms, body FROM record WHERE id = ?", (number,))
            out.extend(Row._make(row) for row in found)
        return out

    def record(self, node: int, seq: int) -> Row | None:
        """The record of this identity, None if it was never stored or retention removed it."""
        found = self.read(
            "SELECT id, node, seq, kind, received_ms, body FROM record WHERE node = ? AND seq = ?", (node, seq)
        )
        return Row._make(found[0]) if found else None

    def newest_id(self) -> int:
        """The id of the newest record, 0 if there is none."""
        value = self.read("SELECT coalesce(max(id), 0) FROM record")[0][0]
        assert isinstance(value, int)
        return value

    def definition(self, node: int, set_id: int, seq: int) -> bytes | None:
        """The body of the channels record in force for this set at this seq, None if it has not come yet."""
        found = self.read(
            "SELECT body FROM channels WHERE node = ? AND set_id = ? AND seq < ? ORDER BY seq DESC LIMIT 1",
            (node, set_id, seq),
        )
        body = found[0][0] if found else None
        assert body is None or isinstance(body, bytes)
        return body

    def held(self, node: int) -> RangeSet:
        """Every seq ever stored of this node, as committed. A copy."""
        found = self.read("SELECT first, last FROM held WHERE node = ? ORDER BY first", (node,))
        return RangeSet((int(str(first)), int(str(last))) for first, last in found)

    def held_within(self, node: int, first: int, last: int) -> list[tuple[int, int]]:
        """The ranges of first..last that are stored. Waits for a commit under way."""
        with self._lock:
            ranges = self._held.get(node)
            return ranges.within(first, last) if ranges else []

    # -- nodes -------------------------------------------------------------------------------------------

    def nodes(self) -> list[NodeRow]:
        """Every node that ever said hello."""
        rows = self.read(_NODES + " ORDER BY node")
        return [NodeRow._make(row) for row in rows]

    def node(self, node: int) -> NodeRow | None:
        rows = self.read(_NODES + " WHERE node = ?", (node,))
        return NodeRow._make(rows[0]) if rows else None

    def anchors(self, node: int, boot: int | None = None) -> list[Anchor]:
        """The node's anchors, of one boot or of all, by boot and uptime."""
        rows = self.read(
            "SELECT node, boot, uptime_ms, utc_ms, bound_ms, clock_ms, clock_bound_ms, newest FROM anchor"
            " WHERE node = ?1 AND (?2 IS NULL OR boot = ?2) ORDER BY boot, uptime_ms",
            (node, boot),
        )
        return [Anchor._make(row) for row in rows]

    def lost(self, node: int | None = None) -> list[Lost]:
        """What will not arrive, and why; of one node or of all."""
        rows = self.read(
            "SELECT node, uplink, first, last, reason, at_ms FROM lost WHERE ?1 IS NULL OR node = ?1"
            " ORDER BY node, first",
            (node,),
        )
        return [Lost._make(row) for row in rows]

    def commands(self, node: int | None = None, waiting: bool = False) -> list[CommandRow]:
        """Commands by id; with `waiting` only those without an answer."""
        rows = self.read(
            "SELECT id, node, name, argument, created_ms, status, result, answered_ms FROM command"
            " WHERE (?1 IS NULL OR node = ?1) AND (NOT ?2 OR status IS NULL) ORDER BY id",
            (node, waiting),
        )
        return [CommandRow._make(row) for row in rows]

    def refusals(self) -> list[Refusal]:
        """Frames that were not taken, by node and reason."""
        rows = self.read("SELECT node, reason, frames, first_ms, last_ms, link FROM refusal ORDER BY node, reason")
        return [Refusal._make(row) for row in rows]

    def save_refusals(self, refusals: Iterable[Refusal], limit: int) -> None:
        """Set these rows, and keep only the `limit` latest of all."""
        with self.writing() as db:
            db.executemany("INSERT OR REPLACE INTO refusal VALUES (?, ?, ?, ?, ?, ?)", refusals)
            db.execute(
                "DELETE FROM refusal WHERE (node, reason) NOT IN"
                " (SELECT node, reason FROM refusal ORDER BY last_ms DESC LIMIT ?)",
                (limit,),
            )

    def add_command(self, node: int, name: int, argument: int, now_ms: int) -> int:
        """Queue a command for a node; return its id, which is never given twice."""
        with self.writing() as db:
            row = db.execute(
                "INSERT INTO command (node, name, argument, created_ms) VALUES (?, ?, ?, ?) RETURNING id",
                (node, name, argument, now_ms),
            ).fetchone()
        return int(row[0])

    # -- uplinks -----------------------------------------------------------------------------------------

    def set_uplinks(self, names: Iterable[str]) -> None:
        """These uplinks are on, all others off: only what an uplink that is on has not sent is kept for it."""
        with self.writing() as db:
            db.execute("UPDATE cursor SET enabled = 0")
            db.executemany(
                "INSERT INTO cursor (uplink, last_id, enabled) VALUES (?, 0, 1) ON CONFLICT DO UPDATE SET enabled = 1",
                ((name,) for name in names),
            )

    def cursor(self, uplink: str) -> int:
        """The id up to which this uplink has dealt with every record, 0 for a new one."""
        rows = self.read("SELECT last_id FROM cursor WHERE uplink = ?", (uplink,))
        return int(str(rows[0][0])) if rows else 0

    def parked(self, uplink: str) -> list[Parked]:
        """What this uplink put aside, in order of arrival."""
        rows = self.read("SELECT id, reason, since_ms FROM parked WHERE uplink = ? ORDER BY id", (uplink,))
        return [Parked._make(row) for row in rows]

    def advance(
        self,
        uplink: str,
        last_id: int,
        park: Iterable[Parked] = (),
        unpark: Iterable[int] = (),
        lost: Iterable[Lost] = (),
    ) -> None:
        """Move an uplink's cursor (never back), and what it puts aside, takes up again or gives up, at once."""
        with self.writing() as db:
            db.execute(
                "INSERT INTO cursor (uplink, last_id, enabled) VALUES (?, ?, 1)"
                " ON CONFLICT DO UPDATE SET last_id = max(last_id, excluded.last_id)",
                (uplink, last_id),
            )
            db.executemany("INSERT OR IGNORE INTO parked VALUES (?, ?, ?, ?)", ((uplink, *row) for row in park))
            db.executemany("DELETE FROM parked WHERE uplink = ? AND id = ?", ((uplink, i) for i in unpark))
            commit.write_lost(db, lost)


def open_store(directory: Path, read_only: bool = False) -> Store:
    """The store in this data directory (`wayside.sqlite`)."""
    return Store(directory / "wayside.sqlite", read_only)


__all__ = ["BLOCK_MAX", "Store", "open_store"]
