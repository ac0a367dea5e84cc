"""The hardware watchdog, fed by progress: only while every task did what it said by when it said.

A task's `Beat` is told at each step how long it will wait; it is late LATE_MS after that, or after its own limit. Once
one is late, its name and how late it is are put on flash and the watchdog is fed no more: the chip resets, and the next
boot tells the cause in an event. A task that never gives way stops this one too: then the reset has no name with it.
"""

import struct

from wayside_node.clock import later, since
from wayside_node.slots import SlotError, Slots

LATE_MS = 15_000
"""Beyond the time a task may take: the slowest step is a journal that erases a segment, well below a second."""
FEED_PART = 4
"""The watchdog is fed four times as often as it must be, so that one long step of a task does not reset the chip."""
WATCHDOG, REBOOT = 1, 2
TASK_MAX = 16


class Beat:
    """The sign of life of one task."""

    def __init__(self, name, now):
        self.name = name
        self._due = later(now, LATE_MS)
        self._resting = False

    def waits(self, now, ms):
        """The task made progress, and does so again in ms milliseconds."""
        self._due = later(now, ms + LATE_MS)
        self._resting = False

    def rests(self):
        """The task waits for something from outside, for as long as it takes."""
        self._resting = True

    def late_ms(self, now):
        """How late it is; 0 or less if it is not."""
        return 0 if self._resting else since(now, self._due)


class ResetCause:
    """Why the next boot will be: kept in a slot from before the reset to the event that tells it.

    kind    WATCHDOG (`task`, `late_ms`) or REBOOT (`gateway`, `order`: the command), or 0
    """

    def __init__(self, root):
        self._slots = Slots(root, "reset")
        self.kind = 0
        self.task = ""
        self.late_ms = self.gateway = self.order = 0
        stored = self._slots.load()
        if stored:
            self.kind, a, b = struct.unpack_from("<BII", stored)
            if self.kind == WATCHDOG:
                self.late_ms = a
                self.task = stored[9:].decode()
            else:
                self.gateway, self.order = a, b

    def watchdog(self, task, late_ms):
        self._save(struct.pack("<BII", WATCHDOG, late_ms, 0) + task.encode()[:TASK_MAX])

    def reboot(self, gateway, order):
        self._save(struct.pack("<BII", REBOOT, gateway, order))

    def told(self):
        """The event is journaled."""
        if self.kind:
            self._save(b"")

    def _save(self, value):
        try:
            self._slots.save(value)
        except SlotError:
            pass  # the reset comes all the same, without its name


class Watchdog:
    """`feed` is the hardware's; None where there is none. `step` as a task's core."""

    def __init__(self, clock, reset_cause, feed, timeout_ms):
        self._clock = clock
        self._cause = reset_cause
        self._feed = feed
        self._every_ms = timeout_ms // FEED_PART
        self._beats = []
        self.starving = False

    def beat(self, name):
        """The sign of life of a task that begins now."""
        beat = Beat(name, self._clock.now())
        self._beats.append(beat)
        return beat

    def step(self, now):
        """Feed, if every task is on time; return milliseconds until the next time."""
        if self.starving:
            return self._every_ms
        for beat in self._beats:
            late_ms = beat.late_ms(now)
            if late_ms > 0:
                self.starving = True
                self._cause.watchdog(beat.name, late_ms)
                return self._every_ms
        if self._feed is not None:
            self._feed()
        return self._every_ms
