"""The firmware's own stations on CPython, in virtual time, on a folder as flash: all of it but the board's hardware.

A cut throws every object away and leaves the folder; it may come in the middle of a write, before or after its sync.
"""

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from fakes.line import Line
from wayside_node import clock as node_clock
from wayside_node import files, identity, startup
from wayside_node import sampler as node_sampler
from wayside_node.batch import Batch
from wayside_node.clock import Clock
from wayside_node.downlink import Downlink
from wayside_node.health import Health, Totals
from wayside_node.journal import Journal
from wayside_node.links.serial import SerialLink
from wayside_node.orders import Orders
from wayside_node.sampler import Sampler, channels_of
from wayside_node.seal import Recorder
from wayside_node.session import About, Numbers, Session
from wayside_node.settings import Settings
from wayside_node.spool import Spool
from wayside_node.watchdog import ResetCause
from wayside_protocol.event import CAUSE_POWER, CLOCK_SET
from wayside_protocol.frame import Opener, Sealer, parse
from wayside_protocol.quantity import HUMIDITY, TEMPERATURE, WALKERS_IN

BOOT_S = 0.5
"""From power on to the first line of firmware."""
_unbuffered = files.unbuffered


class PowerCut(BaseException):
    """The power went in the middle of a write. No handler of the firmware may stop it."""


class _NoCollector:
    """A collection of CPython's whole heap after each sample would be most of the run's time."""

    @staticmethod
    def collect() -> None:
        pass


class Reading(NamedTuple):
    """What a sensor really measured: true Unix seconds, boot, uptime in ms, and the values in their steps."""

    unix_s: float
    boot: int
    uptime_ms: int
    values: tuple[int, int, int]


@dataclass
class Build:
    """What a board is."""

    node: int = 1001
    key: bytes = bytes(range(16))
    interval_s: int = 10
    report_s: int = 60
    batch: int = 4
    health_s: int = 3600
    journal_bytes: int = 1 << 20
    segment_bytes: int = 16384
    drift: float = 0.0
    seed: int = 0


class _Air:
    """A sensor of three channels, whose values differ from sample to sample so that each is told from all others."""

    name = "air"
    channels = ((TEMPERATURE, 0), (HUMIDITY, 0), (WALKERS_IN, 0))

    def __init__(self, board: "Board") -> None:
        self._board = board
        self._values = (0, 0, 0)

    def start(self, _now: int) -> int:
        board = self._board
        n = len(board.readings)
        self._values = (2000 + n % 5000, int(500 + 300 * math.sin(n / 7)), n * 7 % 50)
        board.readings.append(Reading(board.true_s(), board.boot, board.clock.uptime_ms(), self._values))
        return 10

    def poll(self, _now: int) -> int:
        return 0

    def read(self, rows: Any, at: int) -> None:
        for i, value in enumerate(self._values):
            rows[at + i] = value


class _Port:
    """The node's end of the line."""

    def __init__(self, line: Line) -> None:
        self.buf = bytearray(64)
        self._line = line

    def write(self, view: Any, n: int) -> int:
        self._line.up.send(bytes(view[:n]))
        return n


class Board:
    """`power_on`, `cut`, `power_on` … `journaled`: what the journal said is on flash, by seq; `readings`: the truth."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        folder: Path,
        line: Line,
        build: Build,
        true_s: Callable[[], float],
    ) -> None:
        self.build = build
        self.true_s = true_s
        self.journaled: dict[int, bytes] = {}
        self.attempted: dict[int, set[bytes]] = {}
        """Frames that may be on flash: the power went while they were being written."""
        self.readings: list[Reading] = []
        self.on = False
        self.boot = 0
        self.boots = self.torn_cuts = 0
        self.drift = build.drift
        self._loop = loop
        self._root = str(folder)
        self._line = line
        self._rng = Random(build.seed)
        self._timers: list[asyncio.TimerHandle] = []
        self._tasks: dict[Callable[[int], int], asyncio.Handle] = {}
        self._files: list[Any] = []
        self._syncs_left = -1
        self._on_s = 0.0
        self._opener = Opener(build.key)
        line.ears[line.down] = self._hear
        folder.mkdir(parents=True, exist_ok=True)
        identity.save(self._root, build.node, build.key)
        changed = {
            "sample_interval_s": build.interval_s,
            "report_interval_s": build.report_s,
            "batch": build.batch,
            "health_interval_s": build.health_s,
        }
        Settings(self._root).change(changed)

    # -- power -------------------------------------------------------------------------------------------

    def power_on(self) -> None:
        """Boot, in a moment."""
        self._timers.append(self._loop.call_later(BOOT_S, self._guarded, self._start))

    def cut(self) -> None:
        """The power goes, now."""
        self.on = False
        for handle in (*self._timers, *self._tasks.values()):
            handle.cancel()
        self._timers.clear()
        self._tasks.clear()
        for file in self._files:
            file.close()
        self._files.clear()
        self._syncs_left = -1

    def cut_within(self, syncs: int) -> None:
        """The power goes at one of the next writes to flash, in the middle of it."""
        self._syncs_left = syncs

    async def restart_at_random(self, rng: Random, every_s: float) -> None:
        """For ever: the power goes, often in the middle of a write, and comes back after a while."""
        while True:
            await asyncio.sleep(rng.expovariate(1 / every_s))
            if not self.on:
                continue
            if rng.random() < 0.7:
                self.cut_within(rng.randrange(8))
            else:
                self.cut()
                await asyncio.sleep(rng.uniform(0, 30))
                self.power_on()

    def ticks_ms(self) -> int:
        """The board's own counter: it starts at each boot, and drifts."""
        return int((self._loop.time() - self._on_s) * 1000 * (1 + self.drift))

    def _guarded(self, work: Callable[..., Any], *args: Any) -> Any:
        """Run firmware: with this board's clock and flash, until it is done or the power goes."""
        node_sampler.gc = _NoCollector
        node_clock.ticks_ms = self.ticks_ms
        node_clock.ticks_diff = lambda end, start: end - start
        files.sync = self._synced
        files.unbuffered = self._opened
        try:
            return work(*args)
        except PowerCut:
            self.torn_cuts += 1
            self.cut()
            self.power_on()
            return None

    def _opened(self, path: str, mode: str) -> Any:
        file = _unbuffered(path, mode)
        self._files.append(file)
        return file

    def _synced(self, file: Any) -> None:
        if self._syncs_left == 0:
            if self._rng.random() < 0.5:
                file.flush()
            raise PowerCut
        if self._syncs_left > 0:
            self._syncs_left -= 1
        file.flush()  # to the folder; a real fsync proves nothing more here, and costs the disk

    # -- the stations, as main.py joins them ----------------------------------------------------------------

    def _start(self) -> None:
        build, root = self.build, self._root
        self.on = True
        self.boots += 1
        self._on_s = self._loop.time()
        self.boot = identity.next_boot(root)
        settings = Settings(root)
        self.clock = clock = Clock(self.boot)
        self.journal = Journal(root, build.journal_bytes, segment_bytes=build.segment_bytes)
        self._watch(self.journal)
        sealer, opener = Sealer(build.key), Opener(build.key)
        self.recorder = recorder = Recorder(build.node, clock, self.journal, sealer)
        clock.on_set = lambda uptime, before, after: recorder.event(CLOCK_SET, (self.boot, uptime, before, after))
        spool = Spool(root)
        sensors = [_Air(self)]
        startup.begin(root, spool, recorder, self.journal, opener, channels_of(sensors))
        startup.announce(recorder, self.boot, CAUSE_POWER, "test", ResetCause(root), settings)
        batch = Batch(clock, recorder, spool, settings.sample_interval_s, settings.report_interval_s, settings.batch)
        self.sampler = Sampler(clock, batch, recorder, sensors)
        health = Health(clock, recorder, self.journal, Totals(root, None), settings.health_interval_s)
        about = About(build.node, self.boot, "test", "fake", settings.version)
        about.set_id = recorder.set_id
        downlink = Downlink(build.node, self.boot, opener)
        self.session = Session(about, clock, self.journal, sealer, downlink, Orders(lambda order: None), Numbers())
        self.link = SerialLink(self.session, clock, _Port(self._line))
        recorder.on_append = lambda: self._soon(self.link.sender)
        for step in (self.link.sender, self.sampler.step, health.step):
            self._step(step)

    def _soon(self, step: Callable[[int], int]) -> None:
        if step in self._tasks:
            self._tasks[step].cancel()
        self._tasks[step] = self._loop.call_soon(self._guarded, self._step, step)

    def _step(self, step: Callable[[int], int]) -> None:
        if not self.on:
            return
        self._tasks.pop(step, None)
        wait_ms = min(step(self.clock.now()), 60_000)
        if step not in self._tasks:
            wait_s = wait_ms / 1000 / (1 + self.drift) + 1e-6
            self._tasks[step] = self._loop.call_later(wait_s, self._guarded, self._step, step)

    def _hear(self, data: bytes) -> None:
        if not self.on:
            return

        def take() -> None:
            port = self.link._port
            for at in range(0, len(data), 64):
                part = data[at : at + 64]
                port.buf[: len(part)] = part
                if self.link._take(len(part), self.clock.now()):
                    self._soon(self.link.sender)

        self._guarded(take)

    def pause(self) -> None:
        """Close the open batch and take no more samples, as the command does."""
        self._guarded(self.sampler.pause, lambda closed: None)
        self._soon(self.sampler.step)

    # -- the truth ---------------------------------------------------------------------------------------

    def _watch(self, journal: Any) -> None:
        """Note what goes to flash, and settle what the last cut left open."""
        scratch = bytearray(1024)
        for seq, frames in self.attempted.items():
            n = journal.read(seq, scratch) if journal.oldest <= seq <= journal.newest else 0
            if n:
                assert bytes(scratch[:n]) in frames, f"record {seq} is not what was written"
                self.journaled[seq] = bytes(scratch[:n])
        self.attempted.clear()
        append = journal.append

        def watched(frame: bytearray, n: int, priority: int) -> int:
            data, seq = bytes(frame[:n]), journal.next_seq
            assert seq not in self.journaled, f"seq {seq} is used twice"
            self.attempted.setdefault(seq, set()).add(data)
            done: int = append(frame, n, priority)
            del self.attempted[done]
            self.journaled[done] = data
            return done

        journal.append = watched

    def plaintext(self) -> dict[int, bytes]:
        """What was journaled, opened."""
        return {seq: self._opener.open(parse(frame)) for seq, frame in self.journaled.items()}
