"""The journal on a board: littlefs in MicroPython, its power cut anywhere, seven days of records, and what it costs."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import micropython_port
from wayside_node import profile
from wayside_node.journal.segment import HEAD, MAGIC, SEGMENT_BYTES

TESTS = Path(__file__).parent
SCRIPTS = TESTS / "scripts"
DAY_SAMPLES = 1440
FRAME_ONE = 44
"""Bytes of a sealed record of one sample of six channels, at most (protocol: 11 of head, 8 of tag, 25 of message)."""
READ_US, READ_NS = 20, 60
"""A read of a 25Q-series NOR flash: the command, and each byte (as the simulated board has it)."""
BOARD_SLOWER = 100
"""How much slower than on a laptop MicroPython runs on a 133 MHz Cortex-M0+, or more."""
FRAME_TWELVE = 90
"""The 95th percentile of a sealed record of twelve samples of six channels, as `wayside bench wire` measures it."""


@pytest.fixture
def memory_folder() -> Iterator[Path | None]:
    """A folder where ten thousand syncs wait for no disk; None where there is none."""
    memory = Path("/dev/shm")
    if not memory.is_dir():
        yield None
        return
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        yield Path(folder)


@micropython_port.needs_micropython
class TestOnABoard:
    @pytest.mark.parametrize("length", [FRAME_ONE, FRAME_TWELVE])
    def test_keeps_seven_days_in_its_share_of_heap_and_time(
        self, tmp_path: Path, memory_folder: Path | None, length: int
    ) -> None:
        """One sample a minute, each in a record of its own; and twelve to a record for as long as the flash lasts."""
        capacity = profile.load("sim").JOURNAL_BYTES
        count = 7 * DAY_SAMPLES if length == FRAME_ONE else capacity // (length + HEAD) - 200
        found = self.scale(memory_folder or tmp_path, count, length, capacity)
        assert (found["kept"], found["evicted"], found["drained"]) == (count, 0, count)
        assert found["heap"] <= 16 * 1024
        assert found["recovery_us"] < 1_500_000 / BOARD_SLOWER
        assert found["append_garbage"] <= 192
        assert found["read_garbage"] <= 128

    def scale(self, root: Path, count: int, length: int, capacity: int) -> Any:
        args = (str(root), str(count), str(length), str(capacity))
        return micropython_port.run(SCRIPTS / "journal_scale.py", *args, mpy=True)

    def test_every_profile_keeps_seven_days(self) -> None:
        for board in ("sim", "pico", "esp32"):
            capacity = profile.load(board).JOURNAL_BYTES
            segments = capacity // SEGMENT_BYTES
            per_segment = (SEGMENT_BYTES - 16 - len(MAGIC)) // (FRAME_ONE + HEAD) - 1  # one leads
            assert (segments - 1) * per_segment >= 7 * DAY_SAMPLES

    def test_boots_with_ten_thousand_records_after_few_reads_of_the_flash(self) -> None:
        args = ("flash", str(7 * DAY_SAMPLES), str(FRAME_ONE), str(profile.load("sim").JOURNAL_BYTES))
        found = micropython_port.run(SCRIPTS / "journal_scale.py", *args, heap="32M", path=(TESTS,), timeout_s=110)
        assert found["kept"] == 7 * DAY_SAMPLES
        assert found["recovery_reads"] * READ_US + found["recovery_read_bytes"] * READ_NS // 1000 < 300_000

    @pytest.mark.parametrize("program", ["32", "256"], ids=["esp32", "pico"])
    def test_power_cut_at_some_operations(self, program: str) -> None:
        self.cut(1, 7, False, program)

    def test_power_cut_again_while_booting(self) -> None:
        self.cut(5, 41, True)

    @pytest.mark.slow
    @pytest.mark.parametrize("program", ["32", "256"], ids=["esp32", "pico"])
    @pytest.mark.parametrize("first", range(2))
    def test_power_cut_at_every_operation(self, first: int, program: str) -> None:
        self.cut(first, 2, False, program)

    def cut(self, first: int, step: int, again: bool, program: str = "32") -> None:
        args = (str(first), str(step), str(int(again)), program)
        found = micropython_port.run(SCRIPTS / "power_cuts.py", *args, heap="16M", path=(TESTS,), timeout_s=110)
        assert found["wrong"] == []
        assert found["lost"] == 0
        assert found["script"]["operations"] > 600
        assert found["cuts"] >= found["script"]["operations"] // step
        assert found["script"]["evicted"] > 10
        assert found["script"]["told"] >= 2
