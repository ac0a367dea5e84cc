"""The MQTT uplink against a real mosquitto and a subscriber of another make: once, or told why not."""

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from fakes.mqtt_bench import Collect, Start, counted, every, fill, sink
from fakes.mqtt_proxy import Mqtt5, Proxy
from fakes.uplink_rig import all_done, running, under_way, until
from uplink_records import add_channels, add_samples
from wayside_gateway.settings import Tls
from wayside_gateway.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "store.sqlite")
    yield opened
    opened.close()


# -- the normal way ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("qos", [1, 2])
async def test_everything_arrives_once_with_its_topic_and_properties(
    store: Store, start: Start, collect: Collect, qos: int
) -> None:
    broker = start()
    collector = collect(broker)
    fill(store, (1001, 300), (1002, 40), rng=Random(1))
    async with running(store, sink(broker.port, qos=qos)) as uplink:
        await until(all_done(uplink, store))
        await until(lambda: len(counted(collector)) == 340)
    assert counted(collector) == Counter(every((1001, 300), (1002, 40)))
    assert {got.qos for got in collector.got} == {qos}
    assert not any(got.retain for got in collector.got)
    senml = collector.of("/1001/senml")
    assert len(senml) < 12, "a backlog goes in large publishes"
    assert all(len(got.payload) <= 128 << 10 for got in senml)
    assert senml[0].properties["ContentType"] == "application/senml+json"
    assert senml[0].properties["PayloadFormatIndicator"] == 1
    blocks = [dict(got.properties["UserProperty"])["block"] for got in collector.got]
    assert len(set(blocks)) == len(blocks)
    event = json.loads(collector.of("/1001/event")[0].payload)[0]
    assert (event["event"], event["quality"]) == ("sensor_fault", "synced")
    channels = json.loads(collector.of("/1001/channels")[0].payload)
    assert channels[0]["channels"][2] == {"quantity": "pressure", "unit": "hPa", "place": 0}
    assert store.read("SELECT state FROM uplink") == [("stopped",)]


async def test_a_live_record_is_there_within_a_second(store: Store, start: Start, collect: Collect) -> None:
    broker = start()
    collector = collect(broker)
    add_channels(store, 7)
    async with running(store, sink(broker.port)) as uplink:
        await until(all_done(uplink, store))
        for seq in range(2, 8):
            before = len(collector.got)
            add_samples(store, 7, seq, 1)
            uplink.stirred()
            await until(lambda before=before: len(collector.got) > before, within_s=1.0)  # type: ignore[misc]
    assert counted(collector) == Counter(every((7, 7)))


@pytest.mark.parametrize("answer", [Mqtt5.REFUSED, Mqtt5.DROPPED])
async def test_a_broker_that_knows_only_3_1_1(
    store: Store, start: Start, collect: Collect, proxy_port: int, answer: Mqtt5
) -> None:
    broker = start()
    collector = collect(broker)
    fill(store, (5, 60))
    async with Proxy(proxy_port, broker.port, answer) as proxy, running(store, sink(proxy_port)) as uplink:
        await until(all_done(uplink, store))
        await until(lambda: len(counted(collector)) == 60)
        assert 4 in proxy.levels
        assert proxy.levels[0] == 5
    assert counted(collector) == Counter(every((5, 60)))


async def test_version_5_alone_is_not_replaced(store: Store, start: Start, proxy_port: int) -> None:
    broker = start()
    async with Proxy(proxy_port, broker.port, Mqtt5.REFUSED), running(store, sink(proxy_port, version="5")) as uplink:
        await until(lambda: uplink.state == "down")
        assert uplink.error is not None
        assert uplink.error.reason == "protocol_version"


@pytest.mark.parametrize("level", ["5", "3.1.1"])
async def test_a_broker_without_qos_2_is_given_qos_1(store: Store, start: Start, collect: Collect, level: str) -> None:
    """In MQTT 5 it says so; in 3.1.1 it can only end the connection."""
    broker = start(extra=("max_qos 1",))
    collector = collect(broker)
    fill(store, (5, 30))
    async with running(store, sink(broker.port, qos=2, version=level)) as uplink:
        await until(all_done(uplink, store))
        await until(lambda: len(counted(collector)) == 30)
    assert {got.qos for got in collector.got} == {1}


async def test_nobody_subscribes_and_it_is_delivered_all_the_same(store: Store, start: Start) -> None:
    """PUBACK 0x10, no matching subscribers, is a success (MQTT 5 §3.4.2.1)."""
    broker = start()
    fill(store, (5, 30))
    async with running(store, sink(broker.port, qos=1)) as uplink:
        await until(all_done(uplink, store))


# -- TLS, passwords, access lists -------------------------------------------------------------------------


async def test_tls_with_user_and_password(store: Store, start: Start, collect: Collect) -> None:
    broker = start(tls=True, users={"gateway": "right"})
    fill(store, (5, 30))
    options = {"tls": Tls(ca=broker.ca), "user": "gateway", "password": "right"}
    async with running(store, sink(broker.port, **options)) as uplink:
        await until(all_done(uplink, store))


async def test_an_unknown_authority_is_refused_by_us(store: Store, start: Start) -> None:
    broker = start(tls=True)
    async with running(store, sink(broker.port, tls=Tls())) as uplink:
        await until(lambda: uplink.state == "refused")
        assert uplink.error is not None
        assert uplink.error.reason == "tls_certificate"
        assert "ca" in uplink.error.fix


async def test_plain_speech_to_a_tls_port_is_told(store: Store, start: Start) -> None:
    broker = start(tls=True)
    async with running(store, sink(broker.port)) as uplink:
        await until(lambda: uplink.state == "down")


@pytest.mark.parametrize("level", ["5", "3.1.1"])
async def test_a_wrong_password_is_an_alarm_until_it_is_mended(
    store: Store, start: Start, tmp_path: Path, level: str
) -> None:
    broker = start(users={"gateway": "right"})
    fill(store, (5, 30))
    secret = tmp_path / "password"
    secret.write_text("wrong\n")
    uplink_sink = sink(broker.port, user="gateway", password_file=secret, version=level)
    async with running(store, uplink_sink) as uplink:
        await until(lambda: uplink.state == "refused")
        assert uplink.error is not None
        assert uplink.error.reason in ("not_authorized", "bad_user_or_password")
        await until(lambda: store.read("SELECT state FROM uplink") == [("refused",)])
        assert store.cursor("mqtt") == 0
        secret.write_text("right\n")
        await until(all_done(uplink, store))
        assert uplink.state == "online"


ALLOWED = "user gateway\ntopic write wayside/test/#\nuser collector\ntopic read #\n"
NOT_ALLOWED = "user gateway\ntopic write wayside/test/gateway/#\nuser collector\ntopic read #\n"


@pytest.mark.parametrize("qos", [1, 2])
async def test_a_publish_that_is_refused_is_no_delivery(
    store: Store, start: Start, collect: Collect, qos: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wayside_gateway.uplinks.waiting.REFUSED_RETRY_S", 0.2)
    monkeypatch.setattr("wayside_gateway.uplinks.base.LOOK_S", 0.1)
    broker = start(users={"gateway": "g", "collector": "c"}, acl=NOT_ALLOWED)
    collector = collect(broker, user="collector", password="c")
    for node in range(10, 16):
        fill(store, (node, 10))
    async with running(store, sink(broker.port, user="gateway", password="g", qos=qos)) as uplink:
        await until(lambda: uplink.state == "refused")
        assert uplink.error is not None
        assert uplink.error.reason == "not_authorized"
        await asyncio.sleep(0.3)
        assert collector.got == []
        kept = under_way(store) + len(store.parked("mqtt"))
        assert kept > 0
        broker.write_acl(ALLOWED)
        await until(lambda: len(counted(collector)) == 60)
        await until(lambda: not under_way(store) and not store.parked("mqtt"))
        assert uplink.state == "online"
    assert counted(collector) == Counter(every(*((node, 10) for node in range(10, 16))))


async def test_one_refused_topic_does_not_hold_up_the_others(store: Store, start: Start, collect: Collect) -> None:
    acl = NOT_ALLOWED.replace("\nuser collector", "\ntopic write wayside/test/11/#\nuser collector")
    broker = start(users={"gateway": "g", "collector": "c"}, acl=acl)
    collector = collect(broker, user="collector", password="c")
    fill(store, (10, 5), (11, 50))
    async with running(store, sink(broker.port, user="gateway", password="g")) as uplink:
        await until(lambda: len(counted(collector)) == 50)
        await until(all_done(uplink, store))
        assert {parked.reason for parked in store.parked("mqtt")} == {"refused:not_authorized"}
        assert len(store.parked("mqtt")) == 5
    assert counted(collector) == Counter(every((11, 50)))


# -- size ------------------------------------------------------------------------------------------------


async def test_blocks_are_cut_to_the_size_that_the_broker_says(store: Store, start: Start, collect: Collect) -> None:
    broker = start(extra=("max_packet_size 9000",))
    collector = collect(broker)
    fill(store, (5, 100))
    async with running(store, sink(broker.port)) as uplink:
        await until(all_done(uplink, store))
        await until(lambda: len(counted(collector)) == 100)
    assert counted(collector) == Counter(every((5, 100)))
    assert max(len(got.payload) for got in collector.got) < 9000


async def test_blocks_are_cut_when_the_broker_refuses_their_size(store: Store, start: Start, collect: Collect) -> None:
    """`message_size_limit` is told only by PUBACK 0x95."""
    broker = start(extra=("message_size_limit 5000",))
    collector = collect(broker)
    fill(store, (5, 100))
    async with running(store, sink(broker.port)) as uplink:
        await until(all_done(uplink, store))
        await until(lambda: len(counted(collector)) == 100)
    assert counted(collector) == Counter(every((5, 100)))


async def test_a_record_that_is_too_large_alone_is_put_aside(store: Store, start: Start) -> None:
    broker = start(extra=("max_packet_size 1500",))
    fill(store, (5, 4))
    async with running(store, sink(broker.port)) as uplink:
        await until(all_done(uplink, store))
        assert [parked.reason for parked in store.parked("mqtt")] == ["too_large"] * 3


# -- availability -----------------------------------------------------------------------------------------


async def test_the_status_is_online_and_offline_by_goodbye_or_will(
    store: Store, start: Start, collect: Collect
) -> None:
    broker = start()
    collector = collect(broker, "wayside/test/gateway/1/status")

    def said() -> list[str]:
        return [got.payload.decode() for got in list(collector.got)]

    async with running(store, sink(broker.port)):
        await until(lambda: said() == ["online"])
    await until(lambda: said() == ["online", "offline"])
    async with running(store, sink(broker.port), orderly=False):
        await until(lambda: said() == ["online", "offline", "online"])
    await until(lambda: said() == ["online", "offline", "online", "offline"])
    late = collect(broker, "wayside/test/gateway/1/status", name="late")
    await until(lambda: bool(late.got))
    assert (late.got[0].retain, late.got[0].payload) == (True, b"offline")
