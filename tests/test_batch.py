"""Batch, seal and salvage: when a batch closes, what its record says, and what a cut at any moment leaves of it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from node_parts import KEY, NODE, UTC, Parts
from wayside_node import startup
from wayside_node.journal import JournalError
from wayside_node.seal import Recorder
from wayside_node.spool import SpoolError
from wayside_node.watchdog import ResetCause
from wayside_protocol import event
from wayside_protocol.columns import MISSING
from wayside_protocol.frame import Opener, Sealer
from wayside_protocol.limits import VALUE_LIMIT
from wayside_protocol.record import Channels, Event, Samples

Make = Callable[..., Parts]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Parts over one folder: each call is a boot that finds what the one before left."""
    made: list[Parts] = []

    def build(**options: float) -> Parts:
        if made:
            made[-1].close()
        options.setdefault("boot", len(made) + 1)
        made.append(Parts(tmp_path, **options))  # type: ignore[arg-type]
        return made[-1]

    yield build
    made[-1].close()


@pytest.fixture
def parts(make: Make) -> Parts:
    return make()


def add(parts: Parts, *values: int, at_ms: int | None = None) -> None:
    """One sample at an uptime, by default the next place of the batch."""
    if at_ms is None:
        up = parts.clock.uptime_ms()
        at_ms = up + (parts.batch.due_ms(up) if parts.batch.n else 60_000)
    parts.true_ms = at_ms / parts.rate
    row = parts.batch.open_row(at_ms)
    assert row >= 0
    for c, value in enumerate(values or (2000 + parts.count, 500, parts.count % 7)):
        parts.batch.rows[row + c] = value
    parts.batch.close_row()
    parts.count += 1


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
        monkeypatch.setattr(parts.journal, "append", _refuse)
        for _ in range(12):
            add(parts)
        assert parts.batch.open_row(parts.clock.uptime_ms() + 60_000) == -1
        assert (parts.batch.lost, parts.batch.n) == (1, 12)
        monkeypatch.undo()
        add(parts, at_ms=15 * 60_000)
        assert [s.n for s in parts.samples()] == [12]

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
        monkeypatch.setattr(parts.journal, "append", _refuse)
        assert not parts.recorder.event(event.CRASH, ("task", "error", "place"))
        assert parts.recorder.failed == 1


def _refuse(*_: Any) -> None:
    raise JournalError("journal_write")


class TestSalvage:
    def begin(self, parts: Parts, channels: tuple[tuple[int, int], ...] | None = None) -> int:
        saved: int = startup.begin(
            str(parts.root), parts.spool, parts.recorder, parts.journal, Opener(KEY), channels or CHANNELS
        )
        return saved

    def test_saves_the_open_batch_with_its_own_time(self, make: Make) -> None:
        parts = make()
        self.begin(parts)
        for _ in range(5):
            add(parts)
        again = make()
        assert self.begin(again) == 5
        assert [(s.t, s.n) for s in again.samples()] == [((1, 60), 5)]
        assert again.values(again.samples()[0])[0] == [2000 + i for i in range(5)]

    def test_saves_once(self, make: Make) -> None:
        parts = make()
        self.begin(parts)
        add(parts)
        for _ in range(4):
            again = make()
            self.begin(again)
        assert len(again.samples()) == 1

    def test_leaves_what_was_sealed(self, make: Make) -> None:
        parts = make()
        self.begin(parts)
        for _ in range(12):
            add(parts)
        again = make()
        assert self.begin(again) == 0
        assert len(again.samples()) == 1

    @pytest.mark.parametrize("cut", ["make_room", "seal", "append"])
    def test_a_cut_while_sealing(self, make: Make, monkeypatch: pytest.MonkeyPatch, cut: str) -> None:
        """Before a step of the sealing the power goes; then the same again while that is being put right."""
        for boots in (1, 2):
            parts = make()
            self.begin(parts)
            before = len(parts.samples())
            for _ in range(11):
                add(parts)
            self._cut(parts, monkeypatch, cut)
            with pytest.raises(PowerCutError):
                add(parts)
            monkeypatch.undo()
            for _ in range(boots - 1):
                again = make()
                self._cut(again, monkeypatch, cut)
                with pytest.raises(PowerCutError):
                    self.begin(again)
                monkeypatch.undo()
            again = make()
            assert self.begin(again) == 12
            assert [s.n for s in again.samples()[before:]] == [12]

    def _cut(self, parts: Parts, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
        def cut(*_: Any) -> None:
            raise PowerCutError

        monkeypatch.setattr(parts.spool if step == "seal" else parts.journal, step, cut)

    def test_a_cut_right_after_the_record_is_on_flash(self, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        parts = make()
        self.begin(parts)
        for _ in range(11):
            add(parts)

        def cut() -> None:
            if parts.samples():
                raise PowerCutError

        parts.recorder.on_append = cut
        with pytest.raises(PowerCutError):
            add(parts)
        again = make()
        assert self.begin(again) == 0
        assert len(again.samples()) == 1

    def test_a_refused_batch_whose_number_went_to_an_event(self, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        parts = make()
        self.begin(parts)
        parts.recorder.channels()
        for _ in range(11):
            add(parts)
        monkeypatch.setattr(parts.journal, "append", _refuse)
        add(parts)
        monkeypatch.undo()
        assert parts.recorder.event(event.CRASH, ("x", "y", "z"))
        again = make()
        assert self.begin(again) == 12

    def test_a_cut_between_the_parts_of_a_batch(self, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        parts = make(report_s=86_400, size=255)
        self.begin(parts)
        rows = [((-1) ** i * (VALUE_LIMIT - 1), 500, 7_000_000 * (i % 3)) for i in range(255)]
        for row in rows[:-1]:
            add(parts, *row)

        def cut() -> None:
            if len(parts.samples()) == 2:
                raise PowerCutError

        parts.recorder.on_append = cut
        with pytest.raises(PowerCutError):
            add(parts, *rows[-1])
        again = make()
        self.begin(again)
        said = [value for s in again.samples() for value in zip(*again.values(s), strict=True)]
        assert said == rows

    def test_a_set_that_changed_gets_the_next_number(self, make: Make) -> None:
        """What was taken before belongs to the set of then."""
        parts = make()
        self.begin(parts)
        for _ in range(3):
            add(parts)
        again = make()
        assert self.begin(again, ((1, 0), (2, 0), (3, 0), (5, 0))) == 3
        assert again.samples()[0].set_id == 1
        assert again.recorder.set_id == 2
        again.recorder.channels()
        assert [c.set_id for c in again.records(Channels)] == [1, 2]
        third = make()
        self.begin(third, ((1, 0), (2, 0), (3, 0), (5, 0)))
        assert third.recorder.set_id == 2

    def test_missing_values_come_through(self, make: Make) -> None:
        parts = make()
        self.begin(parts)
        add(parts, MISSING, 500, 3)
        add(parts, 2100, MISSING, MISSING)
        again = make()
        self.begin(again)
        assert again.values(again.samples()[0]) == [[None, 2100], [500, None], [3, None]]


CHANNELS = ((1, 0), (2, 0), (5, 0))


class PowerCutError(BaseException):
    """The power goes here."""


class _Settings:
    lost = False
    version = 3


class TestAnnounce:
    def said(self, parts: Parts, cause: int = event.CAUSE_POWER, lost: bool = False) -> list[Any]:
        settings = _Settings()
        settings.lost = lost
        startup.announce(parts.recorder, parts.boot, cause, "0.1", ResetCause(str(parts.root)), settings)
        return [(e.code, e.detail) for e in parts.records(Event) if e.t == (parts.boot, 0)]

    def test_a_boot_says_why(self, make: Make) -> None:
        assert self.said(make()) == [(event.BOOT, (1, event.CAUSE_POWER, "0.1"))]

    def test_the_watchdogs_cause_is_told_once(self, make: Make) -> None:
        ResetCause(str(make().root)).watchdog("sampler", 15_321)
        assert self.said(make()) == [
            (event.BOOT, (2, event.CAUSE_WATCHDOG, "0.1")),
            (event.CRASH, ("sampler", "late by 15321 ms", "")),
        ]
        assert [code for code, _ in self.said(make())] == [event.BOOT]

    def test_a_commanded_reboot_is_a_soft_reset(self, make: Make) -> None:
        """The RP2040 resets by its watchdog and would say so."""
        ResetCause(str(make().root)).reboot(1, 42)
        parts = make()
        cause = ResetCause(str(parts.root))
        assert (cause.gateway, cause.order) == (1, 42)
        assert self.said(parts, event.CAUSE_WATCHDOG) == [(event.BOOT, (2, event.CAUSE_SOFT, "0.1"))]

    def test_lost_settings_are_told(self, make: Make) -> None:
        assert (event.SETTINGS, (3, "lost")) in self.said(make(), lost=True)

    def test_the_set_is_journaled_at_every_boot_once(self, make: Make) -> None:
        for boots in (1, 2, 3):
            parts = make()
            self.said(parts)
            assert len(parts.records(Channels)) == boots


def test_a_recorder_without_a_set_journals_events(tmp_path: Path, make: Make) -> None:
    parts = make()
    recorder = Recorder(NODE, parts.clock, parts.journal, Sealer(KEY))
    assert recorder.event(event.CRASH, ("a", "b", "c"))
    assert [type(r) for r in parts.records()] == [Event]
    assert Samples not in map(type, parts.records())
