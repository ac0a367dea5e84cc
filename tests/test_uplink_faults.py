"""The uplinks' loop and its outbox through crashes, full disks and faults at any step."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from fakes.fake_sink import TAKEN, Broker, FakeSink, came
from fakes.uplink_rig import FixedTimes, all_done, running, under_way, until
from uplink_records import START_S, add_channels, add_samples, event_body, put
from wayside_gateway.errors import StoreError
from wayside_gateway.store import Store
from wayside_gateway.timeline import Time
from wayside_gateway.uplinks import outbox
from wayside_gateway.uplinks.base import Uplink
from wayside_gateway.uplinks.sink import Item, Part, Unavailable
from wayside_protocol.record import EVENT


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "store.sqlite")
    yield opened
    opened.close()


# -- crashes and faults at any step -----------------------------------------------------------------------


@pytest.mark.parametrize("case", range(12))
async def test_faults_and_crashes_at_random_and_each_record_is_kept_once(store: Store, case: int, seed: int) -> None:
    """The process is cut off between any two steps, the connection ends at any: the far side keeps each record once."""
    rng = Random(seed + case)
    broker = Broker()
    nodes = range(1, 5)
    for node in nodes:
        add_channels(store, node)
    expected = 0
    next_seq = dict.fromkeys(nodes, 2)

    def fault(step: str, _part: Part) -> None:
        if rng.random() < 0.03:
            raise Unavailable("cut", f"Cut at {step}.")

    for _ in range(8):
        for node in nodes:
            count = rng.randrange(20)
            add_samples(store, node, next_seq[node], count, rng)
            next_seq[node] += count
        expected = sum(next_seq.values()) - len(nodes)
        async with running(store, FakeSink(broker, rng.choice([1, 3, 50]), fault), orderly=rng.random() < 0.3):
            await asyncio.sleep(rng.random() * 0.03)
    async with running(store, FakeSink(broker)) as uplink:
        await until(all_done(uplink, store))
    assert len(came(broker)) == expected
    assert set(came(broker).values()) == {1}
    assert not broker.held


async def test_a_far_side_that_forgot_is_given_everything_under_way_anew(store: Store) -> None:
    broker = Broker()
    add_channels(store, 1)
    add_samples(store, 1, 2, 50)
    stuck = True

    def fault(step: str, _part: Part) -> None:
        if step == "keep" and stuck:
            raise Unavailable("cut", "Cut.")

    async with running(store, FakeSink(broker, fault=fault), orderly=False):
        await until(lambda: len(broker.held) > 2)
        await until(lambda: store.read("SELECT count(*) FROM outbox WHERE stage = 1") != [(0,)])
    broker.present, stuck = False, False
    async with running(store, FakeSink(broker)) as uplink:
        await until(all_done(uplink, store))
    assert came(broker) == Counter([(1, seq) for seq in range(1, 52)])


async def test_a_block_goes_again_with_the_times_it_had(store: Store) -> None:
    """Times may be known better after a crash: the block that was under way says what it said before."""
    broker, times = Broker(), FixedTimes()
    times.boots[1, 3] = Time(1_770_000_000.0, "reconstructed", 30.0)
    put(store, 1, 1, EVENT, event_body((3, 10)))
    put(store, 1, 2, EVENT, event_body(START_S))

    def fault(step: str, _part: Part) -> None:
        if step == "taken":
            raise Unavailable("cut", "Cut.")

    async with running(store, FakeSink(broker, fault=fault), times, orderly=False):
        await until(lambda: bool(broker.held))
    sent = dict(broker.held)
    broker.held.clear()
    times.boots[1, 3] = Time(1_770_000_007.0, "reconstructed", 0.5)
    async with running(store, FakeSink(broker), times) as uplink:
        await until(all_done(uplink, store))
    assert dict(broker.kept) == sent


class FailingStore(Store):
    """A store whose writes fail when told to."""

    failing = False

    def _fail(self) -> None:
        if self.failing:
            raise StoreError("disk_full", "No space.", "Make room.")

    def writing(self):  # type: ignore[no-untyped-def]
        self._fail()
        return super().writing()


@pytest.mark.parametrize("case", range(6))
async def test_a_disk_that_is_full_for_a_while_loses_and_repeats_nothing(tmp_path: Path, case: int, seed: int) -> None:
    rng = Random(seed + case)
    store = FailingStore(tmp_path / "store.sqlite")
    broker = Broker()
    add_channels(store, 1)
    add_samples(store, 1, 2, 200)
    try:
        async with running(store, FakeSink(broker, limit=5)) as uplink:
            for _ in range(6):
                await asyncio.sleep(rng.random() * 0.02)
                store.failing = True
                await asyncio.sleep(rng.random() * 0.03)
                store.failing = False
            await until(all_done(uplink, store))
    finally:
        store.close()
    assert came(broker) == Counter([(1, seq) for seq in range(1, 202)])


# -- the outbox -------------------------------------------------------------------------------------------


async def test_what_comes_together_is_one_commit(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    box = outbox.Outbox(store, "mqtt", Random(1))
    box.load()
    items = [Item(i, 1, i, None, None, None) for i in range(1, 51)]  # type: ignore[arg-type]
    entries = [box.number(1, "senml", [item], False) for item in items]
    await box.plan(entries, 50)
    writes = 0
    real = box._write_now

    def counting(*arguments: object) -> None:
        nonlocal writes
        writes += 1
        real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(box, "_write_now", counting)
    await asyncio.gather(*(box.advance(entry.number, TAKEN) for entry in entries))
    assert writes <= 2
    assert box.cursor == 0
    for entry in entries[1:]:
        box.done(entry.number)
    await box.flush()
    assert (store.cursor("mqtt"), under_way(store)) == (0, 1)
    box.done(entries[0].number)
    await box.flush()
    assert (store.cursor("mqtt"), under_way(store)) == (50, 0)


async def test_a_cancelled_waiter_does_not_undo_what_is_written(store: Store) -> None:
    box = outbox.Outbox(store, "mqtt", Random(1))
    box.load()
    entry = box.number(1, "senml", [Item(1, 1, 1, None, None, None)], False)  # type: ignore[arg-type]
    await box.plan([entry], 1)
    task = asyncio.create_task(box.advance(entry.number, TAKEN))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await box.flush()
    assert store.read("SELECT stage FROM outbox") == [(TAKEN,)]


async def test_after_a_failed_write_the_disk_is_asked(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    box = outbox.Outbox(store, "mqtt", Random(1))
    box.load()
    entry = box.number(1, "senml", [Item(1, 1, 1, None, None, None)], False)  # type: ignore[arg-type]

    def fail(*_: object) -> None:
        raise StoreError("io", "The disk failed.")

    monkeypatch.setattr(store, "writing", fail)
    with pytest.raises(StoreError):
        await box.plan([entry], 1)
    monkeypatch.undo()
    with pytest.raises(StoreError):  # nothing more is written from memory that is not what the disk has
        await box.flush()
    assert box.load() == []
    await box.flush()
    assert store.cursor("mqtt") == 0


def test_two_stores_hardly_ever_number_their_blocks_alike(tmp_path: Path) -> None:
    starts = set()
    for i in range(4):
        store = Store(tmp_path / f"{i}.sqlite")
        box = outbox.Outbox(store, "mqtt")
        box.load()
        starts.add(box.next_number)
        store.close()
    assert len(starts) == 4


def test_uplinks_are_independent(store: Store) -> None:
    first, second = outbox.Outbox(store, "a"), outbox.Outbox(store, "b")
    first.load()
    second.load()
    assert Uplink("a", store, FixedTimes(), FakeSink(Broker())).state == "starting"
