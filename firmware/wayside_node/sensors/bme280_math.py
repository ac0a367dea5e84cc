"""BME280 compensation in integers, as Bosch's data sheet BST-BME280-DS001 §4.2.3 gives it, and the trimming values.

Temperature and humidity are its 32-bit formulas, pressure its 64-bit one. On a 32-bit board what exceeds 30 bits is
an object on the heap: one reading makes 20 of them, 640 bytes that the next collection takes back (counted).
"""

import struct

TRIM_LEN_1 = 26  # registers 0x88 to 0xA1
TRIM_LEN_2 = 7  # registers 0xE1 to 0xE7
HUMIDITY_MAX = 419430400  # 100 % in the formula's Q22.10 << 12


class Trim:
    """A chip's own trimming values, named as in the data sheet. `t_fine` is what pressure and humidity take over."""

    def __init__(self, part_1, part_2):
        """From the two blocks of trimming registers."""
        (
            self.t1,
            self.t2,
            self.t3,
            self.p1,
            self.p2,
            self.p3,
            self.p4,
            self.p5,
            self.p6,
            self.p7,
            self.p8,
            self.p9,
            _,
            self.h1,
        ) = struct.unpack("<HhhHhhhhhhhhBB", part_1)
        self.h2, self.h3 = struct.unpack_from("<hB", part_2)
        # Two signed 12-bit numbers share register 0xE5.
        self.h4 = _signed(part_2[3] << 4 | part_2[4] & 0x0F, 12)
        self.h5 = _signed(part_2[5] << 4 | part_2[4] >> 4, 12)
        self.h6 = _signed(part_2[6], 8)
        self.t_fine = 0

    def plausible(self):
        """False for what a bus without a chip, or a chip without its memory, gives: all zeros or all ones."""
        return self.t1 not in (0, 0xFFFF) and self.p1 not in (0, 0xFFFF) and self.t2 not in (0, -1)

    def temperature(self, adc):
        """In 0.01 °C; sets t_fine, so it comes first."""
        part = (adc >> 4) - self.t1
        self.t_fine = (((adc >> 3) - (self.t1 << 1)) * self.t2 >> 11) + ((part * part >> 12) * self.t3 >> 14)
        return self.t_fine * 5 + 128 >> 8

    def pressure_q8(self, adc):
        """In Pa / 256; 0 where the formula would divide by zero."""
        x = self.t_fine - 128000
        y = x * x * self.p6 + (x * self.p5 << 17) + (self.p4 << 35)
        x = (x * x * self.p3 >> 8) + (x * self.p2 << 12)
        x = ((1 << 47) + x) * self.p1 >> 33
        if x <= 0:
            return 0
        p = ((1048576 - adc << 31) - y) * 3125 // x
        x = self.p9 * (p >> 13) * (p >> 13) >> 25
        y = self.p8 * p >> 19
        return (p + x + y >> 8) + (self.p7 << 4)

    def humidity_q10(self, adc):
        """In % / 1024."""
        x = self.t_fine - 76800
        gain = ((x * self.h6 >> 10) * ((x * self.h3 >> 11) + 32768) >> 10) + 2097152
        x = ((adc << 14) - (self.h4 << 20) - self.h5 * x + 16384 >> 15) * (gain * self.h2 + 8192 >> 14)
        x -= ((x >> 15) * (x >> 15) >> 7) * self.h1 >> 4
        return min(max(x, 0), HUMIDITY_MAX) >> 12


def _signed(value, bits):
    return value - (1 << bits) if value >> (bits - 1) else value
