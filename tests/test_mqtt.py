"""The MQTT uplink against a real mosquitto and a subscriber of another make: once, or told why not."""

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from fakes.broker import Broker
from fakes.mqtt_collector import Collector
from fakes.mqtt_proxy import Mqtt5, Proxy
from fakes.uplink_rig import FixedTimes, all_done, running, under_way, until
from senml_rules import resolve
from uplink_records import add_channels, add_samples, ids_of
from wayside_gateway.settings import MqttSettings, Tls
from wayside_gateway.store import Store
from wayside_gateway.uplinks import base
from wayside_gateway.uplinks.mqtt import MqttSink

Start = Callable[..., Broker]
DATA = "wayside/test/+/+"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "store.sqlite")
    yield opened
    opened.close()


@pytest.fixture
def start(mosquitto: str, free_port: int, tmp_path: Path) -> Iterator[Start]:
    """Start a broker with these options."""
    brokers: list[Broker] = []

    def begin(**options: object) -> Broker:
        broker = Broker(mosquitto, tmp_path / "broker", free_port, **options)  # type: ignore[arg-type]
        brokers.append(broker)
        return broker.start()

    yield begin
    for broker in brokers:
        broker.kill()


@pytest.fixture
async def proxy_port(free_port: int) -> int:
    """Another free port."""
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    return port


@pytest.fixture
def collect() -> Iterator[Callable[..., Collector]]:
    """Start a subscriber."""
    started: list[Collector] = []

    def begin(broker: Broker, topic: str = DATA, **options: object) -> Collector:
        collector = Collector(broker.port, topic, **options)  # type: ignore[arg-type]
        started.append(collector)
        return collector.start()

    yield begin
    for collector in started:
        collector.stop()


def sink(port: int, **options: object) -> MqttSink:
    settings = MqttSettings.model_validate({"host": "127.0.0.1", "port": port, **options})
    return MqttSink(settings, "test", 1)


def counted(collector: Collector) -> Counter[str]:
    """How often each record came."""
    for got in collector.got[collector.read :]:
        collector.ids.update(ids_of(got.topic, got.payload))
        collector.read += 1
    return collector.ids


def every(*nodes: tuple[int, int]) -> set[str]:
    """The ids of these nodes' records 1..count."""
    return {f"{node}:{seq}" for node, count in nodes for seq in range(1, count + 1)}


def fill(store: Store, *nodes: tuple[int, int], rng: Random | None = None) -> None:
    for node, count in nodes:
        add_channels(store, node)
        add_samples(store, node, 2, count - 1, rng)


# -- the normal way ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("qos", [1, 2])
async def test_everything_arrives_once_with_its_topic_and_properties(
    store: Store, start: Start, collect: Callable[..., Collector], qos: int
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


async def test_a_live_record_is_there_within_a_second(
    store: Store, start: Start, collect: Callable[..., Collector]
) -> None:
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
    store: Store, start: Start, collect: Callable[..., Collector], proxy_port: int, answer: Mqtt5
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
async def test_a_broker_without_qos_2_is_given_qos_1(
    store: Store, start: Start, collect: Callable[..., Collector], level: str
) -> None:
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


async def test_tls_with_user_and_password(store: Store, start: Start, collect: Callable[..., Collector]) -> None:
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
    store: Store, start: Start, collect: Callable[..., Collector], qos: int, monkeypatch: pytest.MonkeyPatch
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


async def test_one_refused_topic_does_not_hold_up_the_others(
    store: Store, start: Start, collect: Callable[..., Collector]
) -> None:
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


async def test_blocks_are_cut_to_the_size_that_the_broker_says(
    store: Store, start: Start, collect: Callable[..., Collector]
) -> None:
    broker = start(extra=("max_packet_size 9000",))
    collector = collect(broker)
    fill(store, (5, 100))
    async with running(store, sink(broker.port)) as uplink:
        await until(all_done(uplink, store))
        await until(lambda: len(counted(collector)) == 100)
    assert counted(collector) == Counter(every((5, 100)))
    assert max(len(got.payload) for got in collector.got) < 9000


async def test_blocks_are_cut_when_the_broker_refuses_their_size(
    store: Store, start: Start, collect: Callable[..., Collector]
) -> None:
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
    store: Store, start: Start, collect: Callable[..., Collector]
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


# -- faults on the way ------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", ["5", "3.1.1"])
@pytest.mark.parametrize("case", range(3))
async def test_the_connection_is_cut_again_and_again_and_each_record_comes_once(
    store: Store,
    start: Start,
    collect: Callable[..., Collector],
    proxy_port: int,
    level: str,
    case: int,
    seed: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(base, "CHUNK_ROWS", 64)
    rng = Random(seed + case)
    broker = start()
    collector = collect(broker)
    fill(store, (1, 700), (2, 500), rng=rng)
    options = {"version": level, "batch_bytes": rng.choice([2000, 20_000])}
    async with Proxy(proxy_port, broker.port) as proxy, running(store, sink(proxy_port, **options)) as uplink:
        while not all_done(uplink, store)():
            await asyncio.sleep(rng.random() * 0.08)
            proxy.cut()
        await until(lambda: len(counted(collector)) == 1200)
        await asyncio.sleep(0.2)
        assert len(proxy.levels) > 2
    assert counted(collector) == Counter(every((1, 700), (2, 500)))


async def test_the_broker_restarts_in_order_and_each_record_comes_once(
    store: Store, start: Start, collect: Callable[..., Collector], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "CHUNK_ROWS", 32)
    broker = start(persistent=True)
    collector = collect(broker)
    add_channels(store, 1)
    async with running(store, sink(broker.port, batch_bytes=6000)) as uplink:
        for i in range(3):
            add_samples(store, 1, 2 + 200 * i, 200 - i // 2)
            uplink.stirred()
            seen = len(collector.got)
            await until(lambda seen=seen: len(collector.got) > seen + 5)  # type: ignore[misc]
            await asyncio.to_thread(broker.stop)
            await until(lambda: uplink.state == "down")
            await asyncio.to_thread(broker.start)
        await until(all_done(uplink, store))
        await until(lambda: len(counted(collector)) == 600)
        await asyncio.sleep(0.3)
    assert counted(collector) == Counter(every((1, 600)))


async def test_the_broker_is_killed_and_nothing_is_lost(
    store: Store, start: Start, collect: Callable[..., Collector], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may forget what it had taken: then a record may come again, with the same id and value, and none is lost."""
    monkeypatch.setattr(base, "CHUNK_ROWS", 32)
    broker = start(persistent=True)
    collector = collect(broker)
    add_channels(store, 1)
    async with running(store, sink(broker.port, batch_bytes=6000)) as uplink:
        for i in range(3):
            add_samples(store, 1, 2 + 200 * i, 200 - i // 2)
            uplink.stirred()
            seen = len(collector.got)
            await until(lambda seen=seen: len(collector.got) > seen + 5)  # type: ignore[misc]
            await asyncio.to_thread(broker.kill)
            await until(lambda: uplink.state == "down")
            await asyncio.to_thread(broker.start)
        await until(all_done(uplink, store))
        await until(lambda: len(counted(collector)) == 600)
    by_id: dict[str, set[str]] = {}
    for got in collector.got:
        for record in resolve(got.payload) if got.topic.endswith("/senml") else []:
            key = f"{record['bid']} {record['n']} {record['t']}"
            by_id.setdefault(key, set()).add(str(record["v"]))
    assert all(len(values) == 1 for values in by_id.values())


async def test_a_broker_that_forgot_everything_loses_us_nothing(
    store: Store,
    start: Start,
    collect: Callable[..., Collector],
    proxy_port: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without persistence a killed broker loses sessions and queues; what it had not confirmed goes again."""
    monkeypatch.setattr(base, "CHUNK_ROWS", 32)
    broker = start()
    collector = collect(broker)
    fill(store, (1, 400))
    async with Proxy(proxy_port, broker.port) as proxy, running(store, sink(proxy_port, batch_bytes=6000)) as uplink:
        await until(lambda: len(collector.got) > 5)
        proxy.close()
        await asyncio.to_thread(broker.kill)
        await until(lambda: uplink.state == "down")
        confirmed = set(range(1, store.cursor("mqtt") + 1))
        await asyncio.to_thread(broker.start)
        await until(lambda: collector.subscriptions == 2)
        proxy.reopen()
        await until(all_done(uplink, store))
        await until(lambda: {int(i.split(":")[1]) for i in counted(collector)} | confirmed >= set(range(1, 401)))


# -- kill -9 of the gateway -------------------------------------------------------------------------------

UPLINK_PROCESS = """
import asyncio, sys
from pathlib import Path
from fakes.uplink_rig import FixedTimes
from wayside_gateway import log
from wayside_gateway.settings import MqttSettings
from wayside_gateway.store import Store
from wayside_gateway.uplinks import base
from wayside_gateway.uplinks.mqtt import MqttSink
log.configure("json", "warning")
path, port, qos, rows = sys.argv[1:]
base.CHUNK_ROWS = int(rows)
settings = MqttSettings(host="127.0.0.1", port=int(port), qos=int(qos), batch_bytes=500 * int(rows))
asyncio.run(base.Uplink("mqtt", Store(Path(path)), FixedTimes(), MqttSink(settings, "test", 1)).run())
"""


async def run_until(path: Path, port: int, qos: int, end: Callable[[], Awaitable[None]], rows: int = 16) -> None:
    """Run the uplink in a process of its own, `rows` records at a time, until `end` returns, then kill it."""
    arguments = (sys.executable, "-c", UPLINK_PROCESS, str(path), str(port), str(qos), str(rows))
    process = await asyncio.create_subprocess_exec(*arguments, cwd=Path(__file__).parent)
    try:
        await end()
    finally:
        process.kill()
        await process.wait()


KILLS = 10
A_ROUND = 200
"""Records that are added before each start."""


@pytest.mark.parametrize("qos", [1, 2])
async def test_the_gateway_is_killed_at_random_moments(
    store: Store, start: Start, collect: Callable[..., Collector], qos: int, seed: int
) -> None:
    rng = Random(seed)
    broker = start()
    collector = collect(broker)
    add_channels(store, 1)

    async def for_a_moment() -> None:
        await until(lambda: store.read("SELECT state FROM uplink") == [("online",)])
        await asyncio.sleep(rng.random() * 0.05)

    async def to_the_end() -> None:
        await until(lambda: store.cursor("mqtt") == store.newest_id() and not under_way(store))

    cut_off = 0
    for i in range(KILLS):
        add_samples(store, 1, 2 + i * A_ROUND, A_ROUND, rng)
        with store.writing() as db:
            db.execute("UPDATE uplink SET state = ''")
        await run_until(store.path, broker.port, qos, for_a_moment)
        cut_off += under_way(store) > 0
    await run_until(store.path, broker.port, qos, to_the_end)
    expected = Counter(every((1, 1 + KILLS * A_ROUND)))
    await until(lambda: len(counted(collector)) == len(expected))
    await asyncio.sleep(0.2)
    print(f"{cut_off} of {KILLS} kills with blocks under way, {counted(collector).total() - len(expected)} repeats")
    assert cut_off > 0
    if qos == 2:
        assert counted(collector) == expected
        return
    assert set(counted(collector)) == set(expected)
    payloads: dict[str, set[bytes]] = {}
    for message in collector.got:
        block = dict(message.properties["UserProperty"])["block"]
        payloads.setdefault(block, set()).add(message.payload)
    assert all(len(same) == 1 for same in payloads.values()), "a repeat is the same block, byte for byte"
    assert len({i for same in payloads.values() for i in same}) == len(payloads)


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_kills_and_cuts_in_100_000_records_and_each_comes_once(
    store: Store, start: Start, collect: Callable[..., Collector], proxy_port: int, seed: int
) -> None:
    """The gateway's process is killed and the network cut, both at random, while 100,000 records drain."""
    rng = Random(seed)
    broker = start()
    collector = collect(broker)
    nodes, each = range(1, 11), 10_000
    for node in nodes:
        add_channels(store, node)
        for seq in range(2, each + 1, 1000):
            add_samples(store, node, seq, min(1000, each + 1 - seq), rng)

    def finished() -> bool:
        return store.cursor("mqtt") == store.newest_id() and not under_way(store)

    kills = cuts = 0
    async with Proxy(proxy_port, broker.port) as proxy:
        while not finished():

            async def for_a_while() -> None:
                nonlocal cuts
                await until(lambda: store.read("SELECT state FROM uplink") == [("online",)])
                for _ in range(rng.randrange(4)):
                    await asyncio.sleep(rng.random())
                    proxy.cut()
                    cuts += 1
                await asyncio.sleep(rng.random())

            with store.writing() as db:
                db.execute("UPDATE uplink SET state = ''")
            await run_until(store.path, proxy_port, 2, for_a_while, rows=100)
            kills += 1
    await until(lambda: len(counted(collector)) == len(nodes) * each)
    await asyncio.sleep(0.5)
    print(f"{kills} kills, {cuts} cuts, {len(collector.got)} publishes")
    assert kills > 3
    assert counted(collector) == Counter(every(*((node, each) for node in nodes)))


# -- a session of another life ----------------------------------------------------------------------------


async def test_what_the_broker_remembers_of_another_store_does_no_harm(
    tmp_path: Path, start: Start, collect: Callable[..., Collector]
) -> None:
    """A new store under the same client name starts with a clean session, so no identifier of the old one is in use."""
    broker = start()
    collector = collect(broker)
    for life in range(2):
        store = Store(tmp_path / f"{life}.sqlite")
        fill(store, (life, 50))
        async with running(store, sink(broker.port), FixedTimes(), orderly=False) as uplink:
            await until(lambda: bool(collector.got))
            if life:
                await until(all_done(uplink, store))
        store.close()
    await until(lambda: every((1, 50)) <= set(counted(collector)))
