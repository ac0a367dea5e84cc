"""The uplinks' loop on a real store, with a sink that can fail in every way."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.fake_sink import Broker, FakeSink, came, times_of
from fakes.uplink_rig import FixedTimes, all_done, running, until
from uplink_records import (
    START_S,
    add_channels,
    add_samples,
    channels_body,
    event_body,
    put,
    samples,
)
from wayside_gateway.rows import Batch, DefinitionRow
from wayside_gateway.store import Store
from wayside_gateway.timeline import Time
from wayside_gateway.uplinks import base, outbox
from wayside_gateway.uplinks.sink import Part, Refused, TooLarge, Unavailable
from wayside_protocol.record import CHANNELS, EVENT, SAMPLES


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "store.sqlite")
    yield opened
    opened.close()


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
