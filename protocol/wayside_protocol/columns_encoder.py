"""Readings to columns, as `columns_format` says: what a node needs, without what only readers need."""

from array import array

from wayside_protocol.columns_format import (
    CONSTANT,
    ESCAPE_ZEROS,
    FORMS,
    MISSING,
    PARAMETER_BITS,
    PARAMETER_MAX,
    PRESENCE,
    WIDE_BITS,
)
from wayside_protocol.errors import UsageError
from wayside_protocol.limits import CHANNELS_MAX, SAMPLES_MAX, VALUE_LIMIT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

ACC_BITS = 16  # gathered before bytes are written; the shortest escape (q = 16, k = 0) is longer, so it never slips in
CODE_BITS = 15  # of a code that is written at once: with the 7 bits left over it stays a small integer
_SAFE = VALUE_LIMIT >> 2  # a first value and a sum of codes below it keep every value within the limit
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
    is_count, bits, low, high = FORMS[number]
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
            if quantities[c] not in FORMS:
                raise UsageError("quantity_unknown")
            _put_column(quantities[c], rows, c, width, n)
        if _bits.fill:
            _bits.put(0, 8 - _bits.fill)
    except IndexError:
        raise UsageError("buffer_full") from None
    except OverflowError:  # a delta that _codes cannot hold
        raise UsageError("value_limit") from None
    return _bits.pos
