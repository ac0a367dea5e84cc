"""What an operator may set on a node, and what a board's profile says: every fault is told, nothing by halves."""

import json
import types
from pathlib import Path
from typing import Any

import pytest

import micropython_port
from wayside_node import profile
from wayside_node.settings import NAMES, TABLE, Settings, SettingsError, faults
from wayside_node.slots import SlotError, Slots
from wayside_protocol.limits import INTERVAL_MAX_S, SAMPLES_MAX

DEFAULTS = {row[0]: row[1] for row in TABLE}
LIMITS = {row[0]: (row[2], row[3]) for row in TABLE}


class TestTable:
    def test_defaults_are_allowed(self) -> None:
        assert faults(DEFAULTS) == []

    def test_limits_are_within_the_protocols(self) -> None:
        assert LIMITS["batch"][1] <= SAMPLES_MAX
        assert LIMITS["sample_interval_s"][1] <= INTERVAL_MAX_S

    @pytest.mark.parametrize("row", TABLE, ids=NAMES)
    def test_both_sides_of_every_limit(self, tmp_path: Path, row: tuple[str, int, int, int]) -> None:
        name, _, low, high = row
        room: dict[str, int] = {}
        if name == "sample_interval_s":
            room = {"report_interval_s": LIMITS["report_interval_s"][1]}
        elif name == "report_interval_s":
            room = {"sample_interval_s": 1}
        settings = Settings(str(tmp_path))
        for value in (low, high):
            settings.change({**room, name: value})
            assert getattr(Settings(str(tmp_path)), name) == value
        for value, reason in ((low - 1, "too_low"), (high + 1, "too_high")):
            with pytest.raises(SettingsError) as caught:
                settings.change({**room, name: value})
            assert (name, reason) in caught.value.faults
        assert getattr(settings, name) == high


class TestChange:
    def test_a_new_node_has_the_defaults(self, tmp_path: Path) -> None:
        settings = Settings(str(tmp_path))
        assert {name: getattr(settings, name) for name in NAMES} == DEFAULTS
        assert (settings.version, settings.lost) == (0, False)

    def test_what_is_set_stays_set_and_is_counted(self, tmp_path: Path) -> None:
        settings = Settings(str(tmp_path))
        assert settings.change({"sample_interval_s": 30}) == 1
        assert settings.change({"batch": 6, "beam_swap": 1}) == 2
        again = Settings(str(tmp_path))
        assert (again.sample_interval_s, again.batch, again.beam_swap, again.version) == (30, 6, 1, 2)
        again.change({"batch": None})
        assert Settings(str(tmp_path)).batch == DEFAULTS["batch"]

    def test_every_fault_at_once_and_nothing_set(self, tmp_path: Path) -> None:
        settings = Settings(str(tmp_path))
        wanted: dict[str, Any] = {
            "batch": 0,
            "sample_interval_s": "60",
            "beam_swap": True,
            "colour": 3,
            "health_interval_s": 600,
        }
        with pytest.raises(SettingsError) as caught:
            settings.change(wanted)
        assert set(caught.value.faults) == {
            ("batch", "too_low"),
            ("sample_interval_s", "not_an_integer"),
            ("beam_swap", "not_an_integer"),
            ("colour", "unknown"),
        }
        assert "colour: unknown" in str(caught.value)
        assert (settings.values, settings.version) == (DEFAULTS, 0)
        assert list(tmp_path.iterdir()) == []

    def test_nothing_is_reported_before_it_is_sampled(self, tmp_path: Path) -> None:
        with pytest.raises(SettingsError) as caught:
            Settings(str(tmp_path)).change({"sample_interval_s": 900})
        assert caught.value.faults == [("report_interval_s", "report_before_sample")]

    def test_a_flash_that_refuses_leaves_the_old_ones(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        settings = Settings(str(tmp_path))

        def refuse(self: Slots, value: bytes) -> None:
            raise SlotError("slot_write")

        monkeypatch.setattr(Slots, "save", refuse)
        with pytest.raises(SlotError):
            settings.change({"batch": 6})
        assert (settings.batch, settings.version) == (12, 0)


class TestLost:
    """A node that lost its settings works on the defaults and says so."""

    def test_both_copies_damaged(self, tmp_path: Path) -> None:
        Settings(str(tmp_path)).change({"batch": 6})
        for path in tmp_path.iterdir():
            path.write_bytes(b"rubbish")
        settings = Settings(str(tmp_path))
        assert (settings.lost, settings.values) == (True, DEFAULTS)
        settings.change({"batch": 6})
        assert not settings.lost
        assert not Settings(str(tmp_path)).lost

    def test_one_copy_damaged_leaves_the_last_good_one(self, tmp_path: Path) -> None:
        settings = Settings(str(tmp_path))
        settings.change({"batch": 6})
        settings.change({"batch": 7})
        newest = max(tmp_path.iterdir(), key=lambda path: path.read_bytes()[4])
        newest.write_bytes(b"rubbish")
        again = Settings(str(tmp_path))
        assert (again.lost, again.batch) == (False, 6)

    @pytest.mark.parametrize("stored", [b"{", b"[1]", b'{"batch": 0}', b'{"batch": "6"}', b"\xff\xfe"])
    def test_what_makes_no_sense(self, tmp_path: Path, stored: bytes) -> None:
        Slots(str(tmp_path), "settings").save(stored)
        settings = Settings(str(tmp_path))
        assert (settings.lost, settings.values) == (True, DEFAULTS)

    def test_what_another_version_stored_is_left_out(self, tmp_path: Path) -> None:
        Slots(str(tmp_path), "settings").save(b'{"batch": 6, "colour_of_the_future": 3}')
        settings = Settings(str(tmp_path))
        assert (settings.lost, settings.batch) == (False, 6)


@micropython_port.needs_micropython
def test_both_runtimes_read_what_the_other_wrote(tmp_path: Path) -> None:
    Settings(str(tmp_path)).change({"batch": 6, "beam_swap": 1})
    script = f"""
import json
from wayside_node.settings import Settings, SettingsError
settings = Settings({json.dumps(str(tmp_path))})
before = settings.values
try:
    settings.change({{"batch": 0}})
    faults = []
except SettingsError as error:
    faults = error.faults
settings.change({{"sample_interval_s": 10}})
print(json.dumps([before, faults, settings.version]))
"""
    before, found, version = micropython_port.run(script)
    assert before == {**DEFAULTS, "batch": 6, "beam_swap": 1}
    assert found == [["batch", "too_low"]]
    again = Settings(str(tmp_path))
    assert (again.values, again.version) == ({**before, "sample_interval_s": 10}, version)


class TestProfile:
    def board(self, **changes: Any) -> types.SimpleNamespace:
        sim = profile.load("sim")
        return types.SimpleNamespace(**{name: getattr(sim, name) for name in profile.NAMES} | changes)

    @pytest.mark.parametrize("name", ["sim", "pico", "esp32"])
    def test_every_board_is_sound(self, name: str) -> None:
        assert name == profile.load(name).BOARD

    @pytest.mark.parametrize(
        ("changes", "fault"),
        [
            ({"BEAM_B": 16}, "pin 16 is used twice"),
            ({"SERIAL": (0, 4, 3, 115200)}, "pin 4 is used twice"),
            ({"JOURNAL_BYTES": 100_000}, "whole segments"),
            ({"JOURNAL_BYTES": 1408 * 1024}, "too little"),
            ({"DATA_ROOT": "data/"}, "absolute"),
            ({"BEAM_BLOCKED": 2}, "neither"),
        ],
    )
    def test_a_fault_is_told(self, changes: dict[str, Any], fault: str) -> None:
        found = profile.check(self.board(**changes))
        assert any(fault in text for text in found)

    def test_everything_missing_is_told_at_once(self) -> None:
        assert profile.check(types.SimpleNamespace()) == [name + " is missing" for name in profile.NAMES]

    def test_an_unknown_board(self) -> None:
        with pytest.raises(profile.ProfileError, match="no board is called toaster"):
            profile.load("toaster")

    def test_the_one_that_was_flashed_comes_first(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        sim = profile.load("sim")
        lines = [f"{name} = {getattr(sim, name)!r}" for name in profile.NAMES if name != "BOARD"]
        (tmp_path / "board_profile.py").write_text("\n".join(['BOARD = "mine"', *lines]))
        monkeypatch.syspath_prepend(tmp_path)
        assert profile.load().BOARD == "mine"
        monkeypatch.delitem(__import__("sys").modules, "board_profile")
