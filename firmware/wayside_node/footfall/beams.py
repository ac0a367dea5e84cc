"""Two light beams on two pins as a sensor: people in and out since the last reading."""

from wayside_node.clock import since
from wayside_node.footfall.core import IN, OUT, SATURATED_PERMILLE, UNKNOWN, TwoBeams
from wayside_node.footfall.ring import EdgeRing, ticks_us
from wayside_node.sensors.error import SensorError
from wayside_protocol.quantity import WALKERS_IN, WALKERS_OUT

SERVICE_MS = 200
"""How often `service` wants to be called: the ring lasts for some seconds of dense flow."""
STUCK_MS = 600_000
"""A beam blocked for ten minutes has no sight of its lamp: dirt, a parked bicycle, a lamp that failed."""


class Beams:
    """Pins as machine.Pin, A first in the direction that counts as in. See `sensors` for start, poll and read.

    Call `begin` once and `service` about every SERVICE_MS. After each read: `unknown`, `busy_permille` and
    `saturated` say how good the interval's counts are; `total` gives running totals since boot.
    """

    name = "beams"

    def __init__(self, pin_a, pin_b, blocked_level, spacing_mm, debounce_ms, swap=0, place=0):
        self.channels = ((WALKERS_IN, place), (WALKERS_OUT, place))
        self._pins = (pin_b, pin_a) if swap else (pin_a, pin_b)
        self._blocked_level = blocked_level
        self._ring = EdgeRing(blocked_level)
        self.core = TwoBeams(spacing_mm, debounce_ms)
        self._taken = [0, 0, 0]
        self._now_ms = 0
        self._read_ms = 0
        self._busy_ms = 0
        self._dropped = 0
        self._sighted_ms = [0, 0]  # when each beam was last seen clear
        self.unknown = 0
        self.busy_permille = 0
        self.saturated = False

    def begin(self, now_ms, trigger):
        """Attach the handlers; `trigger` is Pin.IRQ_RISING | Pin.IRQ_FALLING."""
        self._now_ms = self._read_ms = now_ms
        self.core.begin(ticks_us())
        handlers = (self._ring.on_a, self._ring.on_b)
        for beam in range(2):
            pin = self._pins[beam]
            self._sighted_ms[beam] = now_ms
            try:
                pin.irq(handler=handlers[beam], trigger=trigger, hard=True)
            except TypeError:  # the ESP32 port knows no hard handlers
                pin.irq(handler=handlers[beam], trigger=trigger)
        self._look()

    def service(self, now_ms):
        """Feed what the handlers noted to the core."""
        self._now_ms = now_ms
        ring = self._ring
        core = self.core
        now_us = ticks_us()
        while ring.take():
            core.edge(ring.time, ring.beam, ring.blocked)
        if ring.dropped != self._dropped:
            self._look()
        core.tick(now_us)
        if core.busy_us >= 1000:
            busy_us = core.take_busy()
            self._busy_ms += busy_us // 1000
            core.busy_us = busy_us % 1000
        for beam in range(2):
            if not core.blocked(beam):
                self._sighted_ms[beam] = now_ms

    def _look(self):
        """Take the beams as the pins show them: at the start, and after edges were dropped."""
        now_us = ticks_us()
        for beam in range(2):
            self.core.edge(now_us, beam, 1 if self._pins[beam].value() == self._blocked_level else 0)

    def start(self, now_ms):
        """Nothing to wait for: people were counted all along."""
        self.service(now_ms)
        return 0

    def poll(self, now_ms):
        for beam in range(2):
            if since(now_ms, self._sighted_ms[beam]) >= STUCK_MS:
                self._settle()
                raise SensorError("stuck")
        if self._ring.dropped != self._dropped:
            self._dropped = self._ring.dropped
            self._settle()
            raise SensorError("overflow")
        return 0

    def read(self, out, at):
        """People in and out since the last read."""
        taken = self._taken
        counts = self.core.counts
        out[at] = counts[IN] - taken[IN]
        out[at + 1] = counts[OUT] - taken[OUT]
        self.unknown = counts[UNKNOWN] - taken[UNKNOWN]
        self._settle()

    def total(self, direction):
        """Running total since boot of IN, OUT or UNKNOWN; it never falls."""
        return self.core.counts[direction]

    def _settle(self):
        """A new interval begins: what was counted so far belongs to the one before."""
        for i in range(3):
            self._taken[i] = self.core.counts[i]
        interval_ms = since(self._now_ms, self._read_ms)
        self._read_ms = self._now_ms
        self.busy_permille = min(1000, self._busy_ms * 1000 // interval_ms) if interval_ms > 0 else 0
        self.saturated = self.busy_permille > SATURATED_PERMILLE
        self._busy_ms = 0
