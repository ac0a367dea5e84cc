"""Columns to readings, as `columns_format` says, and, for those who do both, `encode` of `columns_encoder`."""

from wayside_protocol.columns_encoder import encode
from wayside_protocol.columns_format import (
    CONSTANT,
    ESCAPE_BITS,
    ESCAPE_ZEROS,
    FORMS,
    MISSING,
    PARAMETER_BITS,
    PARAMETER_MAX,
    PRESENCE,
    WIDE_BITS,
    first_bits,
)
from wayside_protocol.errors import ColumnsError
from wayside_protocol.limits import CHANNELS_MAX, SAMPLES_MAX, VALUE_LIMIT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "CONSTANT", "ESCAPE_BITS", "ESCAPE_ZEROS", "MISSING", "PARAMETER_BITS", "PARAMETER_MAX", "PRESENCE", "WIDE_BITS",
    "decode", "encode", "first_bits",
]  # fmt: skip


class _BitReader:
    def __init__(self, data: "bytes") -> None:
        self.data = data
        self.pos = 0  # in bits
        self.end = len(data) * 8

    def take(self, bits: int) -> int:
        pos = self.pos
        if pos + bits > self.end:
            raise ColumnsError("columns_truncated")
        value = 0
        while bits:
            room = 8 - (pos & 7)
            step = room if room < bits else bits
            part = self.data[pos >> 3] >> (room - step) & ((1 << step) - 1)
            value = value << step | part
            pos += step
            bits -= step
        self.pos = pos
        return value

    def rice(self, k: int) -> int:
        zeros = 0
        while not self.take(1):
            zeros += 1
            if zeros == ESCAPE_ZEROS:
                return self.take(ESCAPE_BITS)
        return zeros << k | self.take(k)


def _take_first(bits: _BitReader, number: int) -> int:
    _, width, low, high = FORMS[number]
    offset = bits.take(width)
    if offset == (1 << width) - 1:
        return bits.take(WIDE_BITS) - VALUE_LIMIT
    if offset > high - low:
        raise ColumnsError("columns_first")
    return offset + low


def _take_values(bits: _BitReader, number: int, k: int, present: int) -> "list[int]":
    values = []
    if FORMS[number][0]:
        for _ in range(present):
            values.append(0 if k == CONSTANT else bits.rice(k))
    else:
        value = _take_first(bits, number)
        values.append(value)
        for _ in range(present - 1):
            if k != CONSTANT:
                code = bits.rice(k)
                value += ~(code >> 1) if code & 1 else code >> 1
            values.append(value)
    for value in values:
        if not -VALUE_LIMIT < value < VALUE_LIMIT:
            raise ColumnsError("columns_value")
    return values


def _take_column(bits: _BitReader, number: int, n: int) -> "list[int | None]":
    k = bits.take(PARAMETER_BITS)
    if k != PRESENCE:
        return list(_take_values(bits, number, k, n))
    presence = [bits.take(1) for _ in range(n)]
    present = sum(presence)
    if present == n:
        raise ColumnsError("columns_presence")  # a full bitmap is not the shortest form
    if not present:
        return [None] * n
    k = bits.take(PARAMETER_BITS)
    if k == PRESENCE:
        raise ColumnsError("columns_parameter")
    values = iter(_take_values(bits, number, k, present))
    return [next(values) if there else None for there in presence]


def decode(data: bytes, quantities: "Sequence[int]", n: int) -> "list[list[int | None]]":
    """The columns, one list of n values a channel, None where missing. Raises ColumnsError."""
    if not 0 < n <= SAMPLES_MAX or not 0 < len(quantities) <= CHANNELS_MAX:
        raise ColumnsError("columns_shape")
    bits = _BitReader(data)
    out = []
    for number in quantities:
        if number not in FORMS:
            raise ColumnsError("quantity_unknown")
        out.append(_take_column(bits, number, n))
    left = bits.end - bits.pos
    if left > 7 or bits.take(left):
        raise ColumnsError("columns_trailing")
    return out
