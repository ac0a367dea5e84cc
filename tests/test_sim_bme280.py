"""The simulated BME280, by Bosch's worked example, by an independent driver, and by its data sheet's rules."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from adafruit_bme280 import advanced, basic

from wayside_sim.chips import bme280_math as math
from wayside_sim.chips.bme280 import BME280, Environment, Noise

VECTORS = json.loads((Path(__file__).parent / "data" / "bme280_vectors.json").read_text())


class Clock:
    """World µs that a test moves."""

    def __init__(self) -> None:
        self.us = 0

    def __call__(self) -> int:
        return self.us

    def sleep(self, seconds: float) -> None:
        self.us += int(seconds * 1e6)


class Bus:
    """busio's I2C over one simulated chip; waiting for the chip takes its time."""

    def __init__(self, chip: BME280, clock: Clock) -> None:
        self._chip, self._clock = chip, clock

    def try_lock(self) -> bool:
        return True

    def unlock(self) -> None:
        pass

    def writeto(self, address: int, buffer: bytes, start: int = 0, end: int | None = None) -> None:
        assert address == 0x77
        self._clock.us += 300
        self._chip.write(bytes(buffer[start:end]))

    def readfrom_into(self, address: int, buffer: bytearray, start: int = 0, end: int | None = None) -> None:
        self._clock.us += 300
        end = len(buffer) if end is None else end
        buffer[start:end] = self._chip.read(end - start)


def constant(air: tuple[float, float, float]) -> Environment:
    return lambda world_us: air


def chip_at(air: tuple[float, float, float], **options: object) -> tuple[BME280, Clock]:
    clock = Clock()
    chip = BME280(clock, constant(air), **options)  # type: ignore[arg-type]
    clock.us = 10_000
    return chip, clock


def registers(chip: BME280, first: int, size: int) -> bytes:
    chip.write(bytes([first]))
    return chip.read(size)


def codes(chip: BME280) -> tuple[int, int, int]:
    """Pressure, temperature, humidity as the data registers give them."""
    data = registers(chip, 0xF7, 8)
    return int.from_bytes(data[:3], "big") >> 4, int.from_bytes(data[3:6], "big") >> 4, int.from_bytes(data[6:], "big")


def forced(chip: BME280, clock: Clock, hum: int = 1, meas: int = 0x25) -> None:
    chip.write(bytes([0xF2, hum, 0xF4, meas]))
    clock.us += 120_000
    chip.read(1)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: v["src"][:20])
def test_compensation_gives_what_boschs_formulas_give(vector: dict[str, Any]) -> None:
    cal, adc, out = vector["cal"], vector["adc"], vector["out"]
    trim = math.Trimming(tuple(cal["T"]), tuple(cal["P"]), tuple(cal["H"] or [0] * 6))
    fine = math.t_fine(trim, adc["T"])
    assert fine / 5120 == pytest.approx(out["T_double"], abs=1e-9)
    assert math.pressure(trim, fine, adc["P"]) * 100 == pytest.approx(out["P_double"], abs=1e-6)
    if cal["H"]:
        assert math.humidity(trim, fine, adc["H"]) == pytest.approx(out["H_double"], abs=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_an_independent_driver_reads_what_was_wished(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(seed)
    for _ in range(20):
        air = (rng.uniform(-40, 85), rng.uniform(5, 95), rng.uniform(300, 1100))
        clock = Clock()
        monkeypatch.setattr(basic, "sleep", clock.sleep)
        chip = BME280(clock, constant(air))
        clock.us = 10_000
        driver = advanced.Adafruit_BME280_I2C(Bus(chip, clock))
        driver.mode = advanced.MODE_FORCE
        driver.overscan_temperature = driver.overscan_pressure = driver.overscan_humidity = advanced.OVERSCAN_X16
        clock.us += 1_000_000
        assert driver.temperature == pytest.approx(air[0], abs=0.002)
        assert driver.humidity == pytest.approx(air[1], abs=0.02)
        assert driver.pressure == pytest.approx(air[2], abs=0.01)
        assert chip.truth.conversions[-1].read_temperature == pytest.approx(air[0], abs=0.001)


def test_an_independent_driver_finds_the_chip_with_its_defaults() -> None:
    chip, clock = chip_at((21.5, 45.0, 1013.25))
    driver = basic.Adafruit_BME280_I2C(Bus(chip, clock))
    assert driver.temperature == pytest.approx(21.5, abs=0.01)
    assert driver.relative_humidity == pytest.approx(45.0, abs=0.05)
    assert driver.pressure == pytest.approx(1013.25, abs=0.1)


def test_identity_and_trimming_are_where_the_data_sheet_says() -> None:
    chip, _ = chip_at((20.0, 50.0, 1000.0))
    assert registers(chip, 0xD0, 1) == b"\x60"
    low, high = registers(chip, 0x88, 26), registers(chip, 0xE1, 7)
    t, p, h = math.REAL.t, math.REAL.p, math.REAL.h
    assert int.from_bytes(low[0:2], "little") == t[0]
    assert int.from_bytes(low[6:8], "little") == p[0]
    assert int.from_bytes(low[8:10], "little", signed=True) == p[1]
    assert low[25] == h[0]
    assert high[3] << 4 | high[4] & 0xF == h[3]
    assert high[5] << 4 | high[4] >> 4 == h[4]


def test_a_forced_measurement_takes_the_data_sheets_time_and_ends_in_sleep() -> None:
    chip, clock = chip_at((20.0, 50.0, 1000.0))
    chip.write(bytes([0xF2, 1, 0xF4, 0x25]))
    assert chip.duration_us() == 1250 + 3 * 2300 + 2 * 575  # section 9.1, all at oversampling 1: 9.3 ms
    assert registers(chip, 0xF3, 1) == b"\x08"
    assert codes(chip) == (0x80000, 0x80000, 0x8000)
    clock.us += 9_299
    assert registers(chip, 0xF3, 1) == b"\x08"
    clock.us += 1
    assert registers(chip, 0xF3, 1) == b"\x00"
    assert registers(chip, 0xF4, 1) == b"\x24"
    assert codes(chip) != (0x80000, 0x80000, 0x8000)
    assert len(chip.truth.conversions) == 1


def test_humidity_is_measured_only_once_ctrl_meas_was_written_after_ctrl_hum() -> None:
    chip, clock = chip_at((20.0, 50.0, 1000.0))
    chip.write(bytes([0xF4, 0x25, 0xF2, 1]))
    clock.us += 20_000
    assert codes(chip)[2] == 0x8000
    chip.write(bytes([0xF4, 0x25]))
    clock.us += 20_000
    assert codes(chip)[2] != 0x8000


@pytest.mark.parametrize(("meas", "skipped"), [(0x05, 1), (0x21, 0)])
def test_what_is_skipped_reads_as_the_data_sheet_says(meas: int, skipped: int) -> None:
    chip, clock = chip_at((20.0, 50.0, 1000.0))
    forced(chip, clock, 1, meas)
    values = codes(chip)
    assert values[skipped] == 0x80000
    assert values[1 - skipped] != 0x80000


@pytest.mark.parametrize(("code", "zeros"), [(1, 4), (2, 3), (3, 2), (4, 1), (5, 0)])
def test_oversampling_sets_the_resolution(code: int, zeros: int) -> None:
    rng = random.Random(code)
    air = [(20.0, 50.0, 1000.0)]
    clock = Clock()
    chip = BME280(clock, lambda us: air[0])
    clock.us = 10_000
    low_bits = set()
    for _ in range(64):
        air[0] = (rng.uniform(10, 30), 50.0, rng.uniform(900, 1100))
        forced(chip, clock, 1, code << 5 | code << 2 | 1)
        low_bits |= {codes(chip)[0] & 0xF, codes(chip)[1] & 0xF}
    assert all(bits % (1 << zeros) == 0 for bits in low_bits)
    assert zeros == 4 or any(bits % (1 << zeros + 1) for bits in low_bits)


def test_normal_mode_goes_on_by_itself_with_its_standby_time() -> None:
    chip, clock = chip_at((20.0, 50.0, 1000.0))
    chip.write(bytes([0xF5, 3 << 5, 0xF2, 1, 0xF4, 0x27]))
    for _ in range(100):
        clock.us += 10_000
        chip.read(1)
    cycle_us = chip.duration_us() + 250_000
    assert len(chip.truth.conversions) == 1 + (1_000_000 - chip.duration_us()) // cycle_us


def test_the_filter_follows_a_step_slowly() -> None:
    air = [(20.0, 50.0, 1000.0)]
    clock = Clock()
    chip = BME280(clock, lambda us: air[0])
    clock.us = 10_000
    chip.write(bytes([0xF5, 2 << 2]))
    forced(chip, clock)
    air[0] = (24.0, 50.0, 1000.0)
    seen = []
    for _ in range(3):
        forced(chip, clock)
        seen.append(chip.truth.conversions[-1].read_temperature)
    assert seen == pytest.approx([21.0, 21.75, 22.3125], abs=0.01)  # coefficient 4: a quarter of what is left


def test_a_soft_reset_forgets_the_settings_and_takes_its_time() -> None:
    chip, clock = chip_at((20.0, 50.0, 1000.0))
    forced(chip, clock)
    chip.write(bytes([0xE0, 0xB6]))
    assert registers(chip, 0xF3, 1) == b"\x01"
    clock.us += 2_000
    assert registers(chip, 0xF2, 4) == b"\x00\x00\x00\x00"
    assert codes(chip) == (0x80000, 0x80000, 0x8000)


def test_noise_is_seeded_and_as_large_as_said() -> None:
    def run(seed: int) -> list[float | None]:
        chip, clock = chip_at((20.0, 50.0, 1000.0), noise=Noise(temperature=0.1, seed=seed))
        for _ in range(200):
            forced(chip, clock)
        return [c.read_temperature for c in chip.truth.conversions]

    first: Callable[[], list[float | None]] = lambda: run(1)  # noqa: E731
    assert first() == first() != run(2)
    values = [v for v in first() if v is not None]
    deviation = (sum((v - 20.0) ** 2 for v in values) / len(values)) ** 0.5
    assert 0.08 < deviation < 0.12
