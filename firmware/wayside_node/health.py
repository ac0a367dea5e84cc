"""How the node is: a record each health interval, and the totals of people counted, which never fall.

Totals are kept in a slot. They are written before the record that says them, so what was reported is never taken back;
what was counted between the last record and a power cut is missing in them (its samples are not). 24 writes a day, at
the default interval, cost 1.7 erases where littlefs programs 256 bytes (RP2040), and 0.4 where it programs 32 (ESP32).
"""

import gc
import struct

from wayside_node.clock import later, since
from wayside_node.footfall.core import IN, OUT
from wayside_node.slots import SlotError, Slots
from wayside_protocol import event

FIRST_MS = 60_000
"""A node that was just mounted, or reset, says how it is soon."""
LARGEST_TRIES = 12
"""Halvings in the search for the largest free block: exact to 1/4096 of the heap."""
TOTAL_MASK = 0xFFFFFFFF


class Totals:
    """People in and out since the node was made. `beams` gives the boot's own; None where there are none."""

    def __init__(self, root, beams):
        self._slots = Slots(root, "totals")
        self._beams = beams
        stored = self._slots.load()
        self._before = struct.unpack("<II", stored) if stored is not None and len(stored) == 8 else (0, 0)
        self._saved = self._before
        self.failed = 0

    def read(self):
        """(in, out), on flash when this returns; as they were last saved if the flash refuses."""
        if self._beams is None:
            return self._saved
        now = (
            self._before[0] + self._beams.total(IN) & TOTAL_MASK,
            self._before[1] + self._beams.total(OUT) & TOTAL_MASK,
        )
        if now != self._saved:
            try:
                self._slots.save(struct.pack("<II", now[0], now[1]))
                self._saved = now
            except SlotError:
                self.failed += 1
        return self._saved


def largest_free():
    """Bytes of the largest block that can be had now; after a collection."""
    high = gc.mem_free()
    low = 0
    for _ in range(LARGEST_TRIES):
        middle = (low + high) // 2
        try:
            bytearray(middle)
            low = middle
        except MemoryError:
            high = middle
        gc.collect()
    return low


class Health:
    """`step` as a task's core. `gauges` are (key, function) pairs: what else the record says."""

    def __init__(self, clock, recorder, journal, totals, interval_s, gauges=()):
        self._clock = clock
        self._recorder = recorder
        self._journal = journal
        self._totals = totals
        self._interval_ms = 1000 * interval_s
        self._gauges = gauges
        self._at = later(clock.now(), min(FIRST_MS, self._interval_ms))

    def step(self, now):
        """Write the record when it is due; return milliseconds until the next."""
        wait = -since(now, self._at)
        if wait > 0:
            return wait
        self._at = later(now, self._interval_ms)
        self._recorder.health(self.values())
        return self._interval_ms

    def values(self):
        """What the record says now."""
        uptime = self._clock.uptime_ms()
        total_in, total_out = self._totals.read()
        values = {
            event.UPTIME_S: uptime // 1000,
            event.JOURNAL_BYTES: self._journal.used_bytes,
            event.JOURNAL_WAITING: self._journal.waiting,
            event.JOURNAL_EVICTED: self._journal.evicted,
            event.FLASH_ERASES: self._recorder.segments * self._recorder.SEGMENT_ERASES,
            event.TOTAL_IN: total_in,
            event.TOTAL_OUT: total_out,
        }
        if self._clock.is_set():
            values[event.CLOCK_BOUND_MS] = self._clock.bound_ms(uptime)
        for key, read in self._gauges:
            values[key] = read()
        if hasattr(gc, "mem_free"):
            gc.collect()
            values[event.HEAP_FREE] = gc.mem_free()
            values[event.HEAP_LARGEST] = largest_free()
        return values
