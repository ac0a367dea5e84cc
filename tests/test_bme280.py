"""The node's BME280 driver on a simulated chip: by an independent driver on the same one, and by its errors."""

import errno
import random
from array import array
from typing import Any

import pytest
from adafruit_bme280 import basic

import micropython_port
from bme280_vectors import VECTORS, half_away, trimming_blocks
from wayside_node.sensors import bme280
from wayside_node.sensors.bme280 import Bme280, conversion_ms
from wayside_node.sensors.bme280_math import Trim
from wayside_node.sensors.error import SensorError
from wayside_protocol.quantity import BY_NUMBER, HUMIDITY, PRESSURE, TEMPERATURE
from wayside_sim.chips.bme280 import BME280

ADDRESS = 0x76
Air = tuple[float, float, float]


class Clock:
    """Milliseconds as the node counts them, and the chip's µs."""

    def __init__(self) -> None:
        self.us = 10_000

    def __call__(self) -> int:
        return self.us

    @property
    def ms(self) -> int:
        return self.us // 1000


class Bus:
    """machine.I2C over one simulated chip. `fault` is an errno for every transfer; `patch` overlays registers."""

    def __init__(self, chip: BME280, clock: Clock) -> None:
        self.chip, self.clock = chip, clock
        self.fault = 0
        self.patch: dict[int, int] = {}
        self.transfers: list[tuple[str, int]] = []

    def _transfer(self, kind: str, address: int, register: int) -> None:
        self.transfers.append((kind, register))
        self.clock.us += 300
        if self.fault or address != ADDRESS:
            raise OSError(self.fault or errno.ENODEV)

    def readfrom_mem_into(self, address: int, register: int, buf: bytearray) -> None:
        self._transfer("read", address, register)
        self.chip.write(bytes([register]))
        buf[:] = self.chip.read(len(buf))
        for i in range(len(buf)):
            if register + i in self.patch:
                buf[i] = self.patch[register + i]

    def writeto_mem(self, address: int, register: int, data: bytes) -> None:
        self._transfer("write", address, register)
        self.chip.write(bytes([register]) + data)


class Rig:
    """A driver on a simulated chip in this air."""

    def __init__(self, air: Air = (21.5, 45.0, 1013.25), **options: Any) -> None:
        self.air = air
        self.clock = Clock()
        self.chip = BME280(self.clock, lambda world_us: self.air)
        self.clock.us += 10_000
        self.bus = Bus(self.chip, self.clock)
        self.driver = Bme280(self.bus, ADDRESS, **options)

    def measure(self) -> list[int]:
        """Start, wait as long as it says, read. Raises SensorError as the driver does."""
        wait = self.driver.start(self.clock.ms)
        for _ in range(200):
            self.clock.us += wait * 1000
            wait = self.driver.poll(self.clock.ms)
            if not wait:
                out = array("i", [0] * 4)
                self.driver.read(out, 1)
                return list(out[1:])
        raise AssertionError("never ready")

    def fails(self) -> str:
        with pytest.raises(SensorError) as caught:
            self.measure()
        return str(caught.value.reason)


class TestReading:
    def test_measures_the_air(self) -> None:
        assert Rig((21.5, 45.0, 1013.2), oversampling=16).measure() == [2150, 450, 10132]

    @pytest.mark.parametrize("oversampling", [1, 16])
    @pytest.mark.parametrize("seeds", range(4))
    def test_agrees_with_an_independent_driver_on_the_same_conversion(
        self, seed: int, seeds: int, oversampling: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Adafruit's driver compensates in floating point the very registers that ours read."""
        monkeypatch.setattr(basic, "sleep", lambda seconds: None)
        rng = random.Random(seed + seeds)
        for _ in range(25):
            air = (rng.uniform(-39, 84), rng.uniform(1, 99), rng.uniform(305, 1095))
            rig = Rig(air, oversampling=oversampling)
            ours = rig.measure()
            theirs = judge(rig)
            assert abs(ours[0] - theirs[0] * 100) <= 1.01  # its integer formula works in steps of 0.01 °C
            assert abs(ours[1] - theirs[1] * 10) <= 0.6  # half a step of rounding
            assert abs(ours[2] - theirs[2] * 10) <= 0.6

    def test_values_are_rounded_half_away_from_zero(self) -> None:
        trim = Trim(*trimming_blocks(VECTORS[0]["cal"]))
        for adc in range(VECTORS[0]["adc"]["P"], VECTORS[0]["adc"]["P"] + 400):
            trim.temperature(VECTORS[0]["adc"]["T"])
            q8 = trim.pressure_q8(adc)
            assert (q8 + 1280) // 2560 == half_away(q8 / 2560)
        rig = Rig((-12.3449, 50.0, 1000.0), oversampling=16)
        assert rig.measure()[0] in (-1234, -1235)

    def test_trimming_is_read_once_and_each_measurement_is_a_new_one(self) -> None:
        rig = Rig()
        for i in range(5):
            rig.air = (20.0 + i, 50.0, 1000.0)
            assert abs(rig.measure()[0] - (2000 + 100 * i)) <= 1
        assert rig.bus.transfers.count(("read", bme280.TRIM_1)) == 1
        assert rig.bus.transfers.count(("write", bme280.RESET)) == 1
        assert len(rig.chip.truth.conversions) == 5

    @pytest.mark.parametrize("oversampling", [1, 2, 4, 8, 16])
    def test_waits_as_long_as_the_data_sheet_says_and_no_longer(self, oversampling: int) -> None:
        rig = Rig(oversampling=oversampling)
        rig.measure()
        before = rig.clock.us
        rig.measure()
        longest_us = 1250 + 3 * 2300 * oversampling + 2 * 575
        assert longest_us <= rig.clock.us - before <= longest_us + 4000
        assert rig.bus.transfers.count(("read", bme280.DATA)) == 2
        assert conversion_ms(oversampling, oversampling, oversampling) == -(-longest_us // 1000)

    def test_polling_too_early_touches_nothing(self) -> None:
        rig = Rig()
        rig.measure()
        wait = rig.driver.start(rig.clock.ms)
        before = len(rig.bus.transfers)
        assert 0 < rig.driver.poll(rig.clock.ms) <= wait
        assert len(rig.bus.transfers) == before

    def test_the_clocks_round_does_not_matter(self) -> None:
        rig = Rig()
        rig.measure()
        top = (1 << 29) - 2
        wait = rig.driver.start(top)
        rig.clock.us += wait * 1000
        assert rig.driver.poll(top + wait & (1 << 29) - 1) == 0

    def test_says_what_it_measures(self) -> None:
        channels = Rig(place=3).driver.channels
        assert channels == ((TEMPERATURE, 3), (HUMIDITY, 3), (PRESSURE, 3))
        assert [BY_NUMBER[quantity].decimals for quantity, _ in channels] == [2, 1, 1]


def judge(rig: Rig) -> Air:
    """The conversion that is in the chip's registers, as Adafruit's driver computes it."""

    class Frozen:
        def try_lock(self) -> bool:
            return True

        def unlock(self) -> None:
            pass

        def writeto(self, address: int, buffer: bytes, start: int = 0, end: int | None = None) -> None:
            data = bytes(buffer[start:end])
            if len(data) == 1:  # registers may be read, nothing be begun anew
                rig.chip.write(data)

        def readfrom_into(self, address: int, buffer: bytearray, start: int = 0, end: int | None = None) -> None:
            end = len(buffer) if end is None else end
            buffer[start:end] = rig.chip.read(end - start)

    driver: Any = basic.Adafruit_BME280_I2C(Frozen(), ADDRESS)
    return driver.temperature, driver.humidity, driver.pressure


class TestErrors:
    """Each has a name, costs only the readings until the cause is gone, and is over at the next start after that."""

    @pytest.mark.parametrize(
        ("fault", "reason"),
        [(errno.EIO, "no_ack"), (errno.ENODEV, "no_ack"), (errno.ETIMEDOUT, "bus"), (116, "bus")],
    )
    def test_the_bus(self, fault: int, reason: str) -> None:
        rig = Rig()
        rig.bus.fault = fault
        assert rig.fails() == reason
        rig.bus.fault = 0
        rig.measure()
        rig.bus.fault = fault
        assert rig.fails() == reason
        assert rig.fails() == reason
        rig.bus.fault = 0
        assert rig.measure()[0] == pytest.approx(2150, abs=1)

    def test_the_bus_fails_in_the_middle(self) -> None:
        rig = Rig()
        rig.driver.start(rig.clock.ms)
        rig.clock.us += 20_000
        rig.bus.fault = errno.EIO
        with pytest.raises(SensorError):
            rig.driver.poll(rig.clock.ms)
        with pytest.raises(SensorError):
            rig.driver.poll(rig.clock.ms)
        rig.bus.fault = 0
        rig.measure()

    @pytest.mark.parametrize(
        ("registers", "reason"),
        [
            ({0xD0: 0x58}, "wrong_chip"),  # a BMP280
            ({0xD0: 0xFF}, "wrong_chip"),
            (dict.fromkeys(range(136, 162), 0), "trimming"),
            (dict.fromkeys(range(136, 162), 255), "trimming"),
            ({0x8E: 0, 0x8F: 0}, "trimming"),  # dig_P1, by which the pressure is divided
            ({0xF3: 0x08}, "timeout"),
            ({0xF3: 0x01}, "timeout"),
            ({0xFA: 0x80, 0xFB: 0, 0xFC: 0}, "skipped"),
            ({0xF7: 0x80, 0xF8: 0, 0xF9: 0}, "skipped"),
            ({0xFD: 0x80, 0xFE: 0}, "skipped"),
            ({0xFA: 0xFF, 0xFB: 0xFF, 0xFC: 0xF0}, "implausible"),
            ({0xF7: 0, 0xF8: 0, 0xF9: 0}, "implausible"),
        ],
    )
    def test_the_chip(self, registers: dict[int, int], reason: str) -> None:
        rig = Rig()
        rig.bus.patch = registers
        assert rig.fails() == reason
        assert rig.fails() == reason
        rig.bus.patch = {}
        assert rig.measure()[0] == pytest.approx(2150, abs=1)

    def test_a_conversion_that_never_ends_is_given_up(self) -> None:
        rig = Rig()
        rig.measure()
        rig.bus.patch = {0xF3: 0x08}
        before = rig.clock.ms
        assert rig.fails() == "timeout"
        assert rig.clock.ms - before < bme280.TIMEOUT_MS + 100

    def test_a_chip_that_lost_power_in_between_is_noticed_and_set_up_again(self) -> None:
        rig = Rig()
        rig.measure()
        rig.driver.start(rig.clock.ms)
        rig.chip.power_on()
        rig.clock.us += 20_000
        with pytest.raises(SensorError) as caught:
            rig.driver.poll(rig.clock.ms)
        assert caught.value.reason == "skipped"
        assert rig.measure()[0] == pytest.approx(2150, abs=1)

    def test_reading_what_is_not_there(self) -> None:
        rig = Rig()
        with pytest.raises(SensorError):
            rig.driver.read(array("i", [0] * 3), 0)
        with pytest.raises(SensorError):
            rig.driver.poll(rig.clock.ms)


@micropython_port.needs_micropython
class TestOnABoard:
    def script(self, body: str) -> Any:
        cal = VECTORS[0]["cal"]
        blocks = trimming_blocks(cal)
        adc = VECTORS[0]["adc"]
        data = (adc["P"] << 4).to_bytes(3, "big") + (adc["T"] << 4).to_bytes(3, "big") + adc["H"].to_bytes(2, "big")
        return micropython_port.run(
            f"""
import gc, json
from array import array
from wayside_node.sensors.bme280 import Bme280
from wayside_node.sensors.bme280_math import Trim
REGISTERS = {{0xD0: b"\\x60", 0xF3: b"\\x00", 0x88: {blocks[0]!r}, 0xE1: {blocks[1]!r}, 0xF7: {data!r}}}
class I2C:
    def readfrom_mem_into(self, address, register, buf):
        found = REGISTERS[register]
        for i in range(len(buf)):
            buf[i] = found[i]
    def writeto_mem(self, address, register, data):
        pass
driver = Bme280(I2C())
out = array("i", [0] * 3)
def measure():
    now = 1000
    now += driver.start(now)
    for _ in range(5):
        wait = driver.poll(now)
        if not wait:
            break
        now += wait
    driver.read(out, 0)
{body}
""",
            mpy=True,
        )

    def test_the_same_values(self) -> None:
        out = VECTORS[0]["out"]
        expected = [out["T_centi"], half_away(out["H_q22_10"] * 10 / 1024), half_away(out["P_q24_8"] / 2560)]
        assert self.script("measure()\nprint(json.dumps(list(out)))") == expected

    def test_a_measurement_leaves_little_garbage(self) -> None:
        """On this 64-bit port only what exceeds 62 bits is an object; see below for a 32-bit board."""
        body = """
measure()
gc.collect()
gc.disable()
before = gc.mem_alloc()
for _ in range(20):
    measure()
print(json.dumps((gc.mem_alloc() - before) / 20))
"""
        assert self.script(body) <= 256
