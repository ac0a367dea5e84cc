"""Batch and seal: when a batch closes, what its record says, and a flash that refuses."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from node_parts import KEY, NODE, UTC, Make, Parts, add, boots_on, refuse
from wayside_node.journal.journal import EVENT
from wayside_node.seal import Recorder
from wayside_node.spool import SpoolError
from wayside_protocol import event
from wayside_protocol.frame import Sealer
from wayside_protocol.limits import VALUE_LIMIT
from wayside_protocol.record import Channels, Event, Samples


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    yield from boots_on(tmp_path)


@pytest.fixture
def parts(make: Make) -> Parts:
    return make()


class TestCloses:
    def test_when_it_is_full(self, parts: Parts) -> None:
        for _ in range(25):
            add(parts)
        assert [(s.t, s.n, s.interval_s, s.set_id) for s in parts.samples()] == [
            ((1, 60), 12, 60, 1),
            ((1, 780), 12, 60, 1),
        ]
        assert parts.batch.n == 1
        assert parts.values(parts.samples()[1])[0] == [2012 + i for i in range(12)]

    @pytest.mark.parametrize(("report_s", "size", "n"), [(720, 60, 12), (60, 60, 1), (3_600, 12, 12), (100, 12, 1)])
    def test_no_later_than_the_report_interval(self, make: Make, report_s: int, size: int, n: int) -> None:
        parts = make(report_s=report_s, size=size)
        for _ in range(n):
            assert parts.samples() == []
            add(parts)
        assert [s.n for s in parts.samples()] == [n]

    def test_before_a_sample_that_is_not_in_its_place(self, parts: Parts) -> None:
        for at_ms in (60_000, 120_000, 180_900, 241_100, 301_000):
            add(parts, at_ms=at_ms)
        assert [(s.t, s.n) for s in parts.samples()] == [((1, 60), 3)]
        assert parts.batch.n == 2

    def test_when_the_clock_is_set(self, parts: Parts) -> None:
        add(parts)
        add(parts)
        parts.set_clock()
        parts.batch.open_row(parts.clock.uptime_ms() + 1)
        assert [(s.t, s.n) for s in parts.samples()] == [((1, 60), 2)]

    def test_when_the_clock_is_stepped(self, make: Make) -> None:
        parts = make()
        parts.set_clock()
        parts.true_ms = 60_000
        parts.set_clock()
        add(parts, at_ms=120_000)
        add(parts)
        parts.set_clock(early_ms=5_000)
        parts.batch.interval_s = 10
        add(parts, at_ms=190_000)
        assert [(s.t, s.n) for s in parts.samples()] == [(UTC // 1000 + 120, 2)]
        parts.batch.close()
        assert parts.samples()[1].t == UTC // 1000 + 185

    def test_when_the_time_is_said_the_other_way(self, parts: Parts) -> None:
        """Unmeasured, the clock is good for some 20 s after a welcome."""
        parts.batch.interval_s = 10
        parts.true_ms = 1_000
        parts.set_clock()
        for at_ms in (10_000, 20_000, 30_000, 40_000):
            add(parts, at_ms=at_ms)
        parts.true_ms = 45_000
        parts.set_clock()
        for at_ms in (50_000, 60_000):
            add(parts, at_ms=at_ms)
        parts.batch.close()
        assert [(s.t, s.n) for s in parts.samples()] == [
            (UTC // 1000 + 10, 1),
            ((1, 20), 3),
            (UTC // 1000 + 50, 2),
        ]

    def test_when_a_slew_has_moved_it_too_far(self, parts: Parts) -> None:
        """The clock was 1.9 s slow, and catches up within minutes; each sample is where its record says it is."""
        parts.batch.interval_s = 10
        parts.set_clock(early_ms=1_900)
        parts.true_ms = 600_000
        parts.set_clock(early_ms=1_900)
        add(parts, at_ms=610_000)
        parts.set_clock()
        wrong = dict.fromkeys(range(620000, 1200000, 10000), 0)
        for at_ms in wrong:
            add(parts, at_ms=at_ms)
            wrong[at_ms] = parts.batch.off_ms(parts.clock.uptime_ms()) + 10_000 if parts.batch.n else 0
        assert max(map(abs, wrong.values())) <= 1_000 + 50
        assert [s.n for s in parts.samples() if isinstance(s.t, int)] != []

    def test_on_request_with_nothing_in_it(self, parts: Parts) -> None:
        assert parts.batch.close()
        assert parts.records() == []


class TestRecords:
    def test_values_that_no_record_can_hold_together_become_two(self, make: Make) -> None:
        """255 samples of the worst values: 46 bits each."""
        parts = make(report_s=86_400, size=255)
        rows = [((-1) ** i * (VALUE_LIMIT - 1), 500, 7_000_000 * (i % 3)) for i in range(255)]
        for row in rows:
            add(parts, *row)
        records = parts.samples()
        assert len(records) > 1
        assert sum(s.n for s in records) == 255
        at = 60
        for record in records:
            assert record.t == (1, at)
            at += 60 * record.n
        said = [value for s in records for value in zip(*parts.values(s), strict=True)]
        assert said == rows

    def test_a_segment_begins_with_the_set(self, parts: Parts) -> None:
        """So a definition is never evicted before the samples that need it."""
        for _ in range(40):
            assert parts.recorder.event(event.CRASH, ("x" * 200, "y" * 200, "z" * 200))
        firsts = set(parts.journal._segments.index.first[: parts.journal._segments.index.count])
        assert len(firsts) == 2
        records = dict(zip(range(parts.journal.oldest, parts.journal.newest + 1), parts.records(), strict=True))
        assert all(isinstance(records[seq], Channels) for seq in firsts)

    def test_losses_are_told(self, parts: Parts) -> None:
        """A journal that is full drops what no gateway has, and says which."""
        while not parts.journal.evicted:
            assert parts.recorder.event(event.CRASH, ("x" * 200, "y" * 200, "z" * 200))
        for _ in range(12):
            add(parts)
        lost = [e for e in parts.records(Event) if e.code == event.LOST]
        assert lost
        first, last, reason = lost[0].detail
        assert reason == event.LOST_EVICTED
        assert isinstance(last, int)
        assert 1 <= first <= last < parts.journal.oldest

    def test_events_and_health_say_when(self, parts: Parts) -> None:
        parts.true_ms = 5_000
        assert parts.recorder.event(event.CRASH, ("task", "error", "place"))
        parts.set_clock()
        assert parts.recorder.health({event.UPTIME_S: 5})
        assert [r.t for r in parts.records() if not isinstance(r, Channels)] == [(1, 5), UTC // 1000 + 5]

    def test_on_append_is_called_after_each(self, parts: Parts) -> None:
        seen: list[int] = []
        parts.recorder.on_append = lambda: seen.append(parts.journal.newest)
        for _ in range(12):
            add(parts)
        assert seen == [1, 2]  # the set at the head of the first segment, and the samples


class TestFlashThatRefuses:
    def test_keeps_the_batch_until_it_takes_it(self, parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(parts.journal, "append", refuse)
        for _ in range(12):
            add(parts)
        assert parts.batch.open_row(parts.clock.uptime_ms() + 60_000) == -1
        assert (parts.batch.lost, parts.batch.n) == (1, 12)
        monkeypatch.undo()
        add(parts, at_ms=15 * 60_000)
        assert [s.n for s in parts.samples()] == [12]

    def test_a_loss_that_cannot_be_told_yet_does_not_journal_samples_again(
        self, parts: Parts, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        append = parts.journal.append

        def refuse_events(frame: Any, n: int, priority: int) -> Any:
            return refuse() if priority == EVENT else append(frame, n, priority)

        add(parts)
        assert parts.batch.close()
        parts.journal._state.lose(event.LOST_CORRUPT, 100, 120)
        monkeypatch.setattr(parts.journal, "append", refuse_events)
        for _ in range(24):
            add(parts)
        monkeypatch.undo()
        add(parts)
        assert parts.batch.close()
        assert [s.n for s in parts.samples()] == [1, 12, 12, 1]
        assert [e.detail for e in parts.events(event.LOST)] == [(100, 120, event.LOST_CORRUPT)]

    def test_a_part_that_is_journaled_is_not_journaled_again(self, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        parts = make(report_s=86_400, size=255)
        rows = [((-1) ** i * (VALUE_LIMIT - 1), 500, 7_000_000 * (i % 3)) for i in range(255)]
        append = parts.journal.append
        monkeypatch.setattr(parts.journal, "append", lambda *a: refuse() if len(parts.samples()) == 1 else append(*a))
        for row in rows:
            add(parts, *row)
        first = parts.samples()[0]
        assert parts.batch.n == 255 - first.n
        monkeypatch.undo()
        assert parts.batch.close()
        samples = parts.samples()
        assert [value for s in samples for value in zip(*parts.values(s), strict=True)] == rows
        assert isinstance(first.t, tuple)
        assert [s.t for s in samples][1] == (1, first.t[1] + 60 * first.n)

    def test_what_no_record_can_say_is_not_in_the_way(self, parts: Parts) -> None:
        for _ in range(11):
            add(parts)
        add(parts, VALUE_LIMIT * 2, 500, 1)
        assert (parts.batch.lost, parts.batch.n) == (12, 0)
        for _ in range(12):
            add(parts)
        assert len(parts.samples()) == 1

    def test_costs_the_spool_nothing_but_itself(self, parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: Any) -> None:
            raise SpoolError("spool_write")

        for step in ("begin", "add", "seal"):
            monkeypatch.setattr(parts.spool, step, refuse)
        for _ in range(12):
            add(parts)
        assert [s.n for s in parts.samples()] == [12]
        assert parts.batch.spool_failed == 12

    def test_events_are_counted_and_nothing_is_raised(self, parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(parts.journal, "append", refuse)
        assert not parts.recorder.event(event.CRASH, ("task", "error", "place"))
        assert parts.recorder.failed == 1


def test_a_recorder_without_a_set_journals_events(tmp_path: Path, make: Make) -> None:
    parts = make()
    recorder = Recorder(NODE, parts.clock, parts.journal, Sealer(KEY))
    assert recorder.event(event.CRASH, ("a", "b", "c"))
    assert [type(r) for r in parts.records()] == [Event]
    assert Samples not in map(type, parts.records())
