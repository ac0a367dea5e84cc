"""A set of unsigned integers kept as sorted, disjoint, inclusive ranges."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator

Range = tuple[int, int]


class RangeSet:
    """Adding next to a range widens it, so a growing journal costs one range however long it is.

    `changed` holds what changed since it was last cleared: first -> last, or first -> None for a range that
    is no more. A store can so write the difference instead of the whole.
    """

    __slots__ = ("_firsts", "_lasts", "changed")

    def __init__(self, ranges: Iterable[Range] = ()) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        self.changed: dict[int, int | None] = {}
        for first, last in ranges:
            self.add_range(first, last)
        self.changed.clear()

    def __contains__(self, value: int) -> bool:
        at = bisect_right(self._firsts, value) - 1
        return at >= 0 and value <= self._lasts[at]

    def __iter__(self) -> Iterator[Range]:
        return zip(self._firsts, self._lasts, strict=True)

    def __len__(self) -> int:
        """The number of ranges, not of values."""
        return len(self._firsts)

    def __repr__(self) -> str:
        return f"RangeSet({list(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RangeSet) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def count(self) -> int:
        """The number of values."""
        return sum(self._lasts) - sum(self._firsts) + len(self._firsts)

    def span(self) -> Range | None:
        """The smallest and the greatest value."""
        return (self._firsts[0], self._lasts[-1]) if self._firsts else None

    def add(self, value: int) -> bool:
        """Add one value; False if it was there already."""
        lasts = self._lasts
        firsts = self._firsts
        if lasts and value == lasts[-1] + 1:  # the common case: the journal grew
            lasts[-1] = value
            self.changed[firsts[-1]] = value
            return True
        at = bisect_right(firsts, value)
        if at and value <= lasts[at - 1]:
            return False
        self._merge(value, value, at)
        return True

    def add_range(self, first: int, last: int) -> None:
        """Add first..last, both included; an empty range (last < first) adds nothing."""
        if last < first:
            return
        at = bisect_right(self._firsts, first)
        if at and last <= self._lasts[at - 1]:
            return
        self._merge(first, last, at)

    def _merge(self, first: int, last: int, at: int) -> None:
        """Put first..last in place; `at` is where its first sorts."""
        firsts, lasts, changed = self._firsts, self._lasts, self.changed
        start = at
        if start and lasts[start - 1] >= first - 1:
            start -= 1
            first = firsts[start]
            last = max(last, lasts[start])
        end = at
        while end < len(firsts) and firsts[end] <= last + 1:
            last = max(last, lasts[end])
            end += 1
        for gone in firsts[start:end]:
            changed[gone] = None
        firsts[start:end] = [first]
        lasts[start:end] = [last]
        changed[first] = last

    def within(self, first: int, last: int) -> list[Range]:
        """The ranges, cut to first..last."""
        out = []
        at = max(0, bisect_right(self._firsts, first) - 1)
        while at < len(self._firsts) and self._firsts[at] <= last:
            low, high = max(first, self._firsts[at]), min(last, self._lasts[at])
            if low <= high:
                out.append((low, high))
            at += 1
        return out

    def missing(self, first: int, last: int) -> list[Range]:
        """The ranges of first..last that are not in the set."""
        out = []
        start = first
        for low, high in self.within(first, last):
            if low > start:
                out.append((start, low - 1))
            start = high + 1
        if start <= last:
            out.append((start, last))
        return out


def ranges_of(values: Iterable[int]) -> list[Range]:
    """The ascending ranges that hold exactly these values, in whatever order and however often they come."""
    out: list[Range] = []
    first = last = -2
    for value in sorted(values):
        if value == last + 1:
            last = value
        elif value != last:
            if first >= 0:
                out.append((first, last))
            first = last = value
    if first >= 0:
        out.append((first, last))
    return out
