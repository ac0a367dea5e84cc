"""A node, a line, a gateway and its uplink: each reading that came downstream is compared with its true moment."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from fakes.board import Build
from fakes.downstream import Downstream
from fakes.joined import Run, make

SYNCED_S = 2.0
"""What `synced` promises (SPEC §2.3)."""
UPTIME_S = 1.5
"""Of an unknown time's uptime: whole seconds, and a second off its place in the batch."""
SETTLE_S = 400.0
"""A time that may still be known better is waited for, at most 90 s; then what is parked is looked at again."""
Case = Callable[["Town"], Awaitable[None]]


class Town:
    """A run with its uplink. `play` it through a case, then ask for `quality`."""

    def __init__(self, folder: Path, seed: int, monkeypatch: pytest.MonkeyPatch, build: Build | None = None) -> None:
        self.run: Run = make(folder, seed, build=build or Build(interval_s=10, report_s=60, batch=6))
        self.downstream = Downstream(self.run.loop, monkeypatch)
        self.worst: dict[str, float] = {}
        self.bounds: dict[str, float] = {}
        self.quality: Counter[str] = Counter()
        self.qualities: dict[int, str] = {}

    def begin(self, believed: bool = True) -> None:
        """The gateway runs."""
        self.run.station.believed = believed
        self.run.station.start()
        self.downstream.start(self.run.station)

    async def end(self) -> None:
        await self.downstream.stop()
        self.run.station.kill()

    async def reboot(self, off_s: float = 5.0) -> None:
        self.run.board.cut()
        await asyncio.sleep(off_s)
        self.run.board.power_on()

    def play(self, case: Case) -> None:
        async def whole() -> None:
            await case(self)
            await self.run.drain()
            await asyncio.sleep(SETTLE_S)
            self.check()
            await self.end()

        try:
            self.run.loop.play(whole())
        finally:
            self.run.board.cut()
        print(f"{dict(self.quality)}, worst error in s {self.worst}, worst bound in s {self.bounds}")

    def check(self) -> None:
        """Each reading came once, and right within what it says."""
        readings = self.run.board.readings
        came = self.downstream.came()
        counts = Counter(one.number for one in came)
        lost = len(readings) - len(counts)
        assert 0 <= lost <= self.run.board.boots - 1, f"{lost} of {len(readings)} did not come"
        assert set(counts.values()) == {1}, [number for number, times in counts.items() if times != 1][:5]
        for one in came:
            truth = readings[one.number]
            self.quality[one.quality] += 1
            self.qualities[one.number] = one.quality
            if one.quality == "unknown":
                assert one.unix_s is None
                if one.at is not None:
                    assert one.at[0] == truth.boot
                    assert abs(one.at[1] - truth.uptime_ms / 1000) <= UPTIME_S
                continue
            assert one.unix_s is not None
            error = abs(one.unix_s - truth.unix_s)
            self.worst[one.quality] = max(self.worst.get(one.quality, 0), round(error, 3))
            self.bounds[one.quality] = max(self.bounds.get(one.quality, 0), one.bound_s)
            allowed = SYNCED_S if one.quality == "synced" else one.bound_s
            assert error <= allowed, f"{one} was {error:.3f} s off, {truth}"
