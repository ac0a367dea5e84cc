"""The BME280's compensation: Bosch's values to the last bit, and what it costs a 32-bit board."""

from collections.abc import Callable
from typing import Any

import pytest

from bme280_vectors import VECTORS, trimming_blocks
from wayside_node.sensors.bme280_math import Trim


class TestCompensation:
    @pytest.mark.parametrize("vector", VECTORS, ids=lambda v: v["src"][:20])
    def test_is_boschs_to_the_last_bit(self, vector: dict[str, Any]) -> None:
        trim = Trim(*trimming_blocks(vector["cal"]))
        adc, out = vector["adc"], vector["out"]
        assert trim.temperature(adc["T"]) == out["T_centi"]
        assert trim.pressure_q8(adc["P"]) == out["P_q24_8"]
        if out["H_q22_10"] is not None:
            assert trim.humidity_q10(adc["H"]) == out["H_q22_10"]

    def test_trimming_values_keep_their_signs(self) -> None:
        cal = {"T": [1, -2, -3], "P": [4, -5, -6, -7, -8, -9, -10, -11, -12], "H": [13, -14, 15, -1600, -1700, -18]}
        trim = Trim(*trimming_blocks(cal))
        found = [getattr(trim, name) for name in ("t1", "t2", "t3")]
        assert found == cal["T"]
        assert [getattr(trim, f"p{i}") for i in range(1, 10)] == cal["P"]
        assert [getattr(trim, f"h{i}") for i in range(1, 7)] == cal["H"]

    def test_humidity_stays_within_what_air_can_hold(self) -> None:
        trim = Trim(*trimming_blocks(VECTORS[0]["cal"]))
        trim.temperature(VECTORS[0]["adc"]["T"])
        assert trim.humidity_q10(0) == 0
        assert trim.humidity_q10(0xFFFF) == 100 * 1024

    def test_a_division_by_zero_is_none(self) -> None:
        cal = {**VECTORS[1]["cal"], "P": [0, *VECTORS[1]["cal"]["P"][1:]]}
        trim = Trim(*trimming_blocks(cal))
        trim.temperature(VECTORS[1]["adc"]["T"])
        assert trim.pressure_q8(VECTORS[1]["adc"]["P"]) == 0


def test_what_the_arithmetic_costs_a_32_bit_board() -> None:
    """Results beyond 30 bits are objects there: 16 bytes and their digits, in blocks of 16 (MicroPython's mpz)."""
    made: list[int] = []

    class Counted(int):
        pass

    def counting(name: str) -> Callable[[Any, Any], Any]:
        plain = getattr(int, name)

        def operate(self: Any, other: Any) -> Any:
            result = plain(int(self), int(other))
            if not -(1 << 30) <= result < 1 << 30:
                made.append(result)
            return Counted(result)

        return operate

    for name in ("add", "sub", "mul", "floordiv", "rshift", "lshift", "and", "or"):
        for form in (f"__{name}__", f"__r{name}__"):
            setattr(Counted, form, counting(form))
    vector = VECTORS[0]
    trim = Trim(*trimming_blocks(vector["cal"]))
    for name, value in list(vars(trim).items()):
        setattr(trim, name, Counted(value))
    assert trim.temperature(Counted(vector["adc"]["T"])) == vector["out"]["T_centi"]
    trim.pressure_q8(Counted(vector["adc"]["P"]))
    trim.humidity_q10(Counted(vector["adc"]["H"]))
    size = sum(16 + 16 * -(-((abs(value).bit_length() + 15) // 16 * 2) // 16) for value in made)
    assert 10 < len(made) <= 20
    assert size <= 640
