"""Bosch BME280: temperature, humidity and pressure over I2C, one forced measurement at a time.

Registers, times and their sources: data sheet BST-BME280-DS001, revision 1.23. §5.4: ctrl_hum counts only once
ctrl_meas is written after it. §9.1: the longest measurement time. §5.4.4: `im_update` while trimming values load.
"""

from wayside_node.clock import since
from wayside_node.sensors.bme280_math import TRIM_LEN_1, TRIM_LEN_2, Trim
from wayside_node.sensors.error import SensorError
from wayside_protocol.quantity import BY_NUMBER, HUMIDITY, PRESSURE, TEMPERATURE

TRIM_1, TRIM_2 = 0x88, 0xE1
ID, RESET, CTRL_HUM, STATUS, CTRL_MEAS, CONFIG, DATA = 0xD0, 0xE0, 0xF2, 0xF3, 0xF4, 0xF5, 0xF7
CHIP = 0x60
RESET_WORD = 0xB6
MEASURING, UPDATING = 0x08, 0x01
FORCED = 1
SKIPPED_20, SKIPPED_16 = 0x80000, 0x8000
DATA_LEN = 8
RESET_MS = 3
"""Start-up time is 2 ms (table 1); one more, since a millisecond counter may be about to tick."""
POLL_MS = 2
TIMEOUT_MS = 100
"""Beyond the longest measurement time: the chip's oscillator is not that slow, so it hangs."""
ETIMEDOUT = (110, 116)  # as Linux and as newlib number it: a slave that holds the clock or data line

_IDLE, _RESETTING, _CONVERTING, _READY = 0, 1, 2, 3


def conversion_ms(temperature, pressure, humidity):
    """The longest time of a measurement with these oversamplings (1 to 16), §9.1, rounded up."""
    us = 1250 + 2300 * temperature + 2300 * pressure + 575 + 2300 * humidity + 575
    return (us + 999) // 1000


def _code(oversampling):
    """Register code of an oversampling: 1, 2, 4, 8, 16 are 1 to 5."""
    code = 1
    while 1 << (code - 1) < oversampling:
        code += 1
    return code


class Bme280:
    """`i2c` has readfrom_mem_into and writeto_mem as machine.I2C has. See `sensors` for start, poll and read."""

    name = "bme280"

    def __init__(self, i2c, address=0x76, place=0, oversampling=1):
        self.channels = ((TEMPERATURE, place), (HUMIDITY, place), (PRESSURE, place))
        self._i2c = i2c
        self._address = address
        self._conversion_ms = conversion_ms(oversampling, oversampling, oversampling)
        code = _code(oversampling)
        self._ctrl_hum = bytes((code,))
        self._ctrl_meas = bytes((code << 5 | code << 2 | FORCED,))
        self._one = bytearray(1)
        self._data = bytearray(DATA_LEN)
        self._trim = None  # read once: it is in the chip's one-time memory
        self._state = _IDLE
        self._began = 0
        self._values = [0, 0, 0]

    def start(self, now_ms):
        """Begin a measurement, or a reset first where the chip is not known to be as it was left."""
        self._began = now_ms
        if self._trim is None:
            self._state = _IDLE
            self._get(ID, self._one)
            if self._one[0] != CHIP:
                raise SensorError("wrong_chip")
            self._put(RESET, bytes((RESET_WORD,)))
            self._state = _RESETTING
            return RESET_MS
        self._convert(now_ms)
        return self._conversion_ms

    def poll(self, now_ms):
        """See `sensors`."""
        waited = since(now_ms, self._began)
        if self._state == _RESETTING:
            return self._poll_reset(now_ms, waited)
        if self._state == _READY:
            return 0
        if self._state != _CONVERTING:
            raise SensorError("timeout")
        if waited < self._conversion_ms:
            return self._conversion_ms - waited
        self._get(STATUS, self._one)
        if self._one[0] & MEASURING:
            return self._again(waited - self._conversion_ms)
        self._take()
        return 0

    def read(self, out, at):
        """See `sensors`. Raises SensorError timeout unless poll said 0."""
        if self._state != _READY:
            self._fail("timeout")
        for i in range(3):
            out[at + i] = self._values[i]

    def _poll_reset(self, now_ms, waited):
        if waited < RESET_MS:
            return RESET_MS - waited
        self._get(STATUS, self._one)
        if self._one[0] & UPDATING:
            return self._again(waited)
        part_1, part_2 = bytearray(TRIM_LEN_1), bytearray(TRIM_LEN_2)
        self._get(TRIM_1, part_1)
        self._get(TRIM_2, part_2)
        trim = Trim(part_1, part_2)
        if not trim.plausible():
            self._fail("trimming")
        self._trim = trim
        self._convert(now_ms)
        return self._conversion_ms

    def _again(self, over_ms):
        if over_ms > TIMEOUT_MS:
            self._fail("timeout")
        return POLL_MS

    def _convert(self, now_ms):
        self._put(CTRL_HUM, self._ctrl_hum)
        self._put(CTRL_MEAS, self._ctrl_meas)
        self._began = now_ms
        self._state = _CONVERTING

    def _take(self):
        d = self._data
        self._get(DATA, d)
        pressure = d[0] << 12 | d[1] << 4 | d[2] >> 4
        temperature = d[3] << 12 | d[4] << 4 | d[5] >> 4
        humidity = d[6] << 8 | d[7]
        if temperature == SKIPPED_20 or pressure == SKIPPED_20 or humidity == SKIPPED_16:
            self._fail("skipped")
        values = self._values
        trim = self._trim
        if trim is not None:
            values[0] = trim.temperature(temperature)
            values[1] = trim.humidity_q10(humidity) * 10 + 512 >> 10
            values[2] = (trim.pressure_q8(pressure) + 1280) // 2560
        for i in range(3):
            quantity = BY_NUMBER[self.channels[i][0]]
            if not quantity.low <= values[i] <= quantity.high:
                self._fail("implausible")
        self._state = _READY

    def _fail(self, reason):
        """The chip is in doubt: the next start resets it and reads its trimming anew."""
        self._trim = None
        self._state = _IDLE
        raise SensorError(reason)

    def _get(self, register, buf):
        try:
            self._i2c.readfrom_mem_into(self._address, register, buf)
        except OSError as error:
            self._fail("bus" if error.args and error.args[0] in ETIMEDOUT else "no_ack")

    def _put(self, register, data):
        try:
            self._i2c.writeto_mem(self._address, register, data)
        except OSError as error:
            self._fail("bus" if error.args and error.args[0] in ETIMEDOUT else "no_ack")
