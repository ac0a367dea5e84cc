"""The open batch on flash: every row that was synced comes back, and nothing else."""

from array import array
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

import micropython_port
from wayside_node import files
from wayside_node.spool import HEAD, MISSING, ROWS_MAX, WIDTH_MAX, Spool, SpoolError
from wayside_protocol.columns import MISSING as PROTOCOL_MISSING
from wayside_protocol.limits import CHANNELS_MAX, SAMPLES_MAX, VALUE_LIMIT

TESTS = Path(__file__).parent
ENDURANCE = 100_000
"""Erases that a block of a 25Q-series NOR flash stands, by its data sheets."""
Rows = list[list[int]]
_made: list[Any] = []


@pytest.fixture(autouse=True)
def close_files() -> Iterator[None]:
    yield
    while _made:
        _made.pop().close()


def make(root: Path) -> Any:
    _made.append(Spool(str(root)))
    return _made[-1]


def write(spool: Any, rows: Rows, t: int | tuple[int, int] = 1_700_000_000) -> None:
    width = len(rows[0])
    flat = array("i", [value for row in rows for value in row])
    spool.begin(t, 60, 9, width)
    for i in range(len(rows)):
        spool.add(flat, i)


def salvage(root: Path) -> tuple[Any, Rows]:
    flat = array("i", [0] * ROWS_MAX * WIDTH_MAX)
    found = make(root).salvage(flat)
    if found is None:
        return None, []
    return found, [list(flat[i * found.width : (i + 1) * found.width]) for i in range(found.n)]


def street(random: Random, n: int, width: int) -> Rows:
    def one(before: int) -> int:
        near: int
        kind = random.random()
        if kind < 0.1:
            return int(MISSING)
        if kind < 0.2:
            return random.randint(-int(VALUE_LIMIT), int(VALUE_LIMIT) - 1)
        near = (0 if before == MISSING else before) + random.randint(-40, 40)
        return max(-int(VALUE_LIMIT), min(int(VALUE_LIMIT) - 1, near))

    rows: Rows = [[one(0) for _ in range(width)]]
    while len(rows) < n:
        rows.append([one(value) for value in rows[-1]])
    return rows


def test_its_limits_are_the_protocols() -> None:
    assert (MISSING, WIDTH_MAX, ROWS_MAX) == (PROTOCOL_MISSING, CHANNELS_MAX, SAMPLES_MAX)


@pytest.mark.parametrize("t", [1_700_000_000, (3, 86_400), (0xFFFFFFFF, 0xFFFFFFFF)])
@pytest.mark.parametrize(("n", "width"), [(1, 1), (12, 6), (ROWS_MAX, WIDTH_MAX)])
def test_gives_back_what_was_added(tmp_path: Path, seed: int, t: Any, n: int, width: int) -> None:
    rows = street(Random(seed + n), n, width)
    write(make(tmp_path), rows, t)
    found, back = salvage(tmp_path)
    assert (found.t, found.interval_s, found.set_id, found.width, found.n, found.seq) == (t, 60, 9, width, n, -1)
    assert back == rows


def test_nothing_there(tmp_path: Path) -> None:
    assert salvage(tmp_path) == (None, [])
    make(tmp_path).begin(5, 60, 1, 2)
    assert salvage(tmp_path) == (None, [])


def test_a_new_batch_takes_the_place_of_the_last(tmp_path: Path) -> None:
    spool = make(tmp_path)
    write(spool, [[1, 2], [3, 4]])
    spool.seal(77)
    found, rows = salvage(tmp_path)
    assert (found.seq, rows) == (77, [[1, 2], [3, 4]])
    spool.begin(60, 60, 9, 2)
    assert salvage(tmp_path)[0].seq == 77
    write(spool, [[5, MISSING]])
    found, rows = salvage(tmp_path)
    assert (found.seq, rows) == (-1, [[5, MISSING]])


def test_any_cut_or_wrong_byte_gives_the_rows_before_it(tmp_path: Path, seed: int) -> None:
    rows = street(Random(seed), 8, 3)
    spool = make(tmp_path)
    ends = []
    spool.begin(1, 60, 9, 3)
    for i in range(8):
        spool.add(array("i", [value for row in rows for value in row]), i)
        ends.append((tmp_path / "spool").stat().st_size)
    spool.seal(5)
    whole = (tmp_path / "spool").read_bytes()
    for at in range(len(whole)):
        complete = sum(end <= at for end in ends)
        for data in (whole[:at], whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :]):
            (tmp_path / "spool").write_bytes(data)
            found, back = salvage(tmp_path)
            assert back == rows[:complete] if at >= HEAD else found is None
            assert found is None or found.seq == -1


def test_random_bytes_are_no_batch(tmp_path: Path, seed: int) -> None:
    random = Random(seed)
    for _ in range(300):
        (tmp_path / "spool").write_bytes(random.choice([b"", b"WSP1"]) + random.randbytes(random.randrange(200)))
        found, rows = salvage(tmp_path)
        assert found is None or len(rows) == found.n


def test_a_full_flash_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = make(tmp_path)

    def refuse(f: object) -> None:
        raise OSError(28, "full")

    monkeypatch.setattr(files, "sync", refuse)
    with pytest.raises(SpoolError) as caught:
        write(spool, [[1]])
    assert caught.value.reason == "spool_write"


def test_no_width_beyond_the_limit(tmp_path: Path) -> None:
    for width in (0, WIDTH_MAX + 1):
        with pytest.raises(ValueError, match="width"):
            make(tmp_path).begin(1, 60, 1, width)


@micropython_port.needs_micropython
class TestOnABoard:
    def test_the_same_bytes(self, tmp_path: Path, seed: int) -> None:
        rows = street(Random(seed), 20, 6)
        write(make(tmp_path), rows)
        expected = (tmp_path / "spool").read_bytes()
        script = f"""
import json
from array import array
from wayside_node.spool import Spool, ROWS_MAX, WIDTH_MAX
rows = {rows!r}
flat = array("i", [value for row in rows for value in row])
spool = Spool({str(tmp_path)!r})
spool.begin(1700000000, 60, 9, 6)
for i in range(len(rows)):
    spool.add(flat, i)
out = array("i", [0] * ROWS_MAX * 6)
found = spool.salvage(out)
print(json.dumps([found.t, found.n, list(out[: len(rows) * 6])]))
"""
        assert micropython_port.run(script) == [1_700_000_000, 20, [value for row in rows for value in row]]
        assert (tmp_path / "spool").read_bytes() == expected

    @pytest.mark.parametrize("program_bytes", [32, 256], ids=["esp32", "pico"])
    def test_wears_the_flash_little(self, program_bytes: int) -> None:
        """Recorded street, one sample a minute, twelve to a record, spool and journal together."""
        days = 10
        args = (str(TESTS / "data" / "street_1min.csv"), str(program_bytes), "12", str(days))
        found = micropython_port.run(TESTS / "scripts" / "spool_wear.py", *args, heap="16M", path=(TESTS,))
        assert found["erases"] / days <= 450  # of 1,440 if each sample took a block
        assert ENDURANCE / (found["worst_block"] / days) / 365 > 10

    def test_adding_a_row_leaves_no_garbage_that_grows(self, tmp_path: Path) -> None:
        script = f"""
import gc, json
from array import array
from wayside_node.spool import Spool
flat = array("i", [i * 7 % 100 for i in range(6 * 255)])
spool = Spool({str(tmp_path)!r})
spool.begin(1700000000, 60, 9, 6)
for i in range(10):
    spool.add(flat, i)
gc.collect()
gc.disable()
before = gc.mem_alloc()
for i in range(10, 110):
    spool.add(flat, i)
print(json.dumps((gc.mem_alloc() - before) / 100))
"""
        assert micropython_port.run(script, mpy=True) <= 64
