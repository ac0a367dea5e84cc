"""The one loop of every uplink: from the store's log, after its own cursor, to a sink.

    read ─ resolve time and channels ─ render ─ write the plan down ─ deliver, several at once ─ strike out

What waits for something (a time, a definition) is parked on disk and taken up again when that is known; what cannot be
read is parked too, counted, and holds nobody up. A sink that is away delays only its own uplink.
"""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from functools import partial

from wayside_gateway import log
from wayside_gateway.backoff import Backoff
from wayside_gateway.errors import GatewayError, StoreError
from wayside_gateway.metrics import Metrics
from wayside_gateway.rows import Parked, Row
from wayside_gateway.store import Store
from wayside_gateway.uplinks.intake import REFUSED, TOO_LARGE, UNDECODABLE, Aside, Intake, Times
from wayside_gateway.uplinks.outbox import Entry, Outbox
from wayside_gateway.uplinks.sink import NEW, Block, Item, Part, Refused, Sink, TooLarge, Unavailable
from wayside_gateway.uplinks.waiting import Waiting
from wayside_protocol.errors import ProtocolError

CHUNK_ROWS = 512
"""Records read at once: about 10 ms of work, the longest that an uplink keeps the event loop."""
CHUNK_BYTES = 64 << 10
"""Bytes of bodies in a chunk; SenML is some 25 times as long, and all of a chunk's is in memory until confirmed."""
LOOK_S = 5.0
"""How often the loop looks whether a time became known, while anything waits for one."""
REFUSED_CAP_S = 300.0
"""The longest wait after the sink refused: each try may be noted as an attack by whoever runs it."""
REFUSED_MAX = 3
"""Blocks refused one after another, without a delivery between, before the whole sink counts as refusing."""
STOP_S = 5.0
"""How long an orderly stop waits for confirmations; what is not confirmed then goes again at the next start."""


class Uplink:
    """One uplink: `run` until `stop`. All methods are for the event loop's thread."""

    def __init__(
        self,
        name: str,
        store: Store,
        times: Times,
        sink: Sink,
        metrics: Metrics | None = None,
        backoff: Backoff | None = None,
        refused_backoff: Backoff | None = None,
    ) -> None:
        self.name = name
        self._store = store
        self._times = times
        self._sink = sink
        self._metrics = metrics or Metrics()
        self._log = log.get(f"uplink.{name}")
        self._outbox = Outbox(store, name, failed=self._end)
        self._intake = Intake(store, times)
        self._waiting = Waiting()
        self._blocks: dict[int, Block] = {}
        self._loaded = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._stopping = False
        self._lost: Unavailable | Refused | StoreError | None = None
        self._problems: list[tuple[Block, Refused | TooLarge]] = []
        self._refusals = 0
        self._anchors_seen = -1
        self._looked_s = 0.0
        self._retry_turn = False
        self._backoff = backoff or Backoff()
        self._refused_backoff = refused_backoff or Backoff(cap_s=REFUSED_CAP_S)
        self.state = "starting"
        """starting, online, down (tried again by itself) or refused (a person must mend something), stopped."""
        self.error: GatewayError | None = None
        """Why it is down or refused."""

    def stop(self) -> None:
        """End `run` in an orderly way: what is under way is waited for, up to STOP_S."""
        self._stopping = True
        self._wake.set()

    def stirred(self) -> None:
        """There may be something new in the store."""
        self._wake.set()

    async def run(self) -> None:
        """Hand on what the log has, and what comes, until `stop`. Raises nothing that a try later might mend."""
        self._store.listen(self.stirred)
        try:
            while not self._stopping:
                try:
                    await self._session()
                except (Unavailable, Refused, StoreError) as error:
                    await self._failed(error)
        finally:
            self._store.unlisten(self.stirred)
            await self._note("stopped")

    async def _failed(self, error: GatewayError) -> None:
        """Say why, and wait before the next try."""
        if isinstance(error, StoreError):
            self._loaded = False
        refused = isinstance(error, Refused)
        backoff = self._refused_backoff if refused else self._backoff
        wait_s = backoff.next()
        self._metrics.count("uplink_failures", label=error.reason)
        if self.state != "down" or not self.error or self.error.reason != error.reason:
            self._log.warning("uplink down", reason=error.reason, message=error.message, fix=error.fix)
        await self._note("refused" if refused else "down", error)
        end_s = time.monotonic() + wait_s
        while not self._stopping and (left_s := end_s - time.monotonic()) > 0:
            self._wake.clear()
            await self._sleep(left_s)

    async def _note(self, state: str, error: GatewayError | None = None) -> None:
        """Remember how it is, in memory and, when that changed, for other processes on disk."""
        changed = state != self.state or (error and error.reason) != (self.error and self.error.reason)
        self.state, self.error = state, error
        if not changed:
            return
        with contextlib.suppress(StoreError):
            await self._store.run(self._write_note, state, str(error) if error else "")

    def _write_note(self, state: str, detail: str) -> None:
        with self._store.writing() as db:
            db.execute(
                "UPDATE uplink SET state = ?, detail = ?, since_ms = ? WHERE uplink = ?",
                (state, detail, _now_ms(), self.name),
            )

    async def _sleep(self, at_most_s: float | None) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(at_most_s):
                await self._wake.wait()

    async def _session(self) -> None:
        """One connection to the sink, from its start to its end."""
        if not self._loaded:
            await self._load()
        resumed = await self._sink.connect(bool(self._blocks))
        orderly = False
        watch = asyncio.create_task(self._watch(), name=f"{self.name}-watch")
        try:
            if not resumed:
                await self._forget_stages()
            await self._note("online")
            self._log.info("uplink online", resumed=resumed, under_way=len(self._blocks))
            await self._pump()
            orderly = True
        finally:
            for task in (watch, *self._tasks):
                task.cancel()
            await asyncio.gather(watch, *self._tasks, return_exceptions=True)
            self._tasks.clear()
            self._problems.clear()
            self._lost = None
            for number, block in self._blocks.items():
                self._blocks[number] = block._replace(repeated=True)
            await self._sink.close(orderly)
            with contextlib.suppress(StoreError):
                await self._outbox.flush()

    async def _load(self) -> None:
        """Take up where the disk says that we were."""
        self._blocks.clear()
        self._waiting = Waiting()
        entries = self._outbox.load()
        self._waiting.due(parked.id for parked in self._outbox.parked())
        for entry in entries:
            await self._restore(entry)
        await self._outbox.plan([], 0)
        self._loaded = True

    async def _restore(self, entry: Entry) -> None:
        """Make a block anew, with the times it had. Records that are gone by now are left out."""
        items, asides = self._intake.take(self._store.rows(entry.ids), entry.times)
        parts, spoiled = self._render(items, whole=True)
        if asides or spoiled or len(parts) != 1:
            await self._outbox.replace(entry.number, self._enter(parts, entry.parked), self._park(asides + spoiled))
        else:
            self._blocks[entry.number] = Block(entry.number, entry.stage, True, parts[0])

    async def _forget_stages(self) -> None:
        """The sink does not know what it had: everything under way starts anew."""
        for number, block in self._blocks.items():
            if block.stage != NEW:
                self._blocks[number] = block._replace(stage=NEW)
                await self._outbox.advance(number, NEW)

    async def _pump(self) -> None:
        """Deliver until stopped. Raises what ends the session."""
        for number in sorted(self._blocks):
            self._start(self._blocks[number])
        stop_s: float | None = None
        while True:
            self._wake.clear()
            await self._settle()
            self._reap()
            if self._stopping:
                stop_s = stop_s or time.monotonic() + STOP_S
                if not self._tasks or time.monotonic() >= stop_s:
                    return
                await self._sleep(stop_s - time.monotonic())
                continue
            self._look()
            if len(self._tasks) < self._sink.window and await self._plan():
                continue
            await self._sleep(LOOK_S if self._waiting.for_time else None)

    def _reap(self) -> None:
        """Raise what ended the session: the sink or the store went away, or a fault of ours."""
        for task in [task for task in self._tasks if task.done()]:
            self._tasks.discard(task)
            task.result()
        if self._lost is not None:
            raise self._lost

    def _start(self, block: Block) -> None:
        self._tasks.add(asyncio.create_task(self._deliver(block), name=f"{self.name}-{block.number}"))

    async def _deliver(self, block: Block) -> None:
        try:
            await self._sink.deliver(block, partial(self._advance, block.number))
        except (Refused, TooLarge) as error:
            self._problems.append((block, error))
        except (Unavailable, StoreError) as error:
            self._end(error)
        else:
            self._delivered(block)
        finally:
            self._wake.set()

    async def _watch(self) -> None:
        try:
            await self._sink.watch()
        except (Unavailable, Refused) as error:
            self._end(error)

    def _end(self, error: Unavailable | Refused | StoreError) -> None:
        """This session is over."""
        self._lost = self._lost or error
        self._wake.set()

    async def _advance(self, number: int, stage: int) -> None:
        await self._outbox.advance(number, stage)
        self._blocks[number] = self._blocks[number]._replace(stage=stage)

    def _delivered(self, block: Block) -> None:
        del self._blocks[block.number]
        self._outbox.done(block.number)
        self._refusals = 0
        self._backoff.reset()
        self._refused_backoff.reset()
        self._metrics.count("uplink_blocks", label=self.name)
        self._metrics.count("uplink_records", len(block.part.items), label=self.name)
        self._metrics.count("uplink_bytes", len(block.part.payload), label=self.name)

    async def _settle(self) -> None:
        """Deal with blocks that the sink would not have."""
        problems, self._problems = self._problems, []
        for block, error in problems:
            if isinstance(error, TooLarge):
                await self._divide(block)
                continue
            self._refusals += 1
            self._metrics.count("uplink_refused", label=error.reason)
            if self._refusals >= REFUSED_MAX:
                raise error
            self._log.error("block refused", node=block.part.node, reason=error.reason, message=error.message)
            asides = [Aside(item.id, item.node, f"{REFUSED}:{error.reason}") for item in block.part.items]
            await self._replace(block, [], asides)

    async def _divide(self, block: Block) -> None:
        items = block.part.items
        if len(items) == 1:
            self._log.error("record too large", node=items[0].node, seq=items[0].seq)
            await self._replace(block, [], [Aside(items[0].id, items[0].node, TOO_LARGE)])
            return
        half = len(items) // 2
        await self._replace(block, [*self._sink.render(items[:half]), *self._sink.render(items[half:])], [])

    async def _replace(self, block: Block, parts: list[Part], asides: list[Aside]) -> None:
        entries = self._enter(parts, self._outbox.is_parked(block.number))
        del self._blocks[block.number]
        await self._outbox.replace(block.number, entries, self._park(asides))
        for entry in entries:
            self._start(self._blocks[entry.number])

    def _enter(self, parts: Sequence[Part], parked: bool) -> list[Entry]:
        """Give parts their numbers; they may go out once the entries are on disk."""
        entries = []
        for part in parts:
            entry = self._outbox.number(part.node, part.form, part.items, parked)
            self._blocks[entry.number] = Block(entry.number, NEW, False, part)
            entries.append(entry)
        return entries

    def _park(self, asides: Sequence[Aside]) -> list[Parked]:
        self._waiting.add(asides, time.monotonic())
        for aside in asides:
            self._metrics.count("uplink_parked", label=aside.reason)
        return [Parked(aside.id, aside.reason, _now_ms()) for aside in asides]

    def _look(self) -> None:
        """See whether something that was parked can go now."""
        now_s = time.monotonic()
        if self._anchors_seen == self._store.anchors_version and now_s - self._looked_s < LOOK_S:
            return
        self._anchors_seen, self._looked_s = self._store.anchors_version, now_s
        self._waiting.look(lambda node, at: self._times.when(node, at) is not None, now_s)

    async def _plan(self) -> bool:
        """Make blocks of the log's next records, or of parked ones; False if there is nothing to do."""
        rows: list[Row] = []
        retry = bool(self._waiting) and self._retry_turn
        if not retry:
            rows = _within(self._store.after(self._outbox.planned_id, CHUNK_ROWS))
            retry = not rows and bool(self._waiting)
        self._retry_turn = not retry
        if retry:
            rows = self._store.rows(self._waiting.take(CHUNK_ROWS))
        if not rows:
            return retry
        items, asides = self._intake.take(rows)
        parts, spoiled = self._render(items)
        entries = self._enter(parts, parked=retry)
        await self._outbox.plan(entries, 0 if retry else rows[-1].id, self._park(asides + spoiled))
        while self._intake.learned:
            self._waiting.learned(self._intake.learned.pop())
        for entry in entries:
            self._start(self._blocks[entry.number])
        return True

    def _render(self, items: Sequence[Item], whole: bool = False) -> tuple[list[Part], list[Aside]]:
        """Parts, and what cannot be decoded, or what the sink's code failed on: one record must not stop the others."""
        try:
            return self._sink.render(items, whole), []
        except Exception:  # noqa: BLE001 a fault of ours in one record: it is named, kept and counted below
            good, spoiled = [], []
            for item in items:
                try:
                    self._sink.render([item])
                except ProtocolError as error:
                    spoiled.append(Aside(item.id, item.node, f"{UNDECODABLE}:{error.reason}"))
                except Exception as error:  # noqa: BLE001 see above
                    self._log.error("record cannot be rendered", node=item.node, seq=item.seq, error=repr(error))
                    spoiled.append(Aside(item.id, item.node, f"{UNDECODABLE}:render"))
                else:
                    good.append(item)
            return self._sink.render(good, whole), spoiled


def _within(rows: list[Row]) -> list[Row]:
    """The first rows whose bodies are CHUNK_BYTES together, at least one."""
    size = 0
    for at, row in enumerate(rows):
        size += len(row.body)
        if size > CHUNK_BYTES and at:
            return rows[:at]
    return rows


def _now_ms() -> int:
    return int(time.time() * 1000)
