"""Clocks that start anywhere, drift, step and are not there at all: what each reading says of its time downstream.

The firmware's own stations, the gateway's own ingest, timeline and uplink, in virtual time; each reading is compared
with the moment at which the sensor really was read.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from fakes.board import Build
from fakes.line import PERFECT
from fakes.town import Town

DAY_S = 86_400.0
YEARS_2_S = 2 * 365 * DAY_S


@pytest.fixture
def town(tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Town]:
    def build(**changes: object) -> Town:
        built = replace(Build(interval_s=10, report_s=60, batch=6), **changes)  # type: ignore[arg-type]
        return Town(tmp_path, seed, monkeypatch, built)

    return build


Towns = Callable[..., Town]


@pytest.mark.parametrize("drift", [0.0, 0.1, -0.1, 0.0001, -0.03])
def test_a_clock_that_drifts_is_synced_from_its_second_welcome(town: Towns, drift: float) -> None:
    here = town(drift=drift)

    async def case(town: Town) -> None:
        town.begin()
        town.run.board.power_on()
        await asyncio.sleep(1.5 * 3600)

    here.play(case)
    assert here.quality["unknown"] == 0
    assert here.quality["reconstructed"] <= 12
    assert here.quality["synced"] > 500


def test_a_gateway_without_a_believed_clock_learns_the_time_later(town: Towns) -> None:
    """A Raspberry Pi has no clock of its own: hours pass until NTP is reached."""
    here = town(drift=0.02)

    async def case(town: Town) -> None:
        town.run.station.wrong_s = 1_577_836_800 - town.run.board.true_s()  # 2020: the date of its image
        town.begin(believed=False)
        town.run.board.power_on()
        await asyncio.sleep(2 * 3600)
        assert town.downstream.came() == []
        town.run.station.wrong_s, town.run.station.believed = 0.0, True
        await asyncio.sleep(2 * 3600)

    here.play(case)
    assert here.quality["unknown"] == 0
    assert here.quality["reconstructed"] > 600
    assert here.quality["synced"] > 600


def test_a_boot_that_no_believed_clock_ever_met_stays_unknown(town: Towns) -> None:
    here = town()

    async def case(town: Town) -> None:
        town.run.board.power_on()
        await asyncio.sleep(600)
        await town.reboot()
        await asyncio.sleep(600)
        await town.reboot()
        town.begin()
        await asyncio.sleep(600)

    here.play(case)
    boots = {number: reading.boot for number, reading in enumerate(here.run.board.readings)}
    for number, quality in here.qualities.items():
        assert (quality == "unknown") == (boots[number] < 3), (number, boots[number], quality)
    assert 100 <= here.quality["unknown"] <= 120


def test_a_boot_that_met_a_gateway_without_time_and_is_over_stays_unknown(town: Towns) -> None:
    here = town()

    async def case(town: Town) -> None:
        town.begin(believed=False)
        town.run.board.power_on()
        await asyncio.sleep(600)
        await town.reboot()
        await asyncio.sleep(300)
        town.run.station.believed = True
        await asyncio.sleep(600)

    here.play(case)
    boots = {number: reading.boot for number, reading in enumerate(here.run.board.readings)}
    assert {quality for number, quality in here.qualities.items() if boots[number] == 1} == {"unknown"}
    assert "unknown" not in {quality for number, quality in here.qualities.items() if boots[number] == 2}


@pytest.mark.parametrize(
    "drift", [pytest.param(0.0, marks=pytest.mark.slow), 0.1, pytest.param(-0.1, marks=pytest.mark.slow)]
)
def test_weeks_without_a_gateway_are_mapped_between_two_meetings(town: Towns, drift: float) -> None:
    here = town(drift=drift, interval_s=600, report_s=7200, batch=12)

    async def case(town: Town) -> None:
        town.begin()
        town.run.board.power_on()
        await asyncio.sleep(1800)
        await town.end()
        await asyncio.sleep(15 * DAY_S)
        town.begin()
        await asyncio.sleep(3600)

    here.play(case)
    assert here.quality["unknown"] == 0
    assert here.quality["reconstructed"] > 1900
    assert here.bounds["reconstructed"] < 400, "200 ppm over ten days, at most"


def test_weeks_without_a_gateway_and_then_power_gone_are_told_with_a_wide_bound(town: Towns) -> None:
    """Nothing stands at the other end: the measured rate goes on, and the bound grows with it."""
    here = town(drift=-0.05, interval_s=600, report_s=7200, batch=12)

    async def case(town: Town) -> None:
        town.begin()
        town.run.board.power_on()
        await asyncio.sleep(3 * 3600)
        await town.end()
        await asyncio.sleep(7 * DAY_S)
        await town.reboot()
        town.begin()
        await asyncio.sleep(3600)

    here.play(case)
    assert here.quality["unknown"] == 0
    assert here.quality["reconstructed"] > 900


def test_a_welcome_that_is_held_back_sets_no_clock(town: Towns) -> None:
    here = town()

    async def case(town: Town) -> None:
        line = town.run.line
        line.down.damage = replace(PERFECT, delay_s=(5.0, 15.0))
        town.begin()
        town.run.board.power_on()
        await asyncio.sleep(1800)
        assert not town.run.board.clock.is_set()
        line.down.damage = PERFECT
        await asyncio.sleep(1800)

    here.play(case)
    assert here.quality["unknown"] == 0
    assert here.quality["synced"] > 0


def test_an_old_welcome_that_comes_again_moves_no_clock(town: Towns) -> None:
    """Recorded on the line, and played back an hour later, and after a reboot."""
    here = town()

    async def case(town: Town) -> None:
        recorded = bytearray()
        send = town.run.line.down.send

        def tapped(data: bytes) -> None:
            recorded.extend(data)
            send(data)

        town.run.line.down.send = tapped  # type: ignore[method-assign]
        town.begin()
        town.run.board.power_on()
        await asyncio.sleep(1800)
        old = bytes(recorded)
        for _ in range(3):
            await asyncio.sleep(1800)
            steps = town.run.board.clock.steps
            for at in range(0, len(old), 50):
                send(old[at : at + 50])
            await asyncio.sleep(60)
            assert town.run.board.clock.steps == steps
            await town.reboot()
        await asyncio.sleep(600)

    here.play(case)
    assert here.quality["unknown"] == 0


@pytest.mark.parametrize("wrong_s", [YEARS_2_S, -20 * 365 * DAY_S, 3600.0, -3600.0])
def test_a_gateway_whose_believed_clock_was_wrong_is_set_right(town: Towns, wrong_s: float) -> None:
    """Its uplink was down meanwhile. What it gave the node is found out by what it shows later."""
    here = town()

    async def case(town: Town) -> None:
        station = town.run.station
        station.wrong_s = wrong_s
        station.believed = True
        station.start()
        town.run.board.power_on()
        await asyncio.sleep(3600)
        station.wrong_s = 0.0
        await asyncio.sleep(1800)
        town.downstream.start(station)
        await asyncio.sleep(1800)

    here.play(case)
    assert here.quality["synced"] > 200


@pytest.mark.parametrize("step_s", [0.4, -0.4])
def test_a_gateway_whose_clock_is_nudged(town: Towns, step_s: float) -> None:
    """Within what a clock that NTP keeps may be off."""
    here = town()

    async def case(town: Town) -> None:
        station = town.run.station
        station.wrong_s = step_s
        town.begin()
        town.run.board.power_on()
        await asyncio.sleep(3600)
        station.wrong_s = 0.0
        await asyncio.sleep(3600)

    here.play(case)
    assert here.quality["unknown"] == 0


def test_reboots_of_both_ends_and_a_clock_that_comes_and_goes(town: Towns, seed: int) -> None:
    here = town(drift=0.07)
    rng = Random(seed)

    async def case(town: Town) -> None:
        town.run.board.power_on()
        town.begin(believed=False)
        for _ in range(30):
            await asyncio.sleep(rng.uniform(5, 900))
            match rng.randrange(4):
                case 0:
                    await town.reboot(rng.uniform(0, 60))
                case 1:
                    town.run.station.believed = not town.run.station.believed
                case 2:
                    town.run.line.is_cut = not town.run.line.is_cut
                case _:
                    await town.end()
                    await asyncio.sleep(rng.uniform(0, 100))
                    town.begin(town.run.station.believed)
        town.run.line.is_cut = False
        town.run.station.believed = True
        await asyncio.sleep(1200)

    here.play(case)
    assert here.quality["synced"] + here.quality["reconstructed"] > 100
