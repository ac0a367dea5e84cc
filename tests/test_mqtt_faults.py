"""The MQTT uplink while the network is cut, the broker restarts and the gateway is killed: each record comes once."""

import asyncio
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from fakes.mqtt_bench import Collect, Start, counted, every, fill, sink
from fakes.mqtt_proxy import Proxy
from fakes.uplink_rig import FixedTimes, all_done, running, under_way, until
from senml_rules import resolve
from uplink_records import add_channels, add_samples
from wayside_gateway.store import Store
from wayside_gateway.uplinks import base
from wayside_gateway.uplinks.outbox import Outbox
from wayside_gateway.uplinks.sink import NEW


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "store.sqlite")
    yield opened
    opened.close()


# -- faults on the way ------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", ["5", "3.1.1"])
@pytest.mark.parametrize("case", range(3))
async def test_the_connection_is_cut_again_and_again_and_each_record_comes_once(
    store: Store,
    start: Start,
    collect: Collect,
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
    store: Store, start: Start, collect: Collect, monkeypatch: pytest.MonkeyPatch
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


async def test_the_broker_is_killed_and_what_it_had_not_confirmed_comes(
    store: Store, start: Start, collect: Collect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A killed broker may lose what it had confirmed, and forget that it had it: no more than that is missing, and what
    comes again has the same id and value. Its old state comes back, with identifiers under way that were done."""
    monkeypatch.setattr(base, "CHUNK_ROWS", 32)
    broker = start(persistent=True)
    collector = collect(broker)
    add_channels(store, 1)
    confirmed: set[int] = set()
    async with running(store, sink(broker.port, batch_bytes=6000)) as uplink:
        for i in range(3):
            add_samples(store, 1, 2 + 200 * i, 200 - i // 2)
            uplink.stirred()
            seen = len(collector.got)
            await until(lambda seen=seen: len(collector.got) > seen + 5)  # type: ignore[misc]
            await asyncio.to_thread(broker.kill)
            await until(lambda: uplink.state == "down")
            box = Outbox(store, "mqtt")
            open_ids = {number for entry in box.load() if entry.stage == NEW for number in entry.ids}
            confirmed |= set(range(1, box.planned_id + 1)) - open_ids
            await asyncio.to_thread(broker.start)
        await until(all_done(uplink, store))
        await until(lambda: {int(key.split(":")[1]) for key in counted(collector)} | confirmed == set(range(1, 601)))
    by_id: dict[str, set[str]] = {}
    for got in collector.got:
        for record in resolve(got.payload) if got.topic.endswith("/senml") else []:
            key = f"{record['bid']} {record['n']} {record['t']}"
            by_id.setdefault(key, set()).add(str(record["v"]))
    assert all(len(values) == 1 for values in by_id.values())


async def test_a_broker_that_forgot_everything_loses_us_nothing(
    store: Store,
    start: Start,
    collect: Collect,
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
from wayside_gateway.uplinks.outbox import Outbox
from wayside_gateway.uplinks.sink import NEW
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
    store: Store, start: Start, collect: Collect, qos: int, seed: int
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
    store: Store, start: Start, collect: Collect, proxy_port: int, seed: int
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
    tmp_path: Path, start: Start, collect: Collect
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
