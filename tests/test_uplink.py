"""The uplinks' loop and its outbox, on a real store with a sink that can fail in every way."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random

import pytest

from fakes.uplink_rig import FixedTimes, all_done, running, under_way, until
from uplink_records import START_S, add_channels, add_samples, channels_body, event_body, samples_body, street
from wayside_gateway.errors import StoreError
from wayside_gateway.rows import Batch, DefinitionRow
from wayside_gateway.store import Store
from wayside_gateway.timeline import Time
from wayside_gateway.uplinks import base, outbox
from wayside_gateway.uplinks.base import Uplink
from wayside_gateway.uplinks.sink import Advance, Block, Item, Part, Refused, TooLarge, Unavailable
from wayside_protocol.record import CHANNELS, EVENT, SAMPLES

TAKEN = 1
"""The sink's one stage: it has the block, and only has to be asked to keep it."""


class Broker:
    """The far side: what it was handed, and what it kept. It outlives the uplinks that talk to it."""

    def __init__(self) -> None:
        self.kept: list[tuple[int, bytes]] = []
        self.held: dict[int, bytes] = {}
        self.present = True


class FakeSink:
    """Delivers in two steps, as QoS 2 does; `fault` is asked before each and may raise."""

    window = 4

    def __init__(self, broker: Broker, limit: int = 20, fault: Callable[[str, Part], None] | None = None) -> None:
        self.broker = broker
        self.limit = limit
        self.fault = fault or (lambda *_: None)
        self.connects = 0
        self.spoiled: set[int] = set()
        self._gone = asyncio.Event()

    def render(self, items: Sequence[Item], whole: bool = False) -> list[Part]:
        parts: list[Part] = []
        for node in sorted({item.node for item in items}):
            mine = [item for item in items if item.node == node]
            size = len(mine) if whole else self.limit
            for at in range(0, len(mine), max(1, size)):
                parts.append(Part(node, "all", mine[at : at + size], self._payload(mine[at : at + size])))
        return parts

    def _payload(self, items: list[Item]) -> bytes:
        out = []
        for item in items:
            if item.seq in self.spoiled:
                raise RuntimeError("a fault in the sink")
            out.append([item.node, item.seq, item.time and (item.time.unix_s, item.time.quality)])
        return json.dumps(out).encode()

    async def connect(self, resume: bool) -> bool:
        self.connects += 1
        self._gone.clear()
        self.fault("connect", Part(0, "", [], b""))
        present, self.broker.present = self.broker.present, True
        if not present:
            self.broker.held.clear()
        return resume and present

    async def watch(self) -> None:
        await self._gone.wait()
        raise Unavailable("gone", "The connection ended.")

    def drop(self) -> None:
        self._gone.set()

    async def deliver(self, block: Block, advance: Advance) -> None:
        if block.stage != TAKEN:
            self.fault("send", block.part)
            self.broker.held.setdefault(block.number, block.part.payload)
            await asyncio.sleep(0)
            self.fault("taken", block.part)
            await advance(TAKEN)
        self.fault("keep", block.part)
        payload = self.broker.held.pop(block.number, None)
        if payload is not None:
            self.broker.kept.append((block.number, payload))
        await asyncio.sleep(0)
        self.fault("kept", block.part)

    async def close(self, orderly: bool) -> None:
        pass


def came(broker: Broker) -> Counter[tuple[int, int]]:
    return Counter((node, seq) for _, payload in broker.kept for node, seq, _ in json.loads(payload))


def times_of(broker: Broker) -> dict[tuple[int, int], object]:
    return {(node, seq): time for _, payload in broker.kept for node, seq, time in json.loads(payload)}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "store.sqlite")
    yield opened
    opened.close()


def put(store: Store, node: int, seq: int, kind: int, body: bytes) -> None:
    store.commit(Batch(records=[(node, seq, kind, 0, body)]))


def samples(t: int | tuple[int, int] = START_S, set_id: int = 1) -> bytes:
    return samples_body(t, street(12), set_id)


# -- order, parking, retrying -----------------------------------------------------------------------------


async def test_the_log_goes_out_in_order_and_the_cursor_follows(store: Store) -> None:
    broker = Broker()
    add_channels(store, 1)
    add_samples(store, 1, 2, 100)
    async with running(store, FakeSink(broker)) as uplink:
        await until(all_done(uplink, store))
        add_samples(store, 1, 102, 5)
        uplink.stirred()
        await until(all_done(uplink, store))
    assert [seq for _, payload in broker.kept for _, seq, _ in json.loads(payload)] == list(range(1, 107))
    numbers = [number for number, _ in broker.kept]
    assert len(set(numbers)) == len(numbers)


async def test_samples_wait_for_their_definition_and_nobody_waits_for_them(store: Store) -> None:
    broker = Broker()
    put(store, 1, 5, SAMPLES, samples())
    put(store, 2, 1, EVENT, event_body(START_S))
    async with running(store, FakeSink(broker)) as uplink:
        await until(lambda: came(broker) == Counter([(2, 1)]))
        await until(all_done(uplink, store))
        assert [(parked.reason) for parked in store.parked("mqtt")] == ["channels"]
        put(store, 1, 9, SAMPLES, samples())  # this one's definition comes too late in the journal to be its own
        body = channels_body(1)
        store.commit(Batch(records=[(1, 4, CHANNELS, 0, body)], definitions=[DefinitionRow(1, 1, 4, body)]))
        uplink.stirred()
        await until(lambda: came(broker)[1, 5] == 1 and came(broker)[1, 9] == 1)
        await until(lambda: not store.parked("mqtt"))
    assert set(came(broker).values()) == {1}


async def test_times_that_become_known_or_unknown_for_ever(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "LOOK_S", 0.02)
    broker, times = Broker(), FixedTimes()
    add_channels(store, 1)
    put(store, 1, 2, SAMPLES, samples((3, 100)))
    put(store, 1, 3, EVENT, event_body((4, 50)))
    put(store, 1, 4, EVENT, event_body((5, 7)))
    async with running(store, FakeSink(broker), times) as uplink:
        await until(all_done(uplink, store))
        assert [parked.reason for parked in store.parked("mqtt")] == ["time"] * 3
        assert came(broker) == Counter([(1, 1)])
        times.boots[1, 3] = Time(1_770_000_000.5, "reconstructed", 3.0)
        await until(lambda: came(broker)[1, 2] == 1)
        times.boots[1, 4] = None
        await until(lambda: came(broker)[1, 3] == 1)
        await until(lambda: len(store.parked("mqtt")) == 1)
    assert times_of(broker) == {
        (1, 1): None,
        (1, 2): [1_770_000_100.5, "reconstructed"],
        (1, 3): [None, "unknown"],
    }
    times.boots[1, 5] = Time(5.0, "reconstructed", 1.0)
    async with running(store, FakeSink(broker), times):  # what was parked is looked at again at the start
        await until(lambda: came(broker)[1, 4] == 1)


async def test_what_cannot_be_read_is_kept_counted_and_in_nobodys_way(store: Store) -> None:
    broker = Broker()
    add_channels(store, 1)
    put(store, 1, 2, -1, b"\xff\x00no record")
    put(store, 1, 3, SAMPLES, samples())
    put(store, 1, 4, SAMPLES, samples()[:-1] + b"\xff")
    put(store, 1, 5, EVENT, event_body(START_S))
    future = channels_body(2, ((250, 0),))
    store.commit(Batch(records=[(1, 6, CHANNELS, 0, future)], definitions=[DefinitionRow(1, 2, 6, future)]))
    put(store, 1, 7, SAMPLES, samples(set_id=2))
    sink = FakeSink(broker)
    sink.spoiled = {5}
    async with running(store, sink) as uplink:
        await until(all_done(uplink, store))
        assert set(came(broker)) == {(1, 1), (1, 3), (1, 4), (1, 6), (1, 7)}, "this sink decodes no columns"
        reasons = [parked.reason for parked in store.parked("mqtt")]
        assert reasons == ["undecodable:cbor_type", "undecodable:render"] or reasons[1] == "undecodable:render"
        assert reasons[0].startswith("undecodable:")
        put(store, 1, 8, SAMPLES, samples())
        uplink.stirred()
        await until(lambda: came(broker)[1, 8] == 1)
    sink.spoiled = set()
    async with running(store, sink):  # a newer version may read it
        await until(lambda: came(broker)[1, 5] == 1)
    assert set(came(broker).values()) == {1}


async def test_what_retention_removed_is_forgotten(store: Store) -> None:
    broker = Broker()
    put(store, 1, 1, EVENT, event_body((3, 4)))
    put(store, 1, 2, EVENT, event_body(START_S))
    times = FixedTimes()
    async with running(store, FakeSink(broker), times) as uplink:
        await until(all_done(uplink, store))
    with store.writing() as db:
        db.execute("DELETE FROM record WHERE seq = 1")
        db.execute("DELETE FROM parked")
    times.boots[1, 3] = Time(1.0, "reconstructed", 1.0)
    async with running(store, FakeSink(broker), times) as uplink:
        add_channels(store, 2)
        uplink.stirred()
        await until(lambda: came(broker)[2, 1] == 1)
    assert came(broker) == Counter([(1, 2), (2, 1)])


# -- a sink that says no ----------------------------------------------------------------------------------


async def test_blocks_that_are_too_large_are_halved_until_they_go(store: Store) -> None:
    broker = Broker()
    add_channels(store, 1)
    add_samples(store, 1, 2, 39)

    def fault(step: str, part: Part) -> None:
        if step == "send" and (len(part.items) > 3 or any(item.seq == 17 for item in part.items)):
            raise TooLarge("too_large", "No.")

    async with running(store, FakeSink(broker, fault=fault)) as uplink:
        await until(all_done(uplink, store))
        assert [(p.id, p.reason) for p in store.parked("mqtt")] == [(17, "too_large")]
    assert came(broker) == Counter([(1, seq) for seq in range(1, 41) if seq != 17])


async def test_a_refused_block_rests_and_the_others_go_on(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wayside_gateway.uplinks.waiting.REFUSED_RETRY_S", 0.1)
    monkeypatch.setattr(base, "LOOK_S", 0.05)
    broker = Broker()
    allowed: set[int] = set()
    for node in (1, 2):
        add_channels(store, node)
        add_samples(store, node, 2, 30)

    def fault(step: str, part: Part) -> None:
        if step == "send" and part.node == 1 and 1 not in allowed:
            raise Refused("not_authorized", "No.")

    async with running(store, FakeSink(broker, limit=40, fault=fault)) as uplink:
        await until(lambda: len(came(broker)) == 31)
        await until(all_done(uplink, store))
        await until(lambda: len(store.parked("mqtt")) == 31)
        assert uplink.state == "online"
        allowed.add(1)
        await until(lambda: len(came(broker)) == 62)
        await until(lambda: not store.parked("mqtt"))
    assert set(came(broker).values()) == {1}


async def test_a_sink_that_refuses_everything_is_an_alarm_and_nothing_is_lost(store: Store) -> None:
    broker = Broker()
    refusing = True
    for node in range(8):
        add_channels(store, node)
        add_samples(store, node, 2, 9)

    def fault(step: str, _part: Part) -> None:
        if step == "send" and refusing:
            raise Refused("not_authorized", "No.", "Ask.")

    sink = FakeSink(broker, fault=fault)
    async with running(store, sink) as uplink:
        await until(lambda: uplink.state == "refused" and sink.connects > 3)
        assert uplink.error is not None
        assert uplink.error.fix == "Ask."
        assert not broker.kept
        parked = {parked.id for parked in store.parked("mqtt")}
        waiting = {i for entry in outbox.Outbox(store, "mqtt").load() for i in entry.ids}
        assert parked | waiting | set(range(store.cursor("mqtt") + 1, 81)) == set(range(1, 81))
        refusing = False
        await until(lambda: uplink.state == "online")
    async with running(store, FakeSink(broker)) as uplink:
        await until(lambda: len(came(broker)) == 80)
        await until(lambda: not store.parked("mqtt"))
    assert set(came(broker).values()) == {1}


async def test_a_connection_that_ends_while_nothing_goes_is_noticed(store: Store) -> None:
    sink = FakeSink(Broker())
    async with running(store, sink) as uplink:
        await until(lambda: uplink.state == "online")
        sink.drop()
        await until(lambda: sink.connects == 2 and uplink.state == "online")


async def test_a_sink_that_is_away_at_the_stop_holds_nobody_up(store: Store) -> None:
    def fault(step: str, _part: Part) -> None:
        raise Unavailable("away", "Away.")

    add_channels(store, 1)
    async with running(store, FakeSink(Broker(), fault=fault)) as uplink:
        await until(lambda: uplink.state == "down")
    assert uplink.state == "stopped"


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
