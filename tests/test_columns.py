"""Columns against a slow reference written from the specification, and against bytes of any kind."""

import csv
from array import array
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import columns_reference as reference
from columns_reference import Cells
from protocol_values import examples
from wayside_protocol import columns
from wayside_protocol.columns import MISSING
from wayside_protocol.errors import ColumnsError, UsageError
from wayside_protocol.limits import CHANNELS_MAX, FRAME_MAX, SAMPLES_MAX, VALUE_LIMIT
from wayside_protocol.quantity import BY_NUMBER, COUNT, TABLE

REASONS = {
    "columns_shape",
    "columns_truncated",
    "columns_first",
    "columns_value",
    "columns_presence",
    "columns_parameter",
    "columns_trailing",
    "quantity_unknown",
}
TOP = VALUE_LIMIT - 1
NUMBERS = sorted(BY_NUMBER)


def flat(table: Sequence[Sequence[int | None]]) -> "array[int]":
    """Columns as the encoder takes them: row after row."""
    cells = [column[i] for i in range(len(table[0])) for column in table]
    return array("i", [MISSING if cell is None else cell for cell in cells])


def encode(quantities: Sequence[int], table: Sequence[Sequence[int | None]], before: int = 3) -> bytes:
    """Coded by the protocol, from somewhere inside a buffer whose rest must stay as it was."""
    n = len(table[0])
    rows = flat(table)
    out = bytearray(b"\xa5" * (before + 4096 * len(quantities)))
    end = columns.encode(out, before, quantities, rows, n)
    assert out[:before] == b"\xa5" * before
    assert set(out[end:]) == {0xA5}
    return bytes(out[before:end])


def judge(quantities: Sequence[int], table: Sequence[Sequence[int | None]]) -> bytes:
    """Coded the same by both, and read back the same by both."""
    coded = encode(quantities, table)
    assert coded == reference.encode(quantities, table)
    n = len(table[0])
    assert columns.decode(coded, quantities, n) == list(table)
    assert reference.decode(coded, quantities, n) == list(table)
    return coded


def cells(quantity: int) -> st.SearchStrategy[int]:
    """Values of a quantity: mostly plausible and near each other, sometimes anything that may be carried."""
    q = BY_NUMBER[quantity]
    if q.kind == COUNT:
        return st.integers(0, 9) | st.integers(0, q.high) | st.sampled_from([0, TOP]) | st.integers(0, TOP)
    middle = (q.low + q.high) // 2
    edges = [q.low, q.high, q.low - 1, q.high + 1, -TOP, TOP, 0]
    return (
        st.integers(middle - 9, middle + 9)
        | st.integers(q.low, q.high)
        | st.sampled_from(edges)
        | st.integers(-TOP, TOP)
    )


@st.composite
def tables(draw: st.DrawFn, samples_max: int = 40) -> tuple[list[int], list[Cells]]:
    """Quantities and a column of each, some with missing readings."""
    quantities = draw(st.lists(st.sampled_from(NUMBERS), min_size=1, max_size=CHANNELS_MAX))
    n = draw(st.integers(1, samples_max))
    table: list[Cells] = []
    for quantity in quantities:
        some = cells(quantity)
        if draw(st.booleans()):
            some = st.just(draw(some))
        table.append(draw(st.lists(st.none() | some if draw(st.booleans()) else some, min_size=n, max_size=n)))
    return quantities, table


@examples(200)
@given(tables())
@example(([1], [[2100, 2103, 2103, 2102]]))
@example(([5] * CHANNELS_MAX, [[0] * SAMPLES_MAX] * CHANNELS_MAX))
@example(([1, 5], [[None] * SAMPLES_MAX, [None] * SAMPLES_MAX]))
@example(([2] * 2, [[-TOP, TOP] * 127, [TOP, None] * 127]))
@example(([5], [[0, 16]]))  # 16 zeros with k = 0: the escape's own prefix
@example(([5, 5], [[0] * 11 + [15], [0] * 11 + [16]]))
def test_both_code_the_same_bytes(drawn: tuple[list[int], list[Cells]]) -> None:
    judge(*drawn)


def test_the_example_of_the_specification() -> None:
    assert judge([1], [[2100, 2103, 2103, 2102]]).hex() == "15f50560"


@examples(60)
@given(st.data())
def test_full_records(data: st.DataObject) -> None:
    """255 samples drawn fast, with spikes, gaps and steps at hypothesis' choice of sizes."""
    rng = Random(data.draw(st.integers(0, 2**32)))
    spread = data.draw(st.sampled_from([0, 1, 2, 5, 20, 100, 3000, 1 << 20]))
    spike = data.draw(st.sampled_from([0.0, 0.01, 0.2]))
    gap = data.draw(st.sampled_from([0.0, 0.05, 0.9]))
    quantities = data.draw(st.lists(st.sampled_from(NUMBERS), min_size=1, max_size=4))
    n = data.draw(st.sampled_from([1, 2, 254, SAMPLES_MAX]))
    table: list[Cells] = []
    for quantity in quantities:
        value = rng.randint(0, 4000)
        column: Cells = []
        for _ in range(n):
            value += rng.randint(-spread, spread)
            seen = rng.randint(-TOP, TOP) if rng.random() < spike else value
            seen = max(-TOP, min(TOP, seen))
            column.append(None if rng.random() < gap else abs(seen) if quantity in reference.COUNTS else seen)
        table.append(column)
    judge(quantities, table)


def recorded(data_dir: Path, name: str) -> dict[int, Cells]:
    """A recording's columns in steps, by quantity."""
    with (data_dir / name).open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {
        q.number: [round(float(row[q.name]) * 10**q.decimals) if row[q.name] else None for row in rows]
        for q in TABLE
        if q.name in rows[0]
    }


@pytest.mark.parametrize("size", [1, 12, 60, 100, 150, 200, 255])
def test_recorded_series(data_dir: Path, size: int) -> None:
    """Batches of 100 and more once let an escape pass as a short code."""
    street = recorded(data_dir, "street_1min.csv")
    quantities = list(street)
    length = len(street[1])
    starts = range(0, length - size + 1, size if size > 1 else 997)
    for start in list(starts)[:: max(1, len(starts) * size // 4000)]:
        judge(quantities, [list(street[q][start : start + size]) for q in quantities])


def test_the_batch_that_once_decoded_wrongly(data_dir: Path) -> None:
    """PM2.5, 150 samples from 1700081000: an escape (16 zeros, k = 0) written as a short code."""
    pm2_5 = recorded(data_dir, "street_1min.csv")[4]
    start = (1700081000 - 1700000000) // 60
    for shift in (0, 1):
        judge([4], [list(pm2_5[start + shift : start + shift + 150])])


@pytest.mark.parametrize("name", ["street_1min.csv", "street_146s.csv"])
def test_the_parameter_costs_at_most_one_percent_over_the_best(data_dir: Path, name: str) -> None:
    """The encoder leaves escapes out of account when it chooses: on recordings that costs next to nothing."""
    for size in (12, 60):
        took = best = 0.0
        for number, column in recorded(data_dir, name).items():
            for start in range(0, min(len(column) - size, 4000), size):
                values = [value for value in column[start : start + size] if value is not None]
                codes = reference.codes_of(number, values)
                k = reference.parameter(codes)
                took += 0 if k == columns.CONSTANT else reference.cost(codes, k)
                best += reference.best_bits(codes)
        assert best <= took <= 1.01 * best, (size, took, best)


@examples(200)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=40))
def test_no_parameter_is_cheaper_where_nothing_escapes(codes: list[int]) -> None:
    """As if zeros could go on; with escapes the least of all parameters may be another, and lower."""
    bits = "".join(f"{byte:08b}" for byte in encode([5], [codes]))
    k = int(bits[:4], 2)
    if k == columns.CONSTANT:
        assert not any(codes)
        return
    costs = [reference.cost(codes, other, escapes=False) for other in range(14)]
    assert costs[k] == min(costs)
    assert all(costs[other] > costs[k] for other in range(k + 1, 14))  # of equals the greatest


@examples(100)
@given(st.data(), tables(samples_max=12))
def test_any_parameter_is_valid(data: st.DataObject, drawn: tuple[list[int], list[Cells]]) -> None:
    quantities, table = drawn
    bits = ""
    for quantity, column in zip(quantities, table, strict=True):
        present = [value for value in column if value is not None]
        constant = not any(reference.codes_of(quantity, present))
        bits += reference.encode_column(quantity, column, data.draw(st.integers(0, 14 if constant else 13)))
    assert columns.decode(reference.pack(bits), quantities, len(table[0])) == table


@examples(600)
@given(st.binary(max_size=60), st.lists(st.sampled_from(NUMBERS), min_size=1, max_size=3), st.integers(1, 20))
def test_bytes_of_any_kind(data: bytes, quantities: list[int], n: int) -> None:
    """Refused with a known reason, or read as the reference reads them; nothing else comes out."""
    decoded = outcome(data, quantities, n)
    assert decoded == judged(data, quantities, n)
    assert not isinstance(decoded, str) or decoded in REASONS


def outcome(data: bytes, quantities: Sequence[int], n: int) -> list[Cells] | str:
    """What the protocol makes of it: columns, or the reason of its refusal."""
    try:
        return columns.decode(data, quantities, n)
    except ColumnsError as refused:
        return refused.reason


def judged(data: bytes, quantities: Sequence[int], n: int) -> list[Cells] | str:
    """What the reference makes of it."""
    try:
        return reference.decode(data, quantities, n)
    except reference.Invalid as invalid:
        return f"columns_{invalid}"


@examples(100)
@given(st.data(), tables(samples_max=12))
def test_damaged_columns(data: st.DataObject, drawn: tuple[list[int], list[Cells]]) -> None:
    """A flipped bit, a cut or a byte too many: no other exception, and never a value beyond the limit."""
    quantities, table = drawn
    coded = bytearray(encode(quantities, table))
    at = data.draw(st.integers(0, len(coded) - 1))
    match data.draw(st.sampled_from(["flip", "cut", "more"])):
        case "flip":
            coded[at] ^= 1 << data.draw(st.integers(0, 7))
        case "cut":
            coded = coded[:at]
        case _:
            coded += data.draw(st.binary(min_size=1, max_size=3))
    decoded = outcome(bytes(coded), quantities, len(table[0]))
    if isinstance(decoded, str):
        assert decoded in REASONS
    else:
        assert all(value is None or abs(value) < VALUE_LIMIT for column in decoded for value in column)


def field(value: int, bits: int) -> str:
    return reference.field(value, bits)


FIRST = field(2100 + 4000, 14)
REFUSED = {
    "nothing": ("", 1, "columns_truncated"),
    "no first value": (field(14, 4), 1, "columns_truncated"),
    "no codes": (field(13, 4) + FIRST, 9, "columns_truncated"),
    "escape cut short": (field(0, 4) + FIRST + "0" * 30, 2, "columns_truncated"),
    "first above its range": (field(14, 4) + field(12501, 14), 1, "columns_first"),
    "last code before the escape": (field(14, 4) + field(2**14 - 2, 14), 1, "columns_first"),
    "first at the limit": (field(14, 4) + "1" * 14 + field(0, 28), 1, "columns_value"),
    "sum beyond the limit": (field(0, 4) + FIRST + "0" * 16 + field(2**29, 30), 2, "columns_value"),
    "a full bitmap": (field(15, 4) + "11" + field(14, 4) + FIRST, 2, "columns_presence"),
    "a bitmap after a bitmap": (field(15, 4) + "10" + field(15, 4) + FIRST, 2, "columns_parameter"),
    "a bit after the end": (field(14, 4) + FIRST + "000001", 1, "columns_trailing"),
    "a byte after the end": (field(14, 4) + FIRST + "0" * 14, 1, "columns_trailing"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    bits, n, reason = REFUSED[case]
    with pytest.raises(ColumnsError) as refused:
        columns.decode(reference.pack(bits), [1], n)
    assert refused.value.reason == reason


def test_the_range_of_a_first_value_has_both_ends() -> None:
    for q in TABLE:
        if q.kind != COUNT:
            short, wide = encode([q.number], [[q.low]]), encode([q.number], [[q.low - 1]])
            assert len(wide) - len(short) == 28 // 8 or len(wide) - len(short) == 28 // 8 + 1
            assert len(encode([q.number], [[q.high]])) == len(short)
            assert len(encode([q.number], [[q.high + 1]])) == len(wide)


@pytest.mark.parametrize("value", [TOP, -TOP])
@pytest.mark.parametrize("gaps", [False, True])
def test_the_value_limit_from_inside(value: int, gaps: bool) -> None:
    column: Cells = [None, value, -value, 0] if gaps else [value, -value, value]
    judge([1], [column])
    judge([5], [[abs(TOP)] * 3])


@pytest.mark.parametrize("value", [VALUE_LIMIT, -VALUE_LIMIT, VALUE_LIMIT * 2, -(1 << 31), (1 << 31) - 1])
@pytest.mark.parametrize("column", [[0], [0, 0], [0] * 30])
@pytest.mark.parametrize("number", [1, 5])
def test_the_value_limit_from_outside(number: int, value: int, column: list[int]) -> None:
    for at in {0, len(column) - 1}:
        wrong = [*column[:at], value, *column[at + 1 :]]
        with pytest.raises(UsageError) as misused:
            encode([number], [wrong])
        assert misused.value.reason == ("count_negative" if number == 5 and value < 0 else "value_limit")
        judge([number], [column])  # and nothing of it is left for the next call


def test_a_count_is_not_negative() -> None:
    with pytest.raises(UsageError) as misused:
        encode([5], [[3, -1]])
    assert misused.value.reason == "count_negative"


@pytest.mark.parametrize(("width", "n"), [(1, 0), (1, SAMPLES_MAX + 1), (0, 1), (CHANNELS_MAX + 1, 1)])
def test_the_shape_from_outside(width: int, n: int) -> None:
    rows = array("i", [0] * (width * n + 1))
    with pytest.raises(UsageError) as misused:
        columns.encode(bytearray(FRAME_MAX), 0, [1] * width, rows, n)
    assert misused.value.reason == "samples_shape"
    with pytest.raises(ColumnsError) as refused:
        columns.decode(bytes(FRAME_MAX), [1] * width, n)
    assert refused.value.reason == "columns_shape"


def test_the_shape_from_inside() -> None:
    for width, n in ((1, 1), (CHANNELS_MAX, SAMPLES_MAX)):
        judge([6] * width, [[2] * n for _ in range(width)])


@pytest.mark.parametrize("number", [0, 7, 0xFFFF])
def test_an_unknown_quantity(number: int) -> None:
    assert number not in BY_NUMBER
    with pytest.raises(UsageError, match="quantity_unknown"):
        columns.encode(bytearray(99), 0, [1, number], array("i", [0, 0]), 1)
    with pytest.raises(ColumnsError, match="quantity_unknown"):
        columns.decode(encode([1], [[0]]), [1, number], 1)


@examples(50)
@given(tables(samples_max=12), st.integers(0, 3))
def test_a_buffer_of_just_the_size(drawn: tuple[list[int], list[Cells]], before: int) -> None:
    quantities, table = drawn
    n = len(table[0])
    rows = flat(table)
    size = before + len(encode(quantities, table))
    assert columns.encode(bytearray(size), before, quantities, rows, n) == size
    with pytest.raises(UsageError, match="buffer_full"):
        columns.encode(bytearray(size - 1), before, quantities, rows, n)
