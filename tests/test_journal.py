"""The journal: nothing that was synced is lost or comes back wrong, and what cannot be kept is told."""

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from wayside_node import files
from wayside_node.journal import Journal, JournalError
from wayside_node.journal.acks import Acks
from wayside_node.journal.recovery import BLIND_FLOOR, LOST_CORRUPT, LOST_EVICTED, LOST_JOURNAL
from wayside_node.journal.segment import HEAD, MAGIC
from wayside_node.journal.state import LOSSES_MAX, RESERVE, State

SEGMENT = 1024
CAPACITY = 4 * SEGMENT


def frame_of(seq: int, length: int = 0) -> bytes:
    return b"%d:" % seq + bytes(i * 37 + seq & 0xFF for i in range(length or 20 + seq * 7 % 50))


def put(journal: Any, priority: int = 2, length: int = 0) -> int:
    seq: int = journal.make_room(256)
    frame = frame_of(seq, length)
    assert journal.append(frame, len(frame), priority) == seq
    return seq


def get(journal: Any, seq: int) -> bytes | None:
    out = bytearray(1024)
    n = journal.read(seq, out)
    return bytes(out[:n]) if n else None


_made: list[Any] = []


@pytest.fixture(autouse=True)
def close_files() -> Iterator[None]:
    """A power cut leaves files open; CPython would warn of them."""
    yield
    while _made:
        _made.pop().close()


def make(root: Path, capacity: int = CAPACITY, hook: Callable[[], None] | None = None) -> Any:
    """The journal as a boot finds it, whatever was open before."""
    _made.append(Journal(str(root), capacity, hook, SEGMENT))
    return _made[-1]


def waiting(journal: Any) -> list[int]:
    found = []
    seq = journal.unacked()
    while seq >= 0:
        found.append(seq)
        seq = journal.unacked(seq)
    return found


def segment_files(root: Path) -> list[Path]:
    return sorted((root / "journal").iterdir())


def open_segment(root: Path) -> Path:
    return next((root / "journal").glob("*.open"))


class TestAppendAndRead:
    def test_a_new_journal_is_empty(self, tmp_path: Path) -> None:
        journal = make(tmp_path)
        assert (journal.next_seq, journal.oldest, journal.newest) == (1, 1, 0)
        assert (journal.waiting, journal.evicted, journal.unacked(), journal.loss()) == (0, 0, -1, None)
        assert get(journal, 1) is None

    def test_reads_in_any_order(self, tmp_path: Path, seed: int) -> None:
        journal = make(tmp_path, 40 * SEGMENT)
        seqs = [put(journal) for _ in range(200)]
        assert seqs == list(range(1, 201))
        order = seqs + seqs[::-1] + Random(seed).choices(seqs, k=300)
        for i, seq in enumerate(order):
            assert get(journal, seq) == frame_of(seq)
            if i % 10 == 0:
                seqs.append(put(journal))
        assert get(journal, 0) is None
        assert get(journal, journal.next_seq) is None
        assert journal.corrupt == 0

    def test_goes_on_after_a_reboot_in_the_same_segment(self, tmp_path: Path) -> None:
        journal = make(tmp_path)
        for _ in range(5):
            put(journal)
        before = segment_files(tmp_path)
        again = make(tmp_path)
        assert again.next_seq == 6
        assert put(again) == 6
        assert segment_files(tmp_path) == before
        assert waiting(again) == [1, 2, 3, 4, 5, 6]
        assert [get(again, seq) for seq in range(1, 7)] == [frame_of(seq) for seq in range(1, 7)]

    def test_a_frame_without_room_is_refused(self, tmp_path: Path) -> None:
        journal = make(tmp_path)
        with pytest.raises(JournalError) as caught:
            journal.append(b"x", 1, 2)
        assert caught.value.reason == "journal_room"
        journal.make_room(100)
        for length in (0, 1025):
            with pytest.raises(ValueError, match="frame"):
                journal.append(bytes(2000), length, 2)

    def test_the_hook_leads_each_segment(self, tmp_path: Path) -> None:
        leads: list[int] = []

        def lead() -> None:
            leads.append(journal.append(frame_of(journal.next_seq), len(frame_of(journal.next_seq)), 3))

        journal = make(tmp_path, hook=lead)
        for _ in range(40):
            put(journal)
        firsts = [int(path.name[:8], 16) for path in segment_files(tmp_path)]
        assert len(leads) > 2
        assert set(firsts) <= set(leads)
        # A lead stands for its segment: it must not make the segment look important.
        assert {path.name[-1] for path in segment_files(tmp_path) if "-" in path.name} == {"2"}

    def test_a_failed_write_costs_no_seq_and_no_record(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        journal = make(tmp_path)
        put(journal)
        real = files.sync

        def refuse(f: Any) -> None:
            raise OSError(errno.ENOSPC, "full")

        journal.make_room(100)
        monkeypatch.setattr(files, "sync", refuse)
        with pytest.raises(JournalError) as caught:
            journal.append(b"lost", 4, 2)
        assert caught.value.reason == "journal_write"
        monkeypatch.setattr(files, "sync", real)
        assert put(journal) == 2
        assert get(make(tmp_path), 2) == frame_of(2)
        assert get(journal, 1) == frame_of(1)


class TestAcks:
    def test_unacked_from_both_ends(self, tmp_path: Path) -> None:
        journal = make(tmp_path)
        for _ in range(10):
            put(journal)
        journal.ack(1, 3)
        journal.ack(9, 20)
        assert waiting(journal) == [4, 5, 6, 7, 8]
        assert journal.unacked(-1, True) == 8
        assert journal.unacked(8, True) == 7
        assert journal.unacked(4, True) == -1
        assert journal.waiting == 5

    def test_a_welcome_tells_what_is_held(self, tmp_path: Path) -> None:
        journal = make(tmp_path)
        for _ in range(10):
            put(journal)
        again = make(tmp_path)
        again.held([(1, 4), (9, 9)])
        assert waiting(again) == [5, 6, 7, 8, 10]
        again.ack(1, 10)
        again.held([(1, 4), (9, 9)], forget=True)
        assert waiting(again) == [5, 6, 7, 8, 10]


class TestEviction:
    def test_held_segments_go_first_and_are_not_counted(self, tmp_path: Path) -> None:
        journal = make(tmp_path)
        while journal._index.count < 4:
            put(journal)
        second = journal._index.first[1], journal._index.last[1]
        journal.ack(*second)
        while journal._index.first[1] == second[0]:
            put(journal)
        assert (journal.evicted, journal.loss()) == (0, None)
        assert get(journal, 1) == frame_of(1)
        assert get(journal, second[0]) is None
        assert journal.corrupt == 0

    def test_the_lowest_priority_goes_then_the_oldest(self, tmp_path: Path) -> None:
        journal = make(tmp_path)
        priorities = {1: 3, 2: 2, 3: 1, 4: 1}  # of what is written while there are so many segments
        while True:
            seq = journal.make_room(256)
            if journal._index.count == 4 and journal._index.first[3] == seq:
                break
            journal.append(frame_of(seq), len(frame_of(seq)), priorities[journal._index.count])
        firsts = list(journal._index.first[:4])
        gone = []
        for _ in range(3):
            held = list(journal._index.first[:4])
            while held == list(journal._index.first[:4]):
                put(journal, 2)
            gone += [first for first in held if first not in journal._index.first[:4]]
        assert gone == [firsts[2], firsts[1], firsts[3]]
        assert get(journal, 1) == frame_of(1)

    def test_what_goes_is_counted_told_and_survives_a_reboot(self, tmp_path: Path) -> None:
        journal = make(tmp_path)
        while journal.oldest == 1:
            put(journal)
        oldest = journal.oldest
        assert journal.evicted == oldest - 1
        assert journal.loss() == (LOST_EVICTED, 1, oldest - 1)
        again = make(tmp_path)
        assert (again.evicted, again.oldest, again.loss()) == (oldest - 1, oldest, (LOST_EVICTED, 1, oldest - 1))
        again.loss_told()
        assert again.loss() is None
        assert make(tmp_path).loss() is None

    def test_the_window_of_acks_is_never_exceeded(self, tmp_path: Path) -> None:
        journal = make(tmp_path)
        journal._acks = Acks(64)  # the least it is made with holds more than these segments can
        for _ in range(500):
            put(journal, length=1)
            assert journal.newest - journal.oldest < journal._acks.size
        assert waiting(journal) == list(range(journal.oldest, journal.newest + 1))

    def test_losses_beyond_the_room_for_them_stay_covered(self, tmp_path: Path) -> None:
        state = State(str(tmp_path))
        for i in range(3 * LOSSES_MAX):
            state.lose(LOST_EVICTED, i * 10, i * 10 + 1)
        assert len(state.losses) == LOSSES_MAX
        covered = {seq for _, low, high in state.losses for seq in range(low, high + 1)}
        assert {i * 10 for i in range(3 * LOSSES_MAX)} <= covered


class TestDamage:
    def fill(self, root: Path, count: int) -> None:
        journal = make(root)
        for _ in range(count):
            put(journal)

    @pytest.mark.parametrize("closed", [False, True], ids=["growing", "closed"])
    def test_any_byte_wrong_costs_one_record_at_most_two(self, tmp_path: Path, closed: bool) -> None:
        self.fill(tmp_path, 6)
        if closed:
            journal = make(tmp_path)
            journal._segments.close()
        path = segment_files(tmp_path)[0]
        good = path.read_bytes()
        state = {p: p.read_bytes() for p in tmp_path.glob("journal.*")}
        for at in range(len(MAGIC), len(good)):
            for flip in (0x01, 0xFF):
                path.write_bytes(good[:at] + bytes([good[at] ^ flip]) + good[at + 1 :])
                journal = make(tmp_path)
                found = [get(journal, seq) for seq in range(1, 7)]
                assert all(frame in (None, frame_of(i + 1)) for i, frame in enumerate(found))
                assert 4 <= sum(frame is not None for frame in found) < 6
                reported = {seq for why, a, b in journal._state.losses for seq in range(a, b + 1)}
                assert {i + 1 for i, frame in enumerate(found) if frame is None} <= reported
                for name in segment_files(tmp_path):
                    name.unlink()
                for p, data in state.items():
                    p.write_bytes(data)

    def test_a_damaged_end_is_cut_off_and_its_seqs_are_never_used_again(self, tmp_path: Path) -> None:
        self.fill(tmp_path, 6)
        path = open_segment(tmp_path)
        path.write_bytes(path.read_bytes()[:-5])
        journal = make(tmp_path)
        assert journal.torn == 1
        assert journal.loss() == (LOST_JOURNAL, 6, RESERVE)
        assert journal.next_seq == RESERVE + 1
        assert waiting(journal) == [1, 2, 3, 4, 5]
        again = make(tmp_path)  # nothing was written in between
        assert (again.next_seq, again.torn) == (RESERVE + 1, 0)
        assert put(again) == RESERVE + 1
        third = make(tmp_path)
        assert waiting(third) == [1, 2, 3, 4, 5, RESERVE + 1]
        assert third.loss() == (LOST_JOURNAL, 6, RESERVE)
        assert third.corrupt == 0

    def test_rubbish_in_the_middle_does_not_hide_what_follows(self, tmp_path: Path) -> None:
        self.fill(tmp_path, 10)
        path = open_segment(tmp_path)
        data = bytearray(path.read_bytes())
        start = len(MAGIC) + sum(HEAD + len(frame_of(seq)) for seq in (1, 2))
        data[start : start + 30] = bytes(range(30))
        path.write_bytes(data)
        journal = make(tmp_path)
        assert journal.corrupt == 1
        assert journal.loss() == (LOST_CORRUPT, 3, 3)
        assert [seq for seq in range(1, 11) if get(journal, seq) is None] == [3]
        assert journal.next_seq == 11

    def test_a_record_is_never_taken_for_another(self, tmp_path: Path, seed: int) -> None:
        """Frames that contain whole records must not be mistaken for the records they imitate."""
        journal = make(tmp_path)
        for _ in range(4):
            put(journal)
        inner = open_segment(tmp_path).read_bytes()[len(MAGIC) :]
        journal.append(inner, len(inner), 2)
        put(journal)
        path = open_segment(tmp_path)
        data = bytearray(path.read_bytes())
        data[len(MAGIC) + len(inner) + 2] ^= 0x40  # the imitating record's length
        path.write_bytes(data)
        again = make(tmp_path)
        assert get(again, 5) is None
        assert get(again, 6) == frame_of(6)

    @pytest.mark.parametrize("seeds", range(5))
    def test_random_damage_never_gives_a_wrong_frame(self, tmp_path: Path, seed: int, seeds: int) -> None:
        random = Random(seed + seeds)
        self.fill(tmp_path, 40)
        for path in segment_files(tmp_path):
            data = bytearray(path.read_bytes())
            for _ in range(random.randrange(4)):
                at = random.randrange(len(data))
                data[at : at + random.randrange(9)] = random.randbytes(random.randrange(9))
            path.write_bytes(data)
        journal = make(tmp_path)
        for seq in random.sample(range(1, 41), 40):
            assert get(journal, seq) in (None, frame_of(seq))
        assert journal.next_seq > 40
        assert get(journal, put(journal)) is not None


class TestLoss:
    def test_a_lost_journal_goes_on_above_its_ceiling(self, tmp_path: Path) -> None:
        journal = make(tmp_path)
        for _ in range(20):
            put(journal)
        for path in segment_files(tmp_path):
            path.unlink()
        again = make(tmp_path)
        assert again.next_seq >= RESERVE + 1
        assert again.loss() == (LOST_JOURNAL, 1, again.next_seq - 1)
        assert (again.oldest, again.newest) == (again.next_seq, again.next_seq - 1)
        put(again)
        assert make(tmp_path).next_seq == again.next_seq

    def test_a_lost_end_goes_on_above_the_ceiling(self, tmp_path: Path) -> None:
        journal = make(tmp_path)
        while journal._index.count < 3:
            put(journal)
        used = journal.next_seq
        open_segment(tmp_path).unlink()
        again = make(tmp_path)
        assert again.next_seq > used
        reason, first, last = again.loss()
        assert (reason, last) == (LOST_JOURNAL, again.next_seq - 1)
        assert first < used
        assert make(tmp_path).next_seq == again.next_seq

    def test_without_its_state_it_goes_on_from_its_segments(self, tmp_path: Path) -> None:
        journal = make(tmp_path)
        put(journal)
        for path in tmp_path.glob("journal.*"):
            path.write_bytes(b"rubbish")
        again = make(tmp_path)
        assert again.next_seq > 2
        assert waiting(again) == [1]
        assert put(again) == again.newest
        assert make(tmp_path).next_seq == again.next_seq

    def test_with_nothing_left_it_goes_on_far_above(self, tmp_path: Path) -> None:
        journal = make(tmp_path)
        put(journal)
        for path in [*segment_files(tmp_path), *tmp_path.glob("journal.*")]:
            path.write_bytes(b"rubbish") if path.parent == tmp_path else path.unlink()
        assert make(tmp_path).next_seq > BLIND_FLOOR

    def test_one_damaged_copy_of_the_state_may_have_been_the_newer(self, tmp_path: Path) -> None:
        journal = make(tmp_path)
        for _ in range(RESERVE + 20):
            put(journal, length=1)
        used = journal.next_seq
        newest = max(tmp_path.glob("journal.*"), key=lambda p: p.read_bytes()[4:8][::-1] if p.is_file() else b"")
        newest.write_bytes(b"rubbish")
        for path in segment_files(tmp_path):
            path.unlink()
        assert make(tmp_path).next_seq >= used


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    make(tmp_path)
    strange = tmp_path / "journal" / "notes.txt"
    strange.write_text("kept")
    make(tmp_path)
    assert strange.read_text() == "kept"
    assert os.listdir(tmp_path / "journal") == ["notes.txt"]
