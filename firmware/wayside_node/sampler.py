"""When samples are taken. One at each slot: even steps from the first, which is on a multiple of the interval.

    state    input                     next     action
    WAITING  slot                      READING  a row in the batch; every sensor starts
    READING  all sensors done          WAITING  the row to flash; what was asked for meanwhile
    WAITING  report                    WAITING  the batch is closed
    WAITING  pause                     PAUSED   the batch is closed
    READING  report, pause             READING  after the sample
    PAUSED   resume                    WAITING  the next slot is on a multiple of the interval again

The batch says where the slots are: in uptime while the record says uptime, in Unix time while it says that, so that a
clock that runs fast or slow, or is being slewed, keeps its samples where the records say they are. A sample that is
late by more than an interval leaves its slot empty: `missed` counts those.
"""

import gc

from wayside_node.clock import later, since
from wayside_node.probe import Probe

WAITING, READING, PAUSED = 0, 1, 2
RESTING_MS = 60_000
"""How long a paused sampler, with nothing to do, waits at most."""
POLL_MIN_MS = 1


def channels_of(sensors):
    """The set: (quantity, place) of every column, in order."""
    return tuple([channel for sensor in sensors for channel in sensor.channels])


class Sampler:
    """`step` and wait as long as it says, or until `wake()` is called because something was asked for."""

    def __init__(self, clock, batch, recorder, sensors):
        self._clock = clock
        self._batch = batch
        self._recorder = recorder
        self._interval_ms = 1000 * batch.interval_s
        self._probes = []
        column = 0
        for sensor in sensors:
            self._probes.append(Probe(sensor, column, clock, recorder))
            column += len(sensor.channels)
        self.state = WAITING
        self.taken = 0
        self.missed = 0
        self._row = -1
        self._began = 0  # the sample at hand
        self._orders = []  # to be finished when the batch is closed
        self._pause = False
        self._wait_for_multiple()

    @property
    def errors(self):
        """Failed measurements since boot."""
        return sum([probe.errors for probe in self._probes])

    def report(self, finish):
        """Close the batch, after the sample at hand; then `finish(True)`, or `finish(False)` if the flash refused."""
        self._orders.append(finish)

    def pause(self, finish):
        """The same, and then stop sampling."""
        self._pause = True
        self._orders.append(finish)

    def resume(self):
        self._pause = False
        if self.state == PAUSED:
            self.state = WAITING
            self._wait_for_multiple()

    def _wait_for_multiple(self):
        uptime = self._clock.uptime_ms()
        self._slot = later(self._clock.now(), self._interval_ms - uptime % self._interval_ms)

    def step(self, now):
        """Do what is due; return milliseconds until there is more."""
        if self.state == WAITING:
            if self._pause or self._orders:
                self._settle()
            elif since(now, self._slot) >= 0:
                self._begin(now)
        elif self.state == PAUSED and self._orders:
            self._settle()
        if self.state == READING:
            return self._read(now)
        if self.state == PAUSED:
            return RESTING_MS
        return max(0, -since(now, self._slot))

    def _settle(self):
        closed = self._batch.close()
        if self._pause:
            self.state = PAUSED
        orders = self._orders
        self._orders = []
        for finish in orders:
            finish(closed)

    def _begin(self, now):
        late = since(now, self._slot)
        if late >= self._interval_ms:
            self.missed += late // self._interval_ms
        self._row = self._batch.open_row(self._clock.uptime_ms())
        self._slot = self._began = now
        if self._row < 0:
            self._slot = later(now, self._interval_ms)
            return
        for probe in self._probes:
            probe.begin(now)
        self.state = READING

    def _read(self, now):
        wait = 0
        for probe in self._probes:
            wait = max(wait, probe.step(now, self._batch.rows, self._row))
        if wait:
            return max(wait, POLL_MIN_MS)
        self.state = WAITING
        self.taken += 1
        self._slot = later(self._slot, self._interval_ms)
        self._batch.close_row()
        self._next_slot()
        if self._pause or self._orders:
            self._settle()
        gc.collect()  # here, between two samples, where it costs nobody time
        return 0

    def _next_slot(self):
        """The batch's next place; after one that was closed, an interval from the sample just taken."""
        uptime = self._clock.uptime_ms()
        if self._batch.n:
            self._slot = later(self._clock.now(), max(0, self._batch.due_ms(uptime)))
        elif self._clock.plain(uptime):
            self._slot = later(self._began, self._clock.board_ms(self._interval_ms))
