"""The sampler: slots that hold, sensors that fail without costing the others anything, pause and report."""

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from node_parts import UTC, Parts
from wayside_node import probe, sampler
from wayside_node.sampler import PAUSED
from wayside_node.sensors.error import SensorError
from wayside_protocol.event import SENSOR_FAULT, SENSOR_RECOVERED
from wayside_protocol.quantity import TEMPERATURE

Make = Callable[..., Parts]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    monkeypatch.setattr(sampler.gc, "collect", lambda: 0)  # of CPython's whole heap it is most of the time
    made: list[Parts] = []

    def build(**options: float) -> Parts:
        made.append(Parts(tmp_path / str(len(made)), **options))  # type: ignore[arg-type]
        return made[-1]

    yield build
    for parts in made:
        parts.close()


@pytest.fixture
def parts(make: Make) -> Parts:
    return make()


class TestSlots:
    def test_begin_at_a_multiple_of_the_interval_and_hold(self, parts: Parts) -> None:
        parts.true_ms = 17_300
        parts.sampler._wait_for_multiple()
        parts.run(24 * 60)
        assert [round(t) for t in parts.times[:3]] == [60_000, 120_000, 180_000]
        assert all(b - a == pytest.approx(60_000, abs=2) for a, b in pairwise(parts.times))
        assert [(s.t, s.n) for s in parts.samples()] == [((1, 60), 12), ((1, 780), 12)]

    @pytest.mark.parametrize("rate", [0.9, 1.0, 1.1])
    def test_follow_unix_time_once_the_rate_is_known(self, make: Make, rate: float) -> None:
        """Every sample is where its record says, on a board whose oscillator is 10 % off."""
        parts = make(rate=rate)
        parts.run(5)
        parts.set_clock()
        parts.run(31)
        parts.set_clock()
        for _ in range(12):
            parts.run(600)
            parts.set_clock()
        stamped = [s.t + i * s.interval_s for s in parts.samples() if isinstance(s.t, int) for i in range(s.n)]
        assert len(stamped) > 100
        taken = [t / 1000 + UTC / 1000 for t in parts.times]
        nearest = [min((abs(real - said), real) for real in taken) for said in stamped]
        assert max(off for off, _ in nearest) < 0.7
        assert len({real for _, real in nearest}) == len(stamped)

    def test_an_unset_clock_that_runs_fast_still_says_uptime(self, make: Make) -> None:
        parts = make(rate=1.1)
        parts.run(3_000)
        for record in parts.samples():
            assert isinstance(record.t, tuple)
        assert all((b - a) * 1.1 == pytest.approx(60_000, abs=3) for a, b in pairwise(parts.times))

    def test_a_missed_slot_is_missing_and_closes_the_batch(self, parts: Parts) -> None:
        parts.run(200)
        parts.true_ms += 150_000  # something held the board up
        parts.run(700)
        first = parts.samples()[0]
        assert (first.t, first.n) == ((1, 60), 3)
        assert parts.sampler.missed == 1
        assert parts.times[3] == pytest.approx(350_000, abs=10)

    def test_a_little_late_is_on_time(self, parts: Parts) -> None:
        parts.run(200)
        parts.true_ms = 240_700
        parts.run(1_000)
        assert [(s.t, s.n) for s in parts.samples()] == [((1, 60), 12)]

    def test_a_second_as_interval(self, make: Make) -> None:
        parts = make(interval_s=1, report_s=10, size=255)
        parts.run(100.5)
        assert {s.n for s in parts.samples()} == {10}
        assert parts.sampler.taken == 100


class TestSensors:
    def test_one_that_fails_costs_its_own_channels_only(self, parts: Parts) -> None:
        parts.air.fail["start"] = SensorError("no_ack")
        parts.run(721)
        (record,) = parts.samples()
        assert parts.values(record) == [[None] * 12, [None] * 12, [i % 7 for i in range(12)]]

    @pytest.mark.parametrize("step", ["start", "poll", "read"])
    @pytest.mark.parametrize("error", [SensorError("bus"), OSError(5), ValueError("a driver's mistake"), MemoryError()])
    def test_whatever_it_raises(self, parts: Parts, step: str, error: Exception) -> None:
        parts.air.fail[step] = error
        parts.run(721)
        (record,) = parts.samples()
        assert parts.values(record)[2] == [i % 7 for i in range(12)]
        (fault,) = parts.events(SENSOR_FAULT)
        assert fault.detail == (
            "air",
            "bus" if isinstance(error, SensorError) else type(error).__name__,
            TEMPERATURE,
            0,
        )

    def test_one_that_hangs_is_given_up(self, parts: Parts) -> None:
        parts.air.ready_ms = 10_000_000
        parts.run(721)
        (record,) = parts.samples()
        assert parts.values(record)[0] == [None] * 12
        assert parts.events(SENSOR_FAULT)[0].detail[1] == "timeout"

    def test_a_slow_one_is_waited_for(self, parts: Parts) -> None:
        parts.air.ready_ms = probe.MEASURE_MAX_MS - 50
        parts.run(722)
        (record,) = parts.samples()
        assert None not in parts.values(record)[0]

    def test_a_value_no_record_can_hold_is_missing(self, parts: Parts) -> None:
        parts.air.give = lambda: (1 << 28, 500)
        parts.gate.give = lambda: (-1,)
        parts.run(721)
        (record,) = parts.samples()
        assert parts.values(record) == [[None] * 12] * 3
        assert {event.detail[1] for event in parts.events(SENSOR_FAULT)} == {"implausible"}

    def test_a_fault_is_told_once_and_so_is_its_end(self, parts: Parts) -> None:
        parts.run(100)
        parts.air.fail["poll"] = SensorError("no_ack")
        parts.run(3_600)
        parts.air.fail.clear()
        parts.run(3_600)
        (fault,) = parts.events(SENSOR_FAULT)
        (end,) = parts.events(SENSOR_RECOVERED)
        assert fault.t == (1, 120)
        assert end.detail[0] == "air"
        assert 3_500 <= int(end.detail[1]) <= 3_900
        assert end.detail[2:] == (TEMPERATURE, 0)
        values = [v for s in parts.samples() for v in parts.values(s)[0]]
        assert values[0] is not None
        assert values[1] is None
        assert values[-1] is not None

    def test_it_is_tried_again_with_capped_backoff(self, make: Make) -> None:
        parts = make(interval_s=1, report_s=60, size=60)
        parts.air.fail["start"] = SensorError("no_ack")
        tries: list[float] = []
        seen = 0
        for _ in range(1_300):
            parts.run(1)
            if parts.air.starts > seen:
                seen = parts.air.starts
                tries.append(parts.true_ms / 1000)
        gaps = [round(b - a) for a, b in pairwise(tries)]
        assert gaps[:6] == [10, 20, 40, 80, 160, 300]
        assert set(gaps[6:]) == {300}

    def test_a_loose_wire_does_not_fill_the_journal(self, parts: Parts) -> None:
        for i in range(300):
            parts.air.fail = {"start": SensorError("no_ack")} if i % 2 else {}
            parts.run(60)
        told = len(parts.events(SENSOR_FAULT))
        assert 5 < told <= 300 * 60_000 // probe.FAULT_EVERY_MS + 1
        assert len(parts.events(SENSOR_RECOVERED)) <= told
        assert parts.sampler.errors == 150


class TestOrders:
    def test_report_closes_the_batch(self, parts: Parts) -> None:
        parts.run(200)
        done: list[bool] = []
        parts.sampler.report(done.append)
        assert not done
        parts.run(0.001)
        assert done == [True]
        assert [(s.t, s.n) for s in parts.samples()] == [((1, 60), 3)]
        parts.run(60)
        assert parts.batch.n == 1, "sampling goes on, in the same slots"
        assert parts.times[3] == pytest.approx(240_000, abs=2)

    def test_report_in_the_middle_of_a_sample_waits_for_it(self, parts: Parts) -> None:
        done: list[bool] = []
        parts.run(60.005)
        parts.sampler.report(done.append)
        parts.run(0.002)
        assert not done
        parts.run(0.05)
        assert done == [True]
        assert parts.samples()[0].n == 1

    def test_report_with_nothing_open_is_done_too(self, parts: Parts) -> None:
        done: list[bool] = []
        parts.sampler.report(done.append)
        parts.run(0.001)
        assert done == [True]
        assert parts.samples() == []

    def test_pause_leaves_nothing_unsealed_and_stops(self, parts: Parts) -> None:
        done: list[bool] = []
        parts.run(60.005)
        parts.sampler.pause(done.append)
        parts.run(1_000)
        assert done == [True]
        assert parts.sampler.state == PAUSED
        assert (parts.sampler.taken, parts.batch.n) == (1, 0)
        parts.sampler.pause(done.append)
        parts.run(0.001)
        assert done == [True, True]

    def test_resume_begins_at_a_multiple_again(self, parts: Parts) -> None:
        parts.sampler.pause(lambda closed: None)
        parts.run(100)
        parts.sampler.resume()
        parts.run(100)
        assert [round(t) for t in parts.times] == [120_000, 180_000]

    def test_resume_before_the_pause_took_effect_cancels_it(self, parts: Parts) -> None:
        parts.run(60.005)
        parts.sampler.pause(lambda closed: None)
        parts.sampler.resume()
        parts.run(200)
        assert parts.sampler.taken == 4
