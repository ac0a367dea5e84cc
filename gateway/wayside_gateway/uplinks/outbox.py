"""What an uplink has under way, on disk: blocks are written down before they are sent, and struck out when confirmed.

Everything that comes together is one commit: while one is being written, the next one gathers.
"""

import asyncio
import contextlib
import json
import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple

from wayside_gateway.errors import StoreError
from wayside_gateway.ranges import ranges_of
from wayside_gateway.rows import Parked
from wayside_gateway.store import Store
from wayside_gateway.timeline import Time
from wayside_gateway.uplinks.sink import NEW, Item

LAZY_S = 0.2
"""How long a confirmed block may wait to be struck out together with others, if it has a stage: after a crash the sink
is then only asked again. A block without one is struck out at once."""
NUMBERS_FROM = 1 << 32
"""A new store begins its block numbers somewhere below, so that two stores under one name hardly ever agree."""


class Entry(NamedTuple):
    """A block as it is on disk: which records, and the times they were given."""

    number: int
    stage: int
    node: int
    form: str
    parked: bool
    ids: tuple[int, ...]
    times: dict[int, Time]

    def plan(self) -> str:
        times = {number: time for number, time in self.times.items() if time.quality != "synced"}
        return json.dumps({"ids": ranges_of(self.ids), "times": times}, separators=(",", ":"))


def _entry(row: tuple[object, ...]) -> Entry:
    number, stage, node, form, parked, plan = row
    value = json.loads(str(plan))
    ids = tuple(i for first, last in value["ids"] for i in range(first, last + 1))
    times = {int(key): Time(*time) for key, time in value["times"].items()}
    return Entry(int(str(number)), int(str(stage)), int(str(node)), str(form), bool(parked), ids, times)


@dataclass(slots=True)
class _Changes:
    """What the next commit writes."""

    entries: list[Entry] = field(default_factory=list)
    stages: dict[int, int] = field(default_factory=dict)
    done: list[int] = field(default_factory=list)
    park: list[Parked] = field(default_factory=list)
    unpark: list[int] = field(default_factory=list)
    waiting: list["asyncio.Future[None]"] = field(default_factory=list)


class Outbox:
    """The blocks of one uplink. All methods are called in the event loop's thread; writing is the store's."""

    def __init__(
        self,
        store: Store,
        uplink: str,
        rng: Random | None = None,
        failed: Callable[[StoreError], None] = lambda _error: None,
    ) -> None:
        """`failed` is called when a write failed, also one that nobody waited for: then `load` again."""
        self._store = store
        self._uplink = uplink
        self._rng = rng or Random()
        self._failed = failed
        self.planned_id = 0
        """Records up to here are in blocks, parked or delivered."""
        self.next_number = 0
        self._open: dict[int, Entry] = {}
        self._changes = _Changes()
        self._lock = asyncio.Lock()
        self._later: asyncio.Task[None] | None = None
        self._broken: StoreError | None = None

    def load(self) -> list[Entry]:
        """The blocks that are under way, by number, as the disk has them: at the start, and after a StoreError."""
        self._broken = None
        self._changes = _Changes()
        rows = self._store.read("SELECT planned_id, next_number FROM uplink WHERE uplink = ?", (self._uplink,))
        planned_id = int(str(rows[0][0])) if rows else 0
        self.planned_id = max(planned_id, self._store.cursor(self._uplink))
        self.next_number = int(str(rows[0][1])) if rows else self._rng.randrange(NUMBERS_FROM)
        found = self._store.read(
            "SELECT number, stage, node, form, parked, plan FROM outbox WHERE uplink = ? ORDER BY number",
            (self._uplink,),
        )
        entries = [_entry(row) for row in found]
        self._open = {entry.number: entry for entry in entries}
        return entries

    def parked(self) -> list[Parked]:
        """What is put aside, by id, without what is in blocks."""
        under_way = {i for entry in self._open.values() for i in entry.ids}
        return [parked for parked in self._store.parked(self._uplink) if parked.id not in under_way]

    def is_parked(self, number: int) -> bool:
        """Are this block's records put aside as well, until it is delivered?"""
        return self._open[number].parked

    @property
    def cursor(self) -> int:
        """Every record up to here is delivered or parked."""
        first = min((entry.ids[0] for entry in self._open.values() if not entry.parked), default=self.planned_id + 1)
        return first - 1

    def number(self, node: int, form: str, items: Iterable[Item], parked: bool) -> Entry:
        """A new block's entry, with the next number; `plan` makes it durable."""
        entry = Entry(
            self.next_number,
            NEW,
            node,
            form,
            parked,
            tuple(item.id for item in items),
            {item.id: item.time for item in items if item.time is not None},
        )
        self.next_number += 1
        return entry

    async def plan(self, entries: list[Entry], planned_id: int, park: Iterable[Parked] = ()) -> None:
        """Write down blocks before they are sent, and what is put aside. Durable on return. Raises StoreError."""
        for entry in entries:
            self._open[entry.number] = entry
        self.planned_id = max(self.planned_id, planned_id)
        self._changes.entries += entries
        self._changes.park += park
        await self._commit()

    async def replace(self, number: int, entries: list[Entry], park: Iterable[Parked] = ()) -> None:
        """Smaller blocks, or parked records, in the place of a block. Durable on return. Raises StoreError."""
        del self._open[number]
        self._changes.done.append(number)
        await self.plan(entries, self.planned_id, park)

    async def advance(self, number: int, stage: int) -> None:
        """Set a block's stage. Durable on return. Raises StoreError."""
        self._open[number] = self._open[number]._replace(stage=stage)
        self._changes.stages[number] = stage
        await self._commit()

    def done(self, number: int) -> None:
        """This block was confirmed: strike it out soon."""
        entry = self._open.pop(number)
        self._changes.done.append(number)
        if entry.parked:
            self._changes.unpark += entry.ids
        if self._later is None or self._later.done():
            wait_s = LAZY_S if entry.stage != NEW else 0
            self._later = asyncio.create_task(self._flush_later(wait_s), name=f"outbox-{self._uplink}")

    async def flush(self) -> None:
        """Write what is waiting. Raises StoreError."""
        if self._later is not None:
            self._later.cancel()
        await self._commit()

    async def _flush_later(self, wait_s: float) -> None:
        await asyncio.sleep(wait_s)
        with contextlib.suppress(StoreError):  # the next call raises it
            while self._changes.done:  # more may have come while the last ones were written
                await self._commit()

    async def _commit(self) -> None:
        if self._broken is not None:
            raise self._broken
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._changes.waiting.append(waiter)
        async with self._lock:
            if not waiter.done():
                await self._write()
        await waiter

    async def _write(self) -> None:
        changes, self._changes = self._changes, _Changes()
        writing = asyncio.ensure_future(
            self._store.run(self._write_now, changes, self.cursor, self.planned_id, self.next_number)
        )
        try:
            await asyncio.shield(writing)
        except asyncio.CancelledError:
            await asyncio.wait([writing])  # it is being written: those who wait for it must hear of it
            _tell(changes.waiting, writing.exception())
            raise
        except StoreError as error:
            self._broken = error
            self._failed(error)
            _tell(changes.waiting, error)
            return
        _tell(changes.waiting, None)

    def _write_now(self, changes: _Changes, cursor: int, planned_id: int, next_number: int) -> None:
        name = self._uplink
        with self._store.writing() as db:
            _write_blocks(db, name, changes)
            db.executemany(
                "INSERT INTO parked (uplink, id, reason, since_ms) VALUES (?, ?, ?, ?)"
                " ON CONFLICT DO UPDATE SET reason = excluded.reason",
                ((name, *row) for row in changes.park),
            )
            db.executemany("DELETE FROM parked WHERE uplink = ? AND id = ?", ((name, i) for i in changes.unpark))
            db.execute(
                "INSERT INTO uplink VALUES (?, ?, ?, '', '', 0) ON CONFLICT DO UPDATE"
                " SET planned_id = excluded.planned_id, next_number = excluded.next_number",
                (name, planned_id, next_number),
            )
            db.execute(
                "INSERT INTO cursor (uplink, last_id, enabled) VALUES (?, ?, 1)"
                " ON CONFLICT DO UPDATE SET last_id = max(last_id, excluded.last_id)",
                (name, cursor),
            )


def _write_blocks(db: sqlite3.Connection, name: str, changes: _Changes) -> None:
    struck = set(changes.done)
    db.executemany(
        "INSERT INTO outbox (uplink, number, stage, node, form, parked, plan) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            (name, e.number, e.stage, e.node, e.form, e.parked, e.plan())
            for e in changes.entries
            if e.number not in struck
        ),
    )
    db.executemany(
        "UPDATE outbox SET stage = ? WHERE uplink = ? AND number = ?",
        ((stage, name, number) for number, stage in changes.stages.items() if number not in struck),
    )
    db.executemany("DELETE FROM outbox WHERE uplink = ? AND number = ?", ((name, number) for number in changes.done))


def _tell(waiting: "list[asyncio.Future[None]]", error: BaseException | None) -> None:
    for waiter in waiting:
        if waiter.done():
            continue
        if error is None:
            waiter.set_result(None)
        else:
            waiter.set_exception(error)
            waiter.exception()  # whoever waited may be cancelled by now: then nobody asks, and that is no fault
