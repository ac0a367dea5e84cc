"""Edges from interrupt handlers to the counting core, in a ring that was made beforehand."""

import time
from array import array

SIZE = 256
"""Edges kept between two drains. A walker makes four to a dozen: forty people in a second fit."""
_MASK = SIZE - 1
TICKS_MASK = (1 << 30) - 1

if hasattr(time, "ticks_us"):
    ticks_us = time.ticks_us
else:

    def ticks_us():
        return time.monotonic_ns() // 1000 & TICKS_MASK  # pyright: ignore[reportAttributeAccessIssue]


class EdgeRing:
    """`on_a` and `on_b` are interrupt handlers: they allocate nothing, and only ever add. One reader takes.

    `dropped` counts edges that found the ring full.
    """

    def __init__(self, blocked_level):
        self._times = array("I", [0] * SIZE)
        self._marks = bytearray(SIZE)
        self._head = 0
        self._tail = 0
        self._clear_level = 1 - blocked_level
        self.dropped = 0
        self.time = 0
        self.beam = 0
        self.blocked = 0
        # Bound once: making a bound method allocates, which a hard interrupt handler must not.
        self.on_a = self._on_a
        self.on_b = self._on_b

    def _on_a(self, pin):
        head = self._head
        after = head + 1 & _MASK
        if after == self._tail:
            self.dropped += 1
            return
        self._times[head] = ticks_us()
        self._marks[head] = pin.value() ^ self._clear_level
        self._head = after

    def _on_b(self, pin):
        head = self._head
        after = head + 1 & _MASK
        if after == self._tail:
            self.dropped += 1
            return
        self._times[head] = ticks_us()
        self._marks[head] = pin.value() ^ self._clear_level | 2
        self._head = after

    def take(self):
        """The oldest edge into time, beam and blocked; False when there is none."""
        tail = self._tail
        if tail == self._head:
            return False
        self.time = self._times[tail]
        mark = self._marks[tail]
        self.beam = mark >> 1
        self.blocked = mark & 1
        self._tail = tail + 1 & _MASK
        return True
