"""The shell around every station: step, say when it will be back, wait. A fault of one is told, and it goes on."""

import gc
import io
import sys

from wayside_node.clock import later, since
from wayside_node.wake import Wake
from wayside_protocol.event import CRASH
from wayside_protocol.limits import TEXT_MAX

RESTART_FIRST_MS = 1_000
RESTART_MAX_MS = 600_000
"""Cap of the doubling wait after a fault: at most 150 events of it a day."""
SOUND_MS = 600_000
"""A task that ran for so long without a fault begins again with the shortest wait."""
WAIT_MAX_MS = 60_000
"""No task is without a step for longer, so that the watchdog hears from each."""


def place_of(error):
    """`file:line` where it was raised, from the last line of its traceback; empty where that is not known."""
    if not hasattr(sys, "print_exception"):
        return ""
    text = io.StringIO()
    sys.print_exception(error, text)  # pyright: ignore[reportArgumentType]
    place = ""
    for line in text.getvalue().split("\n"):  # pyright: ignore[reportAttributeAccessIssue] -- missing in the stubs
        parts = line.split('"')
        if len(parts) == 3 and ", line " in parts[2]:
            place = parts[1] + ":" + parts[2][7:].split(",")[0]
    return place


def describe(error):
    """The error for people, in at most TEXT_MAX bytes."""
    text = type(error).__name__ + ": " + str(error)
    return text[: TEXT_MAX // 4]


class Task:
    """One station. `step(now)` does what is due and returns the milliseconds to wait; `wake` cuts the wait short."""

    def __init__(self, name, step, clock, watchdog, recorder):
        self.name = name
        self.wake = Wake()
        self.faults = 0
        self._step = step
        self.clock = clock
        self._recorder = recorder
        self._restart_ms = 0
        self._held = False
        self._not_before = 0
        self._sound_s = 0
        self.beat = watchdog.beat(name)

    async def run(self):
        clock = self.clock
        while True:
            now = clock.now()
            wait = -since(now, self._not_before) if self._held else 0
            if wait <= 0:
                wait = self._try(now)
            wait = min(wait, WAIT_MAX_MS)
            self.beat.waits(clock.now(), wait)
            await self.wake.wait(wait)  # pyright: ignore[reportGeneralTypeIssues] -- MicroPython awaits iterators

    def _try(self, now):
        """A step; after a fault, none before its time is over, whoever asks."""
        self._held = False
        try:
            wait = self._step(now)
        except Exception as error:  # noqa: BLE001 -- whatever it is, the other stations go on
            wait = self.fault(error)
            self._held = True
            self._not_before = later(now, wait)
            self._sound_s = self.clock.uptime_ms() // 1000 + (wait + SOUND_MS) // 1000
            return wait
        if self._restart_ms and self.clock.uptime_ms() // 1000 >= self._sound_s:
            self._restart_ms = 0
        return wait

    def fault(self, error):
        """Tell of the fault; return how long to wait before going on."""
        self.faults += 1
        gc.collect()
        self._restart_ms = min(2 * self._restart_ms, RESTART_MAX_MS) or RESTART_FIRST_MS
        try:
            self._recorder.event(CRASH, (self.name, describe(error), place_of(error)))
        except Exception:  # noqa: BLE001 -- no memory for the event: the count remains
            pass
        return self._restart_ms


async def keep(task, work):
    """`work(beat)`, a coroutine that never ends, as a station: begun again after a fault."""
    while True:
        try:
            await work(task.beat)
        except Exception as error:  # noqa: BLE001 -- as in Task.run
            wait = task.fault(error)
            task.beat.waits(task.clock.now(), wait)
            await task.wake.wait(wait)  # pyright: ignore[reportGeneralTypeIssues] -- as there
