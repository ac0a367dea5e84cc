"""The flash image keeps the rules of NOR flash, counts its wear, and can lose its power at any operation."""

from pathlib import Path

import pytest

from wayside_sim import image
from wayside_sim.flash import Flash, FlashOp, PowerCut, PowerLost
from wayside_sim.profile import BoardProfile


@pytest.fixture
def flash(tmp_path: Path) -> Flash:
    return Flash(tmp_path / "flash.img", blocks=4)


def test_a_program_clears_bits_and_only_an_erase_sets_them(flash: Flash) -> None:
    flash.program(1, 16, b"\xf0\x0f")
    assert flash.faults == []
    flash.program(1, 16, b"\x3c\xff")
    assert flash.read(1, 15, 4) == b"\xff\x30\x0f\xff"
    assert len(flash.faults) == 1
    flash.erase(1)
    assert flash.read(1, 0, 4096) == b"\xff" * 4096
    assert (flash.programs, flash.erases) == ([0, 2, 0, 0], [0, 1, 0, 0])


def test_an_image_is_kept_and_its_size_is_checked(flash: Flash) -> None:
    flash.program(0, 0, b"\x00")
    flash.close()
    assert Flash(flash.path, blocks=4).read(0, 0, 1) == b"\x00"
    with pytest.raises(ValueError, match="not an image of 5 blocks"):
        Flash(flash.path, blocks=5)
    with pytest.raises(ValueError, match="flash address"):
        Flash(flash.path, blocks=4).read(3, 4000, 100)


@pytest.mark.parametrize(("done", "left"), [(0, b"\xff\xff\xff"), (2, b"\x01\x02\xff"), (None, b"\x01\x02\x03")])
def test_the_power_can_go_before_during_and_after_a_program(flash: Flash, done: int | None, left: bytes) -> None:
    seen: list[FlashOp] = []

    def hook(op: FlashOp) -> PowerCut | None:
        seen.append(op)
        return PowerCut(done) if op.number == 2 else None

    flash.hook = hook
    flash.program(0, 0, b"\x55")
    with pytest.raises(PowerLost):
        flash.program(2, 8, b"\x01\x02\x03")
    assert flash.read(2, 8, 3) == left
    assert seen[1] == FlashOp(2, "program", 2, 8, b"\x01\x02\x03")


def test_the_power_can_go_during_an_erase(flash: Flash) -> None:
    flash.program(0, 0, bytes(4096))
    flash.hook = lambda op: PowerCut(1000)
    with pytest.raises(PowerLost):
        flash.erase(0)
    assert flash.read(0, 999, 2) == b"\xff\x00"


def test_time_is_by_pages_and_blocks(flash: Flash) -> None:
    t = flash.timing
    assert flash.program(0, 0, bytes(256)) == t.program_page_us
    assert flash.program(0, 255, bytes(2)) == 2 * t.program_page_us
    assert flash.erase(0) == t.erase_us


def test_files_are_put_into_an_image_and_read_back(tmp_path: Path) -> None:
    profile, path = BoardProfile(), tmp_path / "flash.img"
    image.make(path, profile, {"main.py": b"pass", "/data/a": b"1" * 5000, "/data/b": b""})
    image.put(path, profile, {"/data/a": b"2"})
    assert image.read(path, profile) == {"/main.py": b"pass", "/data/a": b"2", "/data/b": b""}
