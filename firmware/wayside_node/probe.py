"""One sensor in a sample: measured within a time limit, and left alone for a while when it fails.

    state      input                            next      action
    RESTING    sample begins, not in back-off   MEASURING start
    MEASURING  the sensor says ready            RESTING   its values go into the row; a fault is over
    MEASURING  error, or MEASURE_MAX_MS passed  RESTING   its values are missing; back-off doubled
    any        sample begins, in back-off       RESTING   its values are missing

A fault is told by one event when it begins and one when it is over, and not more often than each FAULT_EVERY_MS:
events outlive all else in the journal, and a loose wire must not fill it.
"""

from wayside_node.clock import later, since
from wayside_node.sensors.error import SensorError
from wayside_protocol.columns_format import MISSING
from wayside_protocol.event import SENSOR_FAULT, SENSOR_RECOVERED
from wayside_protocol.limits import VALUE_LIMIT
from wayside_protocol.quantity import BY_NUMBER, COUNT

MEASURE_MAX_MS = 1_000
"""A sensor that needs longer is taken as hanging. A BME280 needs 10 ms, and 110 ms to say that it hangs."""
RETRY_FIRST_MS = 10_000
"""No second try of a failed sensor before that; doubled each time."""
RETRY_MAX_MS = 300_000
"""A sensor that was plugged in again is back within five minutes."""
FAULT_EVERY_MS = 600_000

RESTING, MEASURING = 0, 1


class Probe:
    """A sensor and its columns, the first of which is `column`. `errors` counts failed measurements since boot."""

    def __init__(self, sensor, column, clock, recorder):
        self.name = sensor.name
        self.errors = 0
        self._sensor = sensor
        self._column = column
        self._clock = clock
        self._recorder = recorder
        self._state = RESTING
        self._began = 0
        self._next = 0  # when to ask again
        self._retry_ms = 0  # back-off in force; 0: none
        self._failed_at = 0  # when it failed last
        self._away_s = 0  # uptime when the fault began
        self._reason = ""  # of the fault at hand; "" if there is none
        self._told = False
        self._told_at = -1  # -1: so long ago that it does not matter

    def begin(self, now):
        """A sample begins: start a measurement unless the sensor is in back-off."""
        self._state = RESTING
        if self._told_at >= 0 and since(now, self._told_at) >= FAULT_EVERY_MS:
            self._told_at = -1
        if self._retry_ms and since(now, self._failed_at) < self._retry_ms:
            self._tell(now)
            return
        self._began = now
        try:
            self._next = later(now, min(max(0, self._sensor.start(now)), MEASURE_MAX_MS))
            self._state = MEASURING
        except Exception as error:  # noqa: BLE001 -- a driver's fault must cost its own channels only
            self._fail(error, now)

    def step(self, now, rows, at):
        """Go on; return milliseconds until it makes sense again, 0 when this sensor's part of the sample is done."""
        if self._state == RESTING:
            return 0
        wait = -since(now, self._next)
        if wait > 0:
            return wait
        try:
            wait = self._sensor.poll(now)
            if not wait:
                self._read(rows, at + self._column)
                self._state = RESTING
                self._recover(now)
                return 0
            if since(now, self._began) >= MEASURE_MAX_MS:
                raise SensorError("timeout")
        except Exception as error:  # noqa: BLE001 -- as above
            self._state = RESTING
            self._blank(rows, at + self._column)
            self._fail(error, now)
            return 0
        wait = min(wait, MEASURE_MAX_MS)
        self._next = later(now, wait)
        return wait

    def _read(self, rows, at):
        channels = self._sensor.channels
        self._sensor.read(rows, at)
        for c in range(len(channels)):
            value = rows[at + c]
            low = 0 if BY_NUMBER[channels[c][0]].kind == COUNT else -VALUE_LIMIT
            if value != MISSING and not low <= value < VALUE_LIMIT:
                raise SensorError("implausible")

    def _blank(self, rows, at):
        for c in range(len(self._sensor.channels)):
            rows[at + c] = MISSING

    def _fail(self, error, now):
        self.errors += 1
        if not self._reason:
            self._away_s = self._clock.uptime_ms() // 1000
        self._reason = error.reason if isinstance(error, SensorError) else type(error).__name__
        self._retry_ms = min(2 * self._retry_ms, RETRY_MAX_MS) or RETRY_FIRST_MS
        self._failed_at = now
        self._tell(now)

    def _tell(self, now):
        if self._told or self._told_at >= 0:
            return
        quantity, place = self._sensor.channels[0]
        if self._recorder.event(SENSOR_FAULT, (self.name, self._reason, quantity, place)):
            self._told = True
            self._told_at = now

    def _recover(self, now):
        self._retry_ms = 0
        if not self._reason:
            return
        self._reason = ""
        if self._told:
            self._told = False
            quantity, place = self._sensor.channels[0]
            away_s = self._clock.uptime_ms() // 1000 - self._away_s
            self._recorder.event(SENSOR_RECOVERED, (self.name, away_s, quantity, place))
