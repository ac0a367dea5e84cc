"""A recorded series from a CSV file: the first column `time` in Unix seconds, the others named by quantity."""

import csv
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from pathlib import Path
from statistics import median_low

from wayside_protocol.columns import MISSING
from wayside_protocol.limits import CHANNELS_MAX, INTERVAL_MAX_S, SAMPLES_MAX, U32_MAX, VALUE_LIMIT
from wayside_protocol.quantity import BY_NAME, BY_NUMBER, COUNT, Quantity
from wayside_tools.errors import Failure

RECORDED = Path(__file__).resolve().parents[1] / "data" / "street_day.csv"


@dataclass(frozen=True)
class Series:
    """Samples in time order. A row has one integer a quantity, in its steps; MISSING where there is no reading."""

    name: str
    quantities: tuple[Quantity, ...]
    times: list[int]
    rows: list[tuple[int, ...]]
    interval_s: int
    rounded: int  # cells finer than their quantity's step

    @property
    def numbers(self) -> tuple[int, ...]:
        return tuple(quantity.number for quantity in self.quantities)

    def readings(self) -> int:
        return sum(len(row) - row.count(MISSING) for row in self.rows)

    def dropping(self, share: float, seed: int) -> "Series":
        """The same with this share of the readings taken out, by chance."""
        rng = random.Random(seed)
        rows = [tuple(MISSING if rng.random() < share else value for value in row) for row in self.rows]
        return Series(self.name, self.quantities, self.times, rows, self.interval_s, self.rounded)


@dataclass(frozen=True)
class Batch:
    """What one samples record carries: sample i at `times[i]`, within half an interval of t + i * interval_s."""

    t: int
    times: Sequence[int]
    rows: Sequence[tuple[int, ...]]

    def readings(self) -> int:
        return sum(len(row) - row.count(MISSING) for row in self.rows)


def batches(series: Series, size: int) -> Iterator[Batch]:
    """Batches of at most `size` samples; one closes early where the next sample is not when the interval says.

    A record gives one time and an interval. A recording whose clock jitters stays in one batch while each
    sample lies within half an interval of its place; a gap closes the batch, as a reboot does on a node.
    """
    if not 0 < size <= SAMPLES_MAX:
        raise Failure(f"a record holds 1 to {SAMPLES_MAX} samples, not {size}")
    start = 0
    for i in range(1, len(series.times) + 1):
        if i < len(series.times) and i - start < size:
            due = series.times[start] + (i - start) * series.interval_s
            if 2 * abs(series.times[i] - due) <= series.interval_s:
                continue
        yield Batch(series.times[start], series.times[start:i], series.rows[start:i])
        start = i


def read(path: Path) -> Series:
    """The series in a file. Raises Failure that names the line."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return _parse(path.name, csv.reader(file, strict=True))
    except OSError as error:
        raise Failure(f"{path}: {error.strerror}") from None


def _parse(name: str, lines: "csv._reader") -> Series:  # type: ignore[name-defined]
    times: list[int] = []
    rows: list[tuple[int, ...]] = []
    rounded = 0
    quantities: tuple[Quantity, ...] | None = None
    try:
        for cells in lines:
            if not cells:
                continue
            if quantities is None:
                quantities = _header(cells)
                continue
            if len(cells) != 1 + len(quantities):
                raise ValueError(f"{len(cells)} cells where the header has {1 + len(quantities)}")
            times.append(_time(cells[0], times[-1] if times else -1))
            values = [_value(cell, quantity) for cell, quantity in zip(cells[1:], quantities, strict=True)]
            rounded += sum(inexact for _, inexact in values)
            rows.append(tuple(value for value, _ in values))
    except UnicodeDecodeError:
        raise Failure(f"{name}, line {lines.line_num + 1} or after: not text in UTF-8") from None
    except (ValueError, csv.Error) as error:
        raise Failure(f"{name}, line {max(lines.line_num, 1)}: {error}") from None
    if quantities is None:
        raise Failure(f"{name}, line 1: the file is empty; it needs a header that starts with `time`")
    series = Series(name, quantities, times, rows, _interval(times), rounded)
    if not series.readings():
        raise Failure(f"{name}, line {lines.line_num}: no readings below the header")
    return series


def _header(cells: Sequence[str]) -> tuple[Quantity, ...]:
    names = [cell.strip() for cell in cells]
    if names[0] != "time":
        raise ValueError(f"the first column is {names[0]!r}, not 'time'")
    if len(names) == 1:
        raise ValueError("no column besides 'time'")
    if len(names) > 1 + CHANNELS_MAX:
        raise ValueError(f"{len(names) - 1} channels; a set has at most {CHANNELS_MAX}")
    for name in names[1:]:
        if name not in BY_NAME:
            raise ValueError(f"unknown column {name!r}; the quantities are {', '.join(BY_NAME)}")
        if names.count(name) > 1:
            raise ValueError(f"column {name!r} is there twice")
    return tuple(BY_NAME[name] for name in names[1:])


def _number(cell: str) -> Decimal:
    try:
        value = Decimal(cell.strip())
    except InvalidOperation:
        value = Decimal("NaN")
    if not value.is_finite() or value.adjusted() > 18:
        raise ValueError(f"{cell.strip()[:40]!r} is not a number that can be used")
    return value


def _time(cell: str, last: int) -> int:
    value = _number(cell)
    if value != int(value) or not 0 <= value <= U32_MAX:
        raise ValueError(f"time {cell.strip()[:40]!r} is not whole Unix seconds")
    if value <= last:
        raise ValueError(f"time {int(value)} does not come after {last}")
    return int(value)


def _value(cell: str, quantity: Quantity) -> tuple[int, bool]:
    """The cell in the quantity's steps, and whether it had to be rounded to one."""
    if not cell.strip():
        return MISSING, False
    try:
        exact = _number(cell).scaleb(quantity.decimals)
    except ValueError as error:
        raise ValueError(f"{quantity.name}: {error}") from None
    steps = int(exact.to_integral_value())
    if not -VALUE_LIMIT <= steps < VALUE_LIMIT:
        raise ValueError(f"{quantity.name}: {cell.strip()[:40]} is beyond what the wire can carry")
    if quantity.kind == COUNT and steps < 0:
        raise ValueError(f"{quantity.name}: a count cannot be {steps}")
    return steps, steps != exact


def _interval(times: Sequence[int]) -> int:
    """The usual time between samples: the median, so that gaps do not count."""
    if len(times) < 2:
        return 60
    return min(median_low(b - a for a, b in pairwise(times)), INTERVAL_MAX_S)


def decimal(value: int, number: int) -> str:
    """A value in steps as people write it: 2480 hundredths as 24.80."""
    return str(Decimal(value).scaleb(-BY_NUMBER[number].decimals))
