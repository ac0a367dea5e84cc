"""What a boot does first: it saves what a cut at any moment left open, and says why it boots."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from node_parts import KEY, Make, Parts, add, boots_on, refuse
from wayside_node import startup
from wayside_node.watchdog import ResetCause
from wayside_protocol import event
from wayside_protocol.columns import MISSING
from wayside_protocol.frame import Opener
from wayside_protocol.limits import VALUE_LIMIT
from wayside_protocol.record import Channels, Event


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    yield from boots_on(tmp_path)


@pytest.fixture
def parts(make: Make) -> Parts:
    return make()


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

    def test_arefused_batch_whose_number_went_to_an_event(self, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        parts = make()
        self.begin(parts)
        parts.recorder.channels()
        for _ in range(11):
            add(parts)
        monkeypatch.setattr(parts.journal, "append", refuse)
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
