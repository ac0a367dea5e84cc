"""Bosch BME280, at its registers, after the data sheet BST-BME280-DS002.

Modes and their timing (§3.3, §9.1), the oversampling and its resolution (§3.4), the IIR filter of temperature and
pressure (§3.4.4), the trimming values in their places (§4.2.2), `ctrl_hum` that counts from the next write of
`ctrl_meas` (§5.4.3), data registers that change all at once (§4.1), what skipped measurements read (§5.4), soft reset
(§5.4.2). Not modelled: SPI.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

from wayside_sim.chips import bme280_math as math
from wayside_sim.truth import Conversion, Truth

CHIP_ID = 0x60
SOFT_RESET = 0xB6
STARTUP_US = 2_000
"""§1.1: from power or reset until the chip answers with its trimming values in place."""
ID, RESET, CTRL_HUM, STATUS, CTRL_MEAS, CONFIG, DATA = 0xD0, 0xE0, 0xF2, 0xF3, 0xF4, 0xF5, 0xF7
LOW_TRIMMING, HIGH_TRIMMING = 0x88, 0xE1
MEASURING, UPDATING = 0x08, 0x01
SLEEP, NORMAL = 0, 3
OVERSAMPLING = (0, 1, 2, 4, 8, 16, 16, 16)
FILTER = (0, 2, 4, 8, 16, 16, 16, 16)
STANDBY_US = (500, 62_500, 125_000, 250_000, 500_000, 1_000_000, 10_000, 20_000)

Environment = Callable[[int], tuple[float, float, float]]
"""World µs to °C, %RH, hPa at the sensor."""


@dataclass(frozen=True)
class Noise:
    """Standard deviations of one conversion at oversampling 1; it falls with the root of the oversampling (§1.2 to
    1.4)."""

    temperature: float = 0.005
    humidity: float = 0.02
    pressure: float = 0.033
    seed: int = 1


class BME280:
    """One chip. `now` is the world's clock; `board_us` gives the board's own, and its boot, for the record."""

    def __init__(
        self,
        now: Callable[[], int],
        environment: Environment,
        *,
        truth: Truth | None = None,
        board_us: Callable[[int], tuple[int, int]] = lambda world_us: (world_us, 0),
        trimming: math.Trimming = math.REAL,
        noise: Noise | None = None,
        slowest: bool = True,
    ) -> None:
        self.environment = environment
        self.truth = truth if truth is not None else Truth()
        self._now = now
        self._board_us = board_us
        self._trim = trimming
        self._noise = noise
        self._random = random.Random(noise.seed if noise else 0)
        self._slowest = slowest
        self.power_on()

    def power_on(self) -> None:
        """All registers as after power on or a soft reset."""
        self._pointer = 0
        self._ready_us = self._now() + STARTUP_US
        self._ctrl_hum = self._hum_in_force = self._ctrl_meas = self._config = 0
        self._data = _data(math.P_SKIPPED, math.T_SKIPPED, math.H_SKIPPED)
        self._filtered: list[float] | None = None
        self._end_us: int | None = None

    def duration_us(self) -> int:
        """How long a measurement takes with the oversampling in force (§9.1: the maximum, or the typical time)."""
        first, each, extra = (1250, 2300, 575) if self._slowest else (1000, 2000, 500)
        t, p, h = self._oversampling()
        return first + each * (t + p + h) + extra * ((p > 0) + (h > 0))

    # The bus

    def write(self, data: bytes) -> None:
        """A register address; after it values, each further one with its own address (§6.2.1)."""
        self._catch_up()
        if not data:
            return
        self._pointer = data[0]
        for at in range(0, len(data) - 1, 2):
            self._set(data[at], data[at + 1])

    def read(self, size: int) -> bytes:
        """From the register address on; the data registers of one burst are of one measurement."""
        self._catch_up()
        data = bytes(self._get(self._pointer + i & 0xFF) for i in range(size))
        self._pointer = self._pointer + size & 0xFF
        return data

    def _set(self, register: int, value: int) -> None:
        if register == RESET and value == SOFT_RESET:
            self.power_on()
        elif register == CTRL_HUM:
            self._ctrl_hum = value & 7
        elif register == CONFIG:
            self._config = value & 0xFD
        elif register == CTRL_MEAS:
            self._hum_in_force = self._ctrl_hum
            self._ctrl_meas = value
            if value & 3 == SLEEP:
                self._end_us = None
            elif self._end_us is None:
                self._end_us = max(self._now(), self._ready_us) + self.duration_us()

    def _get(self, register: int) -> int:
        if LOW_TRIMMING <= register <= 0xA1:
            return self._trim.low()[register - LOW_TRIMMING]
        if HIGH_TRIMMING <= register <= 0xE7:
            return self._trim.high()[register - HIGH_TRIMMING]
        if DATA <= register <= 0xFE:
            return self._data[register - DATA]
        if register == STATUS:
            return self._status()
        fixed = {ID: CHIP_ID, CTRL_HUM: self._ctrl_hum, CTRL_MEAS: self._ctrl_meas, CONFIG: self._config}
        return fixed.get(register, 0)

    def _status(self) -> int:
        now = self._now()
        measuring = self._end_us is not None and now >= self._end_us - self.duration_us()
        return (MEASURING if measuring else 0) | (UPDATING if now < self._ready_us else 0)

    # Measuring

    def _oversampling(self) -> tuple[int, int, int]:
        return (
            OVERSAMPLING[self._ctrl_meas >> 5],
            OVERSAMPLING[self._ctrl_meas >> 2 & 7],
            OVERSAMPLING[self._hum_in_force],
        )

    def _catch_up(self) -> None:
        now = self._now()
        while self._end_us is not None and self._end_us <= now:
            end = self._end_us
            self._measure(end)
            if self._ctrl_meas & 3 == NORMAL:
                cycle = self.duration_us() + STANDBY_US[self._config >> 5]
                behind = 0 if FILTER[self._config >> 2 & 7] else (now - end) // cycle - 1
                self._end_us = end + cycle * (1 + max(0, behind))
            else:
                self._ctrl_meas &= 0xFC
                self._end_us = None

    def _measure(self, at_us: int) -> None:
        wished = self.environment(at_us)
        felt = self._noisy(wished)
        over_t, over_p, over_h = self._oversampling()
        coefficient = FILTER[self._config >> 2 & 7]
        trim = self._trim
        adc_t = self._code(lambda code: math.temperature(trim, code), felt[0], over_t, coefficient)
        fine = math.t_fine(trim, adc_t)
        adc_p = self._code(lambda code: math.pressure(trim, fine, code), felt[2], over_p, coefficient)
        adc_t, adc_p = self._filter(coefficient, adc_t, adc_p, over_p)
        fine = math.t_fine(trim, adc_t)
        adc_h = math.H_SKIPPED
        if over_h:
            adc_h = math.nearest(lambda code: math.humidity(trim, fine, code, clamp=False), felt[1], math.HUMIDITY_BITS)
        self._data = _data(adc_p, adc_t, adc_h)
        board_us, boot = self._board_us(at_us)
        self.truth.conversions.append(
            Conversion(
                at_us,
                board_us,
                boot,
                *wished,
                math.temperature(trim, adc_t) if over_t else None,
                math.humidity(trim, fine, adc_h) if over_h else None,
                math.pressure(trim, fine, adc_p) if over_p else None,
            )
        )

    def _code(self, value: Callable[[int], float], wished: float, over: int, coefficient: int) -> int:
        if not over:
            return math.T_SKIPPED
        # Without the filter the resolution is 16 bits and one more for each doubling of the oversampling.
        step = 1 if coefficient else 1 << max(0, 5 - over.bit_length())
        return math.nearest(value, wished, math.ADC_BITS, step)

    def _filter(self, coefficient: int, adc_t: int, adc_p: int, over_p: int) -> tuple[int, int]:
        if not coefficient:
            self._filtered = None
            return adc_t, adc_p
        old = self._filtered or [float(adc_t), float(adc_p)]
        self._filtered = [(o * (coefficient - 1) + n) / coefficient for o, n in zip(old, (adc_t, adc_p), strict=True)]
        return round(self._filtered[0]), round(self._filtered[1]) if over_p else adc_p

    def _noisy(self, values: tuple[float, float, float]) -> tuple[float, float, float]:
        if self._noise is None:
            return values
        over = [max(1, o) ** 0.5 for o in self._oversampling()]
        gauss = self._random.gauss
        return (
            values[0] + gauss(0, self._noise.temperature / over[0]),
            values[1] + gauss(0, self._noise.humidity / over[2]),
            values[2] + gauss(0, self._noise.pressure / over[1]),
        )


def _data(adc_p: int, adc_t: int, adc_h: int) -> bytes:
    """Registers 0xF7 to 0xFE."""
    return (adc_p << 4).to_bytes(3, "big") + (adc_t << 4).to_bytes(3, "big") + adc_h.to_bytes(2, "big")
