"""The BME280's compensation (Bosch BST-BME280-DS002 §4.2.3 and §8.1, in double precision), and its inverse.

The inverse finds the ADC code whose compensated value comes nearest to a wished one, among the codes that the chip's
resolution allows.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass

ADC_BITS = 20
HUMIDITY_BITS = 16
T_SKIPPED = P_SKIPPED = 0x80000
H_SKIPPED = 0x8000


@dataclass(frozen=True)
class Trimming:
    """The trimming values of one chip: digs T1..T3, P1..P9, H1..H6."""

    t: tuple[int, int, int]
    p: tuple[int, int, int, int, int, int, int, int, int]
    h: tuple[int, int, int, int, int, int]

    def low(self) -> bytes:
        """Registers 0x88 to 0xA1."""
        return struct.pack("<HhhHhhhhhhhhBB", *self.t, *self.p, 0, self.h[0])

    def high(self) -> bytes:
        """Registers 0xE1 to 0xE7; H4 and H5 share 0xE5."""
        _, h2, h3, h4, h5, h6 = self.h
        return struct.pack("<hB", h2, h3) + bytes(
            [h4 >> 4 & 0xFF, (h4 & 0xF) | (h5 & 0xF) << 4, h5 >> 4 & 0xFF, h6 & 0xFF]
        )


REAL = Trimming(
    (28417, 26721, 50),
    (38042, -10559, 3024, 8726, -185, -7, 9900, -10230, 4285),
    (75, 360, 0, 325, 50, 30),
)
"""A real chip's, from a public unit test (tests/data/bme280_vectors.json, first entry; H6 there is assumed)."""


def t_fine(trim: Trimming, adc: int) -> float:
    """The fine temperature that the other two compensations use: °C times 5120."""
    t1, t2, t3 = trim.t
    var1 = (adc / 16384 - t1 / 1024) * t2
    var2 = (adc / 131072 - t1 / 8192) ** 2 * t3
    return var1 + var2


def temperature(trim: Trimming, adc: int) -> float:
    """°C."""
    return t_fine(trim, adc) / 5120


def pressure(trim: Trimming, fine: float, adc: int) -> float:
    """hPa; 0 where the data sheet says to avoid a division by zero."""
    p1, p2, p3, p4, p5, p6, p7, p8, p9 = trim.p
    var1 = fine / 2 - 64000
    var2 = var1 * var1 * p6 / 32768
    var2 = var2 + var1 * p5 * 2
    var2 = var2 / 4 + p4 * 65536
    var1 = (p3 * var1 * var1 / 524288 + p2 * var1) / 524288
    var1 = (1 + var1 / 32768) * p1
    if var1 == 0:
        return 0.0
    p = (1048576 - adc - var2 / 4096) * 6250 / var1
    var1 = p9 * p * p / 2147483648
    var2 = p * p8 / 32768
    return (p + (var1 + var2 + p7) / 16) / 100


def humidity(trim: Trimming, fine: float, adc: int, *, clamp: bool = True) -> float:
    """%RH, 0 to 100 as the data sheet clamps it."""
    h1, h2, h3, h4, h5, h6 = trim.h
    h = fine - 76800
    h = (adc - (h4 * 64 + h5 / 16384 * h)) * (h2 / 65536 * (1 + h6 / 67108864 * h * (1 + h3 / 67108864 * h)))
    h = h * (1 - h1 * h / 524288)
    return max(0.0, min(100.0, h)) if clamp else h


def nearest(value: Callable[[int], float], wished: float, bits: int, step: int = 1) -> int:
    """The multiple of `step` below 2**bits whose value comes nearest. `value` must rise or fall throughout."""
    low, high = 0, ((1 << bits) - 1) // step
    rising = value(high * step) > value(0)
    while high - low > 1:
        middle = (low + high) // 2
        if (value(middle * step) < wished) == rising:
            low = middle
        else:
            high = middle
    return min(low * step, high * step, key=lambda code: abs(value(code) - wished))
