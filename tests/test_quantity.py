"""The table of quantities: frozen rows, as the specification prints them, in SenML's units."""

import re

import pytest

import micropython_port
from columns_reference import COUNTS, FIRST
from wayside_protocol.columns import first_bits
from wayside_protocol.limits import U16_MAX, VALUE_LIMIT
from wayside_protocol.quantity import BY_NAME, BY_NUMBER, COUNT, GAUGE, TABLE, Quantity

SPEC = (micropython_port.ROOT / "protocol" / "SPEC.md").read_text(encoding="utf-8")

# RFC 8428 §12.1 (Cel, %RH, count) and the secondary units of RFC 8798 §3 (hPa = 100 Pa, ug/m3 = 10^-9 kg/m3).
SENML_UNITS = {"Cel", "%RH", "count", "hPa", "ug/m3"}


def rows() -> dict[int, list[str]]:
    """The rows of SPEC §4.4 by number."""
    section = SPEC.partition("**4.4 ")[2].partition("**4.5 ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {int(row[0]): row for row in cells if row[0].isdigit()}


def test_the_specification_prints_the_table() -> None:
    printed = rows()
    assert sorted(printed) == sorted(BY_NUMBER)
    for q in TABLE:
        _, name, unit, decimals, kind, limits, first = printed[q.number]
        low, high = (int(part.replace("−", "-")) for part in re.split(" … ", limits))
        assert (name, unit, int(decimals), low, high) == (q.name, q.unit, q.decimals, q.low, q.high)
        assert kind == ("count" if q.kind == COUNT else "gauge")
        assert first == ("–" if q.kind == COUNT else str(first_bits(q.low, q.high)))


def test_the_reference_was_written_for_this_table() -> None:
    assert {q.number for q in TABLE if q.kind == COUNT} == COUNTS
    assert {q.number: (q.low, q.high, first_bits(q.low, q.high)) for q in TABLE if q.kind == GAUGE} == FIRST


@pytest.mark.parametrize("row", TABLE, ids=lambda row: str(row.name))
def test_every_row_can_be_carried(row: Quantity) -> None:
    assert 0 < row.number <= U16_MAX
    assert row.unit in SENML_UNITS
    assert row.kind in (GAUGE, COUNT)
    assert -VALUE_LIMIT < row.low < row.high < VALUE_LIMIT
    assert row.kind == GAUGE or (row.low, row.decimals) == (0, 0)
    assert 0 <= row.decimals <= 4


def test_numbers_and_names_are_unique() -> None:
    assert len(BY_NUMBER) == len(BY_NAME) == len(TABLE)
    assert all(re.fullmatch("[a-z][a-z0-9_]*", name) for name in BY_NAME)  # SenML names allow them (RFC 8428 §4.5.1)


@pytest.mark.parametrize("row", [q for q in TABLE if q.kind == GAUGE], ids=lambda row: str(row.name))
def test_the_first_value_has_a_code_to_spare(row: Quantity) -> None:
    bits = first_bits(row.low, row.high)
    span = row.high - row.low + 1
    assert 2 ** (bits - 1) <= span < 2**bits


def test_first_bits_at_powers_of_two() -> None:
    """2^n - 1 values leave just the escape's code; one more needs a bit more."""
    for n in range(1, 28):
        assert first_bits(0, 2**n - 2) == n
        assert first_bits(0, 2**n - 1) == n + 1
