"""`wayside_protocol.columns.decode` for CPython, several times as fast, with the same values and the same errors.

The column bits become a string of 0 and 1, one compiled pattern for each Rice parameter cuts it into codes, and a
table turns a code into its number: the interpreter then runs a few steps a column instead of several a bit. What is
rare (an escape, a wide first value, anything malformed) goes to the reference decoder, which is also the judge of
what is an error: a property test holds both to the same answer on any input.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from itertools import accumulate

from wayside_protocol import columns
from wayside_protocol.columns import CONSTANT, ESCAPE_ZEROS, PARAMETER_BITS, PARAMETER_MAX, PRESENCE, first_bits
from wayside_protocol.limits import CHANNELS_MAX, SAMPLES_MAX, VALUE_LIMIT
from wayside_protocol.quantity import BY_NUMBER, COUNT

CODES_A_PATTERN = 64
"""Codes that one pattern cuts; a longer column takes several. Bounds the compiled patterns to 14 * 64."""

CODES_CACHED = 4096
"""Codes remembered a parameter: street data needs about a hundred; a bound in case a node sends noise."""

_DRIFT_MAX = SAMPLES_MAX * (ESCAPE_ZEROS << PARAMETER_MAX)
"""The farthest that deltas without an escape can lead from the first value: inside VALUE_LIMIT, so no check a value."""

Layout = tuple[tuple[bool, int, int, int], ...]
"""A column each: is it a count, bits of its first value, low, high - low."""

Column = list[int | None] | list[int]
"""A channel's values in steps, None where missing; a list without None where the column has no missing reading."""


class _Rare(Exception):
    """This input needs the reference decoder."""


class _Codes(dict[str, int]):
    """The number that a code stands for, by the code's bits."""

    def __init__(self, k: int, zigzag: bool) -> None:
        self.k = k
        self.zigzag = zigzag

    def __missing__(self, bits: str) -> int:
        zeros = len(bits) - 1 - self.k
        if zeros >= ESCAPE_ZEROS:
            raise _Rare
        value = zeros << self.k | (int(bits[-self.k :], 2) if self.k else 0)
        if self.zigzag:
            value = ~(value >> 1) if value & 1 else value >> 1
        if len(self) < CODES_CACHED:
            self[bits] = value
        return value


_DELTAS = tuple(_Codes(k, True).__getitem__ for k in range(PARAMETER_MAX + 1))
_COUNTS = tuple(_Codes(k, False).__getitem__ for k in range(PARAMETER_MAX + 1))
_PARAMETERS = {format(k, "04b"): k for k in range(1 << PARAMETER_BITS)}
_Match = Callable[[str, int], "re.Match[str] | None"]
_patterns: dict[tuple[int, int], _Match] = {}


def _pattern(k: int, count: int) -> _Match:
    match = _patterns[k, count] = re.compile(f"(0*+1.{{{k}}})" * count).match
    return match


def _cut(bits: str, pos: int, k: int, count: int) -> tuple[tuple[str, ...], int]:
    """`count` codes from `pos`, and the position after them."""
    if count <= CODES_A_PATTERN:
        found = (_patterns.get((k, count)) or _pattern(k, count))(bits, pos)
        if found is None:
            raise _Rare
        return found.groups(), found.end()
    head, pos = _cut(bits, pos, k, CODES_A_PATTERN)
    tail, pos = _cut(bits, pos, k, count - CODES_A_PATTERN)
    return head + tail, pos


@lru_cache(maxsize=256)
def layout(quantities: tuple[int, ...]) -> Layout | None:
    """How these quantities' columns are laid out; None where only the reference can tell."""
    if not 0 < len(quantities) <= CHANNELS_MAX or any(number not in BY_NUMBER for number in quantities):
        return None
    rows = [BY_NUMBER[number] for number in quantities]
    if any(max(-q.low, q.high) + _DRIFT_MAX >= VALUE_LIMIT for q in rows):
        return None
    return tuple((q.kind == COUNT, first_bits(q.low, q.high), q.low, q.high - q.low) for q in rows)


def _present(bits: str, pos: int, n: int, column: tuple[bool, int, int, int]) -> tuple[Column, int]:
    """A column with a presence bitmap, which starts at `pos`."""
    presence = bits[pos : pos + n]
    pos += n
    count = presence.count("1")
    if count == n or len(presence) < n:
        raise _Rare
    if not count:
        nothing: list[int | None] = [None] * n
        return nothing, pos
    k = _PARAMETERS.get(bits[pos : pos + PARAMETER_BITS], PRESENCE)
    if k == PRESENCE:
        raise _Rare
    found, pos = _values(bits, pos + PARAMETER_BITS, k, count, column)
    values = iter(found)
    return [next(values) if there == "1" else None for there in presence], pos


def _values(bits: str, pos: int, k: int, n: int, column: tuple[bool, int, int, int]) -> tuple[list[int], int]:
    is_count, width, low, span = column
    if is_count:
        if k == CONSTANT:
            return [0] * n, pos
        codes, pos = _cut(bits, pos, k, n)
        return list(map(_COUNTS[k], codes)), pos
    end = pos + width
    if end > len(bits):
        raise _Rare
    first = int(bits[pos:end], 2)
    if first > span:
        raise _Rare
    first += low
    if k == CONSTANT:
        return [first] * n, end
    if n == 1:
        return [first], end
    codes, pos = _cut(bits, end, k, n - 1)
    return list(accumulate(map(_DELTAS[k], codes), initial=first)), pos


def _decode(data: bytes, plan: Layout, n: int) -> list[Column]:
    size = len(data) * 8
    bits = bin(int.from_bytes(data, "big") | 1 << size)[3:]
    pos = 0
    out: list[Column] = []
    plain = n <= CODES_A_PATTERN
    for column in plan:
        k = _PARAMETERS.get(bits[pos : pos + PARAMETER_BITS], -1)
        pos += PARAMETER_BITS
        if plain and 0 <= k < CONSTANT:  # what nearly every column is, written out: a call costs as much as its work
            is_count, width, low, span = column
            if is_count:
                found = (_patterns.get((k, n)) or _pattern(k, n))(bits, pos)
                if found is None:
                    raise _Rare
                out.append([*map(_COUNTS[k], found.groups())])
                pos = found.end()
                continue
            end = pos + width
            first = int(bits[pos:end] or "0", 2)
            found = (_patterns.get((k, n - 1)) or _pattern(k, n - 1))(bits, end)
            if found is None or first > span:
                raise _Rare
            out.append([*accumulate(map(_DELTAS[k], found.groups()), initial=first + low)])
            pos = found.end()
            continue
        if k < 0:
            raise _Rare
        values, pos = _present(bits, pos, n, column) if k == PRESENCE else _values(bits, pos, k, n, column)
        out.append(values)
    if size - pos > 7 or "1" in bits[pos:]:
        raise _Rare
    return out


def decode(data: bytes, quantities: tuple[int, ...], n: int, plan: Layout | None = None) -> list[Column]:
    """The columns, one list of n values a channel, None where missing. Raises ColumnsError.

    `plan` is the quantities' `layout`, where the caller has it at hand.
    """
    plan = plan or layout(quantities)
    if plan is not None and 0 < n <= SAMPLES_MAX:
        try:
            return _decode(data, plan, n)
        except _Rare:
            pass
    return list(columns.decode(data, quantities, n))
