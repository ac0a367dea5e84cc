"""The watchdog: fed by the progress of every task, and what it leaves for the next boot to tell."""

from pathlib import Path
from typing import Any

from wayside_node.clock import later
from wayside_node.watchdog import LATE_MS, ResetCause, Watchdog


class TestWatchdog:
    class Clock:
        def __init__(self) -> None:
            self.at = 0

        def now(self) -> int:
            return self.at

    def make(self, root: Path) -> tuple[Any, Any, list[int]]:
        fed: list[int] = []
        clock = self.Clock()
        return clock, Watchdog(clock, ResetCause(str(root)), lambda: fed.append(clock.at), 8_000), fed

    def test_feeds_while_all_are_on_time(self, tmp_path: Path) -> None:
        clock, watchdog, fed = self.make(tmp_path)
        beat = watchdog.beat("sampler")
        for _ in range(100):
            beat.waits(clock.at, 60_000)
            clock.at = later(clock.at, watchdog.step(clock.at))
        assert fed == [2_000 * i for i in range(100)]

    def test_starves_and_names_the_one_that_is_late(self, tmp_path: Path) -> None:
        clock, watchdog, fed = self.make(tmp_path)
        other, late = watchdog.beat("link"), watchdog.beat("sampler")
        late.waits(0, 10_000)
        while clock.at < 60_000:
            other.waits(clock.at, 100)
            clock.at += watchdog.step(clock.at)
        assert max(fed) <= 10_000 + LATE_MS < max(fed) + 2_001
        cause = ResetCause(str(tmp_path))
        assert (cause.kind, cause.task) == (1, "sampler")
        assert 0 < cause.late_ms <= 2_000

    def test_waits_for_one_that_rests(self, tmp_path: Path) -> None:
        clock, watchdog, fed = self.make(tmp_path)
        watchdog.beat("receiver").rests()
        clock.at = 10 * LATE_MS
        watchdog.step(clock.at)
        assert fed == [clock.at]
