"""The gateway as a service: a process of its own on a real PTY, killed, stopped, restarted; and its stations."""

import asyncio
import contextlib
import json
import os
import pty
import random
import signal
import subprocess
import sys
import time
import tty
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil
import pytest

from fakes.node import KEY, FakeNode
from wayside_gateway import app
from wayside_gateway.errors import StoreError
from wayside_gateway.keys import KeyFile
from wayside_gateway.metrics import Metrics
from wayside_gateway.settings import Settings, parse
from wayside_gateway.stations import Station
from wayside_gateway.store import Store, open_store
from wayside_gateway.timeline import Timeline
from wayside_gateway.uplinks.base import Uplink

NODE = 1001
RUN = "from wayside_gateway.app import main; from wayside_gateway.settings import load; import sys, pathlib; "
RUN += "main(load(pathlib.Path(sys.argv[1])))"


class Bench:
    """A data directory, a PTY with a node at its far end, and gateways that come and go."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.master, slave = pty.openpty()
        tty.setraw(slave)
        os.set_blocking(self.master, False)
        (directory / "tty0").symlink_to(os.ttyname(slave))
        self._slave = slave  # held open: a PTY whose last user leaves hangs up
        self.node = FakeNode(NODE)
        self.keys = KeyFile(directory / "keys.toml")
        self.keys.add(NODE, KEY, "north gate")
        self.settings = directory / "wayside.toml"
        self.settings.write_text(
            'gateway = 3\ndeployment = "town"\ndata = "."\n'
            '[[serial]]\npath = "tty*"\n[clock]\nrequire_ntp = false\n[log]\nformat = "json"\n'.replace(
                '"tty*"', f'"{directory}/tty*"'
            )
        )
        self.process: subprocess.Popen[bytes] | None = None
        self._unsent = b""

    def start(self) -> "subprocess.Popen[bytes]":
        """Start a gateway and wait until it has the port open."""
        with contextlib.suppress(BlockingIOError):
            while os.read(self.master, 65_536):
                pass
        log = open(self.directory / "log", "ab")  # noqa: SIM115 - the child has it
        self.process = subprocess.Popen([sys.executable, "-c", RUN, str(self.settings)], stderr=log)
        log.close()
        return self.process

    def log(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in (self.directory / "log").read_text().splitlines()]

    def exchange(self) -> None:
        """Move bytes between node and line, without waiting."""
        with contextlib.suppress(BlockingIOError):
            self.node.hear(os.read(self.master, 65_536))
        if self._unsent:
            with contextlib.suppress(BlockingIOError):
                self._unsent = self._unsent[os.write(self.master, self._unsent) :]

    def say(self, data: bytes) -> None:
        self._unsent += data

    def until(self, condition: Callable[[], bool], timeout_s: float = 20, retry_s: float = 0.3) -> None:
        """Exchange until the condition holds; say hello and what is not acked again meanwhile, as nodes do."""
        end_s = time.monotonic() + timeout_s
        again_s = time.monotonic() + retry_s
        while not condition():
            assert time.monotonic() < end_s, (self.directory / "log").read_text()
            self.exchange()
            if time.monotonic() >= again_s and not self._unsent:
                again_s = time.monotonic() + retry_s
                self.node.uptime_ms += 300
                self.say(self.node.hello() + self.node.again())
            time.sleep(0.002)

    def held(self) -> set[int]:
        store = open_store(self.directory, read_only=True)
        try:
            return {seq for first, last in store.held(NODE) for seq in range(first, last + 1)}
        finally:
            store.close()

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.master)
        os.close(self._slave)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.close()


def test_a_reading_arrives_and_an_orderly_stop_loses_nothing(bench: Bench) -> None:
    process = bench.start()
    bench.say(bench.node.hello() + bench.node.channels() + bench.node.samples())
    bench.until(lambda: bench.node.acked == {1, 2})
    bench.say(b"".join(bench.node.samples() for _ in range(30)))
    bench.until(lambda: len(bench.node.acked) == 32)
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0
    assert bench.held() == set(range(1, 33))
    status = json.loads((bench.directory / "status.json").read_text())
    assert {station["state"] for station in status["stations"].values()} == {"stopped"}
    assert status["metrics"]["records_stored"] == 32
    assert [line["event"] for line in bench.log()][-2:] == ["stopping", "stopped"]
    assert KEY.hex() not in (bench.directory / "log").read_text()


def test_ctrl_c_is_a_stop_too(bench: Bench) -> None:
    process = bench.start()
    bench.say(bench.node.hello())
    bench.until(lambda: bool(bench.node.welcomes))
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 0


@pytest.mark.parametrize("number", range(2))
def test_killed_at_any_moment_nothing_acked_is_lost_and_nothing_is_twice(bench: Bench, number: int) -> None:
    rng = random.Random(number)
    for _ in range(4):
        process = bench.start()
        bench.until(lambda: len(bench.node.welcomes) > 0)
        bench.say(b"".join(bench.node.samples() for _ in range(rng.randrange(20, 400))))
        end_s = time.monotonic() + rng.uniform(0.0, 0.25)
        while time.monotonic() < end_s:
            bench.exchange()
        process.kill()
        process.wait()
        bench.exchange()
        bench.node.welcomes.clear()
        assert bench.node.acked <= bench.held(), f"acked, but not on disk (seed {number})"
    bench.start()
    bench.until(lambda: set(bench.node.records) <= bench.node.acked)
    store = Store(bench.directory / "wayside.sqlite", read_only=True)
    rows = store.after(0, 5000)
    store.close()
    bodies = {row.seq: row.body for row in rows}
    assert bodies == bench.node.bodies
    assert len(rows) == len(bodies)


def test_a_second_gateway_on_the_same_data_is_refused(bench: Bench) -> None:
    bench.start()
    bench.until(lambda: bool(bench.node.welcomes))
    settings = parse(f'gateway = 3\ndeployment = "town"\ndata = "{bench.directory}"\n')
    with pytest.raises(StoreError, match="Another gateway runs"):
        asyncio.run(app.run(settings, asyncio.Event()))


def test_a_key_that_is_added_while_it_runs_takes_effect(bench: Bench) -> None:
    bench.keys.remove(NODE)
    bench.start()
    end_s = time.monotonic() + 20
    while not any(line["event"] == "running" for line in bench.log()):
        assert time.monotonic() < end_s
        time.sleep(0.05)
    bench.keys.add(NODE, KEY)
    bench.say(bench.node.samples())
    bench.until(lambda: bench.node.acked == {1})


def test_a_node_that_is_not_taken_is_told_once_with_what_to_do(bench: Bench) -> None:
    gateway = bench.start()
    bench.until(lambda: bool(bench.node.welcomes))
    stranger = FakeNode(9)
    bench.say(stranger.hello() + stranger.hello() + bench.node.samples())
    bench.until(lambda: bench.node.acked == {1})
    gateway.terminate()
    assert gateway.wait(20) == 0
    told = [line for line in bench.log() if line["event"] == "frames refused"]
    assert [(line["node"], line["reason"]) for line in told] == [(9, "unknown_node")]
    assert "wayside nodes add" in str(told[0]["fix"])


def test_idle_its_memory_is_bounded(bench: Bench) -> None:
    process = psutil.Process(bench.start().pid)
    bench.say(bench.node.hello())
    bench.until(lambda: bool(bench.node.welcomes))
    time.sleep(2)
    assert process.memory_info().rss <= 70e6


def test_a_missing_data_directory_is_made_and_an_impossible_one_is_told(tmp_path: Path) -> None:
    with app.only_one(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be used"), app.only_one(tmp_path / "file"):
        pass


# -- stations --------------------------------------------------------------------------------------------


async def test_a_station_that_fails_starts_again_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wayside_gateway.stations.Backoff", lambda: type("B", (), {"next": lambda _: 0.01})())
    beats = 0
    tries = 0

    async def fails(stop: asyncio.Event) -> None:
        nonlocal tries
        tries += 1
        if tries == 2:
            return  # to end without being asked to is a failure too
        if tries < 5:
            raise RuntimeError("something nobody thought of")
        await stop.wait()

    async def beat(stop: asyncio.Event) -> None:
        nonlocal beats
        while not stop.is_set():
            beats += 1
            await asyncio.sleep(0.001)

    metrics = Metrics()
    weak, strong = Station("weak", fails, metrics), Station("strong", beat, metrics)
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        group.create_task(weak.keep())
        group.create_task(strong.keep())
        while tries < 5:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.01)
        assert (weak.state, strong.state) == ("running", "running")
        assert (weak.failures, strong.failures, metrics.value("station_failures", "weak")) == (4, 0, 4)
        assert beats > 10
        weak.stop.set()
        strong.stop.set()
    assert (weak.state, strong.state) == ("stopped", "stopped")


async def test_a_failing_station_shows_why_and_can_be_stopped() -> None:
    async def fails(_stop: asyncio.Event) -> None:
        raise StoreError("disk_full", "the disk is full", "Free space.")

    station = Station("store", fails, Metrics())
    task = asyncio.create_task(station.keep())
    async with asyncio.timeout(5):
        while station.state != "degraded":  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        assert station.error == "the disk is full Free space."
        station.stop.set()
        await task


async def test_an_uplink_that_breaks_delays_only_itself(tmp_path: Path) -> None:
    settings = parse(f'gateway = 3\ndeployment = "town"\ndata = "{tmp_path}"\n[clock]\nrequire_ntp = false\n')

    class Broken:
        name, state, error = "broken", "down", None

        async def run(self) -> None:
            raise OSError("no such sink")

        def stop(self) -> None:
            pass

    def uplinks(_s: Settings, _store: Store, _timeline: Timeline, _metrics: Metrics) -> Sequence[Uplink]:
        return [Broken()]  # type: ignore[list-item]

    stop = asyncio.Event()
    with contextlib.closing(open_store(tmp_path)) as store:
        gateway = app.Gateway(settings, store, uplinks)
        running = asyncio.create_task(gateway.run(stop))
        async with asyncio.timeout(10):
            while gateway.stations[2].state != "degraded":  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            states = {station.name: station.state for station in gateway.stations}
            assert states == {
                "serial": "running",
                "ingest": "running",
                "uplink broken": "degraded",
                "keeper": "running",
            }
            assert store.read("SELECT uplink, enabled FROM cursor") == [("broken", 1)]
            stop.set()
            await running
