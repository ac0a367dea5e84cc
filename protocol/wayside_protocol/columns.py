"""The readings of a samples record as one bit string: each channel's column in turn.

Bits go most significant first. A column is

    parameter  4 bits: 0..13 the Rice parameter, 14 constant, 15 presence bitmap follows
    presence   only after 15: n bits, 1 = present, then the parameter again (0..14) if any is present
    first      only for a gauge: value - low in the quantity's width; all ones: 28 bits, value + 2**27
    rest       absent when constant (a gauge: every delta 0; a count: every value 0); else Rice codes of
               a gauge's zigzag deltas or of a count's values: q zeros, a one, `parameter` bits;
               16 zeros are an escape, and 30 bits follow

and the last byte is filled with zeros. The encoder's parameter is the cheapest one, escapes left out of
account, found by walking from the mean; `encode` allocates nothing once its scratch exists.
"""

from array import array

from wayside_protocol.errors import ColumnsError, UsageError
from wayside_protocol.limits import CHANNELS_MAX, SAMPLES_MAX, VALUE_LIMIT
from wayside_protocol.quantity import BY_NUMBER, COUNT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

MISSING = -(1 << 29)  # in a row: no reading; outside VALUE_LIMIT, inside a 32-bit board's small integers

PARAMETER_BITS = 4
PARAMETER_MAX = 13
CONSTANT = 14
PRESENCE = 15
ESCAPE_ZEROS = 16
ACC_BITS = 16  # gathered before bytes are written; the shortest escape (q = 16, k = 0) is longer, so it never slips in
CODE_BITS = 15  # of a code that is written at once: with the 7 bits left over it stays a small integer
ESCAPE_BITS = 30
_SAFE = VALUE_LIMIT >> 2  # a first value and a sum of codes below it keep every value within the limit
WIDE_BITS = 28  # a first value outside its quantity's range, offset by VALUE_LIMIT


def first_bits(low: int, high: int) -> int:
    """Width of a gauge's first value: all of low..high and one code to spare for the escape."""
    span = high - low + 1
    bits = 0
    while span >> bits:
        bits += 1
    return bits


# By quantity: is it a count, width of the first value, low, high. A tuple is quicker than a row's names.
_FORMS = {number: (q.kind == COUNT, first_bits(q.low, q.high), q.low, q.high) for number, q in BY_NUMBER.items()}
_codes = array("i", [0] * SAMPLES_MAX)  # the column at hand, as the non-negative integers to be Rice-coded
_views: "list[memoryview[int] | None]" = [None] * (SAMPLES_MAX + 1)


class _Bits:
    """Appends bits to a buffer. `put` takes at most 15 bits, so a 32-bit board stays in small integers."""

    def __init__(self) -> None:
        self.buf = bytearray(0)
        self.pos = 0
        self.acc = 0
        self.fill = 0  # bits waiting in acc, 0..7 between calls
        self.total = 0  # of _codes

    def put(self, value: int, bits: int) -> None:
        acc = self.acc << bits | value
        fill = self.fill + bits
        while fill >= 8:
            fill -= 8
            self.buf[self.pos] = acc >> fill & 0xFF
            self.pos += 1
        self.acc = acc & (1 << fill) - 1
        self.fill = fill

    def rice(self, count: int, k: int) -> None:
        """The first `count` of _codes with parameter k. Bits gather in acc, and leave it when it is full."""
        buf = self.buf
        pos = self.pos
        acc = self.acc
        fill = self.fill
        stop = 1 << k
        mask = stop - 1
        width = k + 1
        for code in _coded(count):
            size = (code >> k) + width
            fill += size
            if fill > ACC_BITS:
                fill -= size
                while fill >= 8:
                    fill -= 8
                    buf[pos] = acc >> fill & 0xFF
                    pos += 1
                acc &= (1 << fill) - 1
                if size > CODE_BITS:
                    self.pos, self.acc, self.fill = pos, acc, fill
                    self._long(code, k)
                    pos, acc, fill = self.pos, self.acc, self.fill
                    continue
                fill += size
            acc = acc << size | stop | code & mask
        self.pos, self.acc, self.fill = pos, acc, fill
        self.put(0, 0)

    def _long(self, code: int, k: int) -> None:
        """A code with many zeros, or an escape."""
        zeros = code >> k
        if zeros < ESCAPE_ZEROS:
            self.put(0, zeros)
            self.put(1 << k | code & (1 << k) - 1, k + 1)
        else:
            self._escape(code)

    def _escape(self, code: int) -> None:
        self.put(0, 8)
        self.put(0, 8)
        self.put(code >> 15, 15)
        self.put(code & 0x7FFF, 15)


_bits = _Bits()


def _coded(count: int) -> "Sequence[int]":
    """The first `count` of _codes; a view is made once for each count."""
    view = _views[count]
    if view is None:
        view = _views[count] = memoryview(_codes)[:count]
    return view


def _gauge_codes(rows: "Sequence[int]", at: int, width: int, n: int) -> int:
    """Zigzag deltas of the present values into _codes and their sum; return how many values are present."""
    codes = _codes
    missing = MISSING
    total = coded = 0
    while n and rows[at] == missing:
        at += width
        n -= 1
    if not n:
        return 0
    last = rows[at]
    for _ in range(n - 1):
        at += width
        value = rows[at]
        if value != missing:
            code = value - last << 1
            if code < 0:
                code = ~code
            codes[coded] = code
            total += code
            coded += 1
            last = value
    _bits.total = total
    return coded + 1


def _count_codes(rows: "Sequence[int]", at: int, width: int, n: int) -> int:
    """The present values into _codes and their sum; return how many there are."""
    codes = _codes
    missing = MISSING
    present = total = 0
    for _ in range(n):
        value = rows[at]
        at += width
        if value != missing:
            if value < 0:
                raise UsageError("count_negative")
            codes[present] = value
            total += value
            present += 1
    _bits.total = total
    return present


def _parameter(count: int) -> int:
    """The Rice parameter that codes the first `count` of _codes in the fewest bits; CONSTANT if all are 0.

    A parameter smaller by one saves `count` bits and adds bits to the zeros. The cost is convex in it, so the
    walk goes down from above the mean while it pays (outliers pull the mean upwards), two steps in a pass.
    """
    total = _bits.total
    if total == 0:
        return CONSTANT
    k = 1
    while k < PARAMETER_MAX and (count << k) <= total:
        k += 1
    codes = _coded(count)
    while k:
        below = k - 2 if k > 1 else 0
        low = mid = high = 0
        for code in codes:
            code >>= below
            low += code
            code >>= 1
            mid += code
            high += code >> 1
        if k == 1:
            return 0 if low - mid < count else 1
        if mid - high >= count:
            return k
        if low - mid >= count:
            return k - 1
        k = below
    return 0


def _put_first(value: int, bits: int, low: int, high: int) -> None:
    if low <= value <= high:
        _put_long(value - low, bits)
        return
    _put_long((1 << bits) - 1, bits)
    _put_long(value + VALUE_LIMIT, WIDE_BITS)


def _put_long(value: int, bits: int) -> None:
    if bits > 15:
        _bits.put(value >> 15, bits - 15)
        value &= 0x7FFF
        bits = 15
    _bits.put(value, bits)


def _put_presence(rows: "Sequence[int]", at: int, width: int, n: int) -> None:
    _bits.put(PRESENCE, PARAMETER_BITS)
    for _ in range(n):
        _bits.put(0 if rows[at] == MISSING else 1, 1)
        at += width


def _put_column(number: int, rows: "Sequence[int]", c: int, width: int, n: int) -> None:
    is_count, bits, low, high = _FORMS[number]
    present = _count_codes(rows, c, width, n) if is_count else _gauge_codes(rows, c, width, n)
    if present < n:
        _put_presence(rows, c, width, n)
        if not present:
            return
    first = 0
    if not is_count:
        at = c
        while rows[at] == MISSING:
            at += width
        first = rows[at]
        present -= 1
    if not -_SAFE < first < _SAFE or _bits.total >= _SAFE:
        _check_values(rows, c, width, n)
    k = _parameter(present)
    _bits.put(k, PARAMETER_BITS)
    if not is_count:
        _put_first(first, bits, low, high)
    if k != CONSTANT:
        _bits.rice(present, k)


def _check_values(rows: "Sequence[int]", at: int, width: int, n: int) -> None:
    for _ in range(n):
        if rows[at] != MISSING and not -VALUE_LIMIT < rows[at] < VALUE_LIMIT:
            raise UsageError("value_limit")
        at += width


def encode(out: bytearray, start: int, quantities: "Sequence[int]", rows: "Sequence[int]", n: int) -> int:
    """Code n samples into `out` from `start`; return the end.

    `rows` is flat: sample i of channel c at i * len(quantities) + c, in the quantity's steps, MISSING where
    there is none. Raises UsageError for an unknown quantity, a value beyond VALUE_LIMIT or a buffer too small.
    """
    width = len(quantities)
    if not 0 < n <= SAMPLES_MAX or not 0 < width <= CHANNELS_MAX:
        raise UsageError("samples_shape")
    _bits.buf = out
    _bits.pos = start
    _bits.acc = _bits.fill = 0
    try:
        for c in range(width):
            if quantities[c] not in _FORMS:
                raise UsageError("quantity_unknown")
            _put_column(quantities[c], rows, c, width, n)
        if _bits.fill:
            _bits.put(0, 8 - _bits.fill)
    except IndexError:
        raise UsageError("buffer_full") from None
    except OverflowError:  # a delta that _codes cannot hold
        raise UsageError("value_limit") from None
    return _bits.pos


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
    _, width, low, high = _FORMS[number]
    offset = bits.take(width)
    if offset == (1 << width) - 1:
        return bits.take(WIDE_BITS) - VALUE_LIMIT
    if offset > high - low:
        raise ColumnsError("columns_first")
    return offset + low


def _take_values(bits: _BitReader, number: int, k: int, present: int) -> "list[int]":
    values = []
    if _FORMS[number][0]:
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
        if number not in _FORMS:
            raise ColumnsError("quantity_unknown")
        out.append(_take_column(bits, number, n))
    left = bits.end - bits.pos
    if left > 7 or bits.take(left):
        raise ColumnsError("columns_trailing")
    return out
