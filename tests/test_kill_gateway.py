"""kill -9 of the gateway at random moments while frames pass, before a broker that is cut and restored.

Every ack that a node ever got names a record that is in the store, every record is there once, and downstream each id
arrives once (QoS 2), or again only in the same publish (QoS 1).
"""

import asyncio
import contextlib
import hashlib
import os
import pty
import re
import signal
import sqlite3
import subprocess
import sys
import time
import tty
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest

from fakes.broker import Broker
from fakes.fleet import Fleet
from fakes.mqtt_collector import Collector
from fakes.mqtt_proxy import Proxy
from wayside_gateway.keys import KeyFile

RUN = "from wayside_gateway.app import main; from wayside_gateway.settings import load; import sys, pathlib; "
RUN += "main(load(pathlib.Path(sys.argv[1])))"
NODES = 16
T = 1_780_000_000
TICK_S = 0.02
READ = 65_536
DRAIN_S = 60.0
"""After the last record is acked and everything is mended, all of it is downstream well before."""
SETTLE_S = 1.5
"""Time for a duplicate to come, if there is one: the collector comes back within a second."""
_ID = re.compile(rb'"bn":"wayside:(\d+:[a-z]+)"[^{}]*?"bid":"(\d+:\d+)"')
COLUMNS = 2


@dataclass
class Pace:
    """How hard it is: records in all and a second, seconds between kills, of how long a gateway lives."""

    records: int
    rate: float
    life_s: tuple[float, float]
    qos: int = 2
    kills_max: int = 1000


class Street:
    """A line with many nodes, a gateway process that comes and goes, and a broker behind a proxy."""

    def __init__(self, directory: Path, broker: Broker, proxy: Proxy, pace: Pace, seed: int) -> None:
        self.directory, self.broker, self.proxy, self.pace = directory, broker, proxy, pace
        self.rng = Random(seed)
        self.kills = self.cuts = 0
        self.alive_acks = 0
        self.process: subprocess.Popen[bytes] | None = None
        keys = {1001 + i: self.rng.randbytes(16) for i in range(NODES)}
        self.fleet = Fleet(keys, pace.records // NODES, seed, T)
        self.master, self.slave = pty.openpty()
        tty.setraw(self.slave)
        os.set_blocking(self.master, False)
        (directory / "tty0").symlink_to(os.ttyname(self.slave))
        file = KeyFile(directory / "keys.toml")
        for node, key in keys.items():
            file.add(node, key)
        self.settings = directory / "wayside.toml"
        self.settings.write_text(
            f'gateway = 3\ndeployment = "town"\ndata = "."\n[[serial]]\npath = "{directory}/tty0"\n'
            f'[clock]\nrequire_ntp = false\n[log]\nformat = "json"\n'
            f'[mqtt]\nhost = "127.0.0.1"\nport = {proxy.port}\nqos = {pace.qos}\n'
        )
        self._unsent = b""

    def close(self) -> None:
        self.kill()
        os.close(self.master)
        os.close(self.slave)

    # -- the gateway process -------------------------------------------------------------------------------

    def start(self) -> None:
        with open(self.directory / "log", "ab") as log:
            self.process = subprocess.Popen([sys.executable, "-c", RUN, str(self.settings)], stderr=log)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def terminate(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(30) == 0
        self.process = None

    # -- plagues -------------------------------------------------------------------------------------------

    async def nodes(self) -> None:
        """The nodes talk, for ever."""
        last_s = time.monotonic()
        while True:
            await asyncio.sleep(TICK_S)
            now_s = time.monotonic()
            with contextlib.suppress(BlockingIOError):
                while data := os.read(self.master, READ):
                    self.fleet.hear(data, now_s)
            if not self._unsent:
                self._unsent = self.fleet.say(now_s, int(self.pace.rate * min(now_s - last_s, 0.2)))
                last_s = now_s
            with contextlib.suppress(BlockingIOError):
                while self._unsent:
                    self._unsent = self._unsent[os.write(self.master, self._unsent) :]

    async def killer(self) -> None:
        """The gateway is started and killed, some time after its first ack, or while it starts."""
        while self.kills < self.pace.kills_max:
            acked = self.fleet.acked
            self.start()
            if self.rng.random() < 0.15:
                await asyncio.sleep(self.rng.uniform(0, 1))
            else:
                while self.fleet.acked == acked and not self.fleet.done:  # noqa: ASYNC110 - it is told on a line
                    await asyncio.sleep(0.01)
                await asyncio.sleep(self.rng.uniform(*self.pace.life_s))
            self.kill()
            self.kills += 1
        self.start()

    async def breaker(self) -> None:
        """The way to the broker is cut, for a moment or longer, or the broker itself is stopped and started."""
        while True:
            await asyncio.sleep(self.rng.uniform(0.3, 3))
            self.cuts += 1
            what = self.rng.random()
            if what < 0.4:
                self.proxy.cut()
            elif what < 0.8:
                self.proxy.close()
                await asyncio.sleep(self.rng.uniform(0, 2))
                self.proxy.reopen()
            else:
                await asyncio.to_thread(self.broker.stop)
                await asyncio.sleep(self.rng.uniform(0, 1))
                await asyncio.to_thread(self.broker.start)

    async def pass_all(self) -> None:
        """Until every record is acked; then all is mended, and a gateway runs."""
        plagues = [asyncio.create_task(plague()) for plague in (self.nodes, self.killer, self.breaker)]
        try:
            while not self.fleet.done:
                for task in plagues[::2]:
                    assert not task.done(), task.result()
                await asyncio.sleep(0.05)
        finally:
            for task in plagues:
                task.cancel()
            await asyncio.gather(*plagues, return_exceptions=True)
        self.proxy.reopen()
        if self.broker.process is None:
            await asyncio.to_thread(self.broker.start)
        self.kill()
        self.start()

    # -- what must be ----------------------------------------------------------------------------------------

    def expected(self) -> set[bytes]:
        """Ids that must arrive: all samples."""
        return {f"{node.node}:{seq}".encode() for node in self.fleet.nodes.values() for seq in range(2, node.count + 1)}

    def check_store(self) -> None:
        """All that was acked is there, and nothing else, each once, as it was sent; nothing waits for the broker."""
        with contextlib.closing(sqlite3.connect(self.directory / "wayside.sqlite")) as db:
            rows = db.execute("SELECT node, seq, body FROM record").fetchall()
            under_way = db.execute("SELECT count(*) FROM outbox").fetchone()[0]
            conflicts = db.execute("SELECT count(*) FROM conflict").fetchone()[0]
            assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert len(rows) == self.pace.records == len({(node, seq) for node, seq, _ in rows})
        for node, seq, body in rows:
            assert self.fleet.nodes[node].bodies[seq - 1] == body
        assert (under_way, conflicts) == (0, 0)


def ids_of(payload: bytes) -> Counter[bytes]:
    """Each id's columns in a publish."""
    return Counter(identity for _, identity in _ID.findall(payload))


class Tally:
    """Ids that came downstream: how many columns of each, in distinct publishes and in all."""

    def __init__(self, collector: Collector) -> None:
        self._collector = collector
        self._at = 0
        self.seen: Counter[bytes] = Counter()
        self.distinct: Counter[bytes] = Counter()
        self.repeats = self.publishes = 0
        self._payloads: set[bytes] = set()

    def count(self) -> None:
        """Take in what came since."""
        got = self._collector.got
        while self._at < len(got):
            payload = got[self._at].payload
            self._at += 1
            self.publishes += 1
            digest = hashlib.blake2b(payload, digest_size=16).digest()
            ids = ids_of(payload)
            self.seen += ids
            if digest in self._payloads:
                self.repeats += 1
            else:
                self._payloads.add(digest)
                self.distinct += ids

    async def all_of(self, expected: set[bytes]) -> None:
        """Until all ids came. Raises AssertionError with some of what is missing."""
        end_s = time.monotonic() + DRAIN_S
        while len(self.distinct) < len(expected):
            self.count()
            missing = len(expected) - len(self.distinct)
            assert time.monotonic() < end_s, f"{missing} missing: {sorted(expected - set(self.distinct))[:5]}"
            await asyncio.sleep(0.05)
        await asyncio.sleep(SETTLE_S)
        self.count()
        assert set(self.distinct) == expected


@pytest.fixture
def broker(mosquitto: str, free_port: int, tmp_path: Path) -> Iterator[Broker]:
    broker = Broker(mosquitto, tmp_path / "broker", free_port, persistent=True).start()
    yield broker
    broker.kill()


async def play(tmp_path: Path, broker: Broker, pace: Pace, seed: int) -> Tally:
    """Let all records pass, with every plague. Returns what came downstream."""
    collector = Collector(broker.port, "wayside/town/+/senml").start()
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    try:
        async with Proxy(port, broker.port) as proxy:
            street = Street(tmp_path, broker, proxy, pace, seed)
            try:
                begun_s = time.monotonic()
                await asyncio.wait_for(street.pass_all(), 240)
                passed_s = time.monotonic() - begun_s
                tally = Tally(collector)
                await tally.all_of(street.expected())
                street.terminate()
                tally.count()
                street.check_store()
            finally:
                log = (tmp_path / "log").read_text()
                street.close()
            assert "Traceback" not in log
            repeats = sum(node.repeats for node in street.fleet.nodes.values())
            print(
                f"records {pace.records}, kills {street.kills}, cuts {street.cuts}, sent again {repeats},"
                f" publishes {tally.publishes}, of them repeats {tally.repeats}, passed in {passed_s:.1f} s,"
                f" all in {time.monotonic() - begun_s:.1f} s"
            )
            return tally
    finally:
        collector.stop()


def once(tally: Tally) -> None:
    """Every column of every id came once."""
    twice = {identity: times for identity, times in tally.seen.items() if times != COLUMNS}
    assert not twice, f"{len(twice)} ids came more than once, such as {sorted(twice.items())[:5]}"
    assert tally.repeats == 0


@pytest.mark.timeout(180)
async def test_killed_in_10_000_frames_every_id_arrives_once(tmp_path: Path, broker: Broker, seed: int) -> None:
    once(await play(tmp_path, broker, Pace(10_000, 1500, (0.1, 1.5), kills_max=8), seed))


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_killed_in_100_000_frames_every_id_arrives_once(tmp_path: Path, broker: Broker, seed: int) -> None:
    once(await play(tmp_path, broker, Pace(100_000, 3000, (0.1, 2.5), kills_max=40), seed))


@pytest.mark.timeout(180)
async def test_with_qos_1_only_the_same_publish_comes_again(tmp_path: Path, broker: Broker, seed: int) -> None:
    tally = await play(tmp_path, broker, Pace(3_200, 1500, (0.1, 0.8), qos=1, kills_max=5), seed)
    assert set(tally.distinct.values()) == {COLUMNS}
