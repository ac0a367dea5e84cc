"""Small values on flash: any single torn or damaged write leaves the last good one, never a mixture."""

import json
import struct
from pathlib import Path
from random import Random

import pytest

import micropython_port
from wayside_node import files, identity
from wayside_node.slots import VALUE_MAX, SlotError, Slots

KEY = bytes(range(16))


def values(count: int) -> list[bytes]:
    return [bytes([i]) * (10 + i * 3 % 17) for i in range(1, count + 1)]


def test_nothing_was_ever_stored(tmp_path: Path) -> None:
    slots = Slots(str(tmp_path), "x")
    assert (slots.load(), slots.damaged, slots.generation) == (None, 0, 0)


def test_the_last_value_is_in_force_after_any_number_of_writes(tmp_path: Path) -> None:
    slots = Slots(str(tmp_path), "x")
    for i, value in enumerate(values(9)):
        slots.save(value)
        again = Slots(str(tmp_path), "x")
        assert (again.load(), again.generation, again.damaged) == (value, i + 1, 0)
        if i % 2:
            slots = again
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.0", "x.1"]


@pytest.mark.parametrize("length", [0, 1, VALUE_MAX])
def test_lengths_up_to_the_limit(tmp_path: Path, length: int) -> None:
    Slots(str(tmp_path), "x").save(b"v" * length)
    assert Slots(str(tmp_path), "x").load() == b"v" * length


def test_a_longer_value_is_refused_and_the_old_one_stays(tmp_path: Path) -> None:
    slots = Slots(str(tmp_path), "x")
    slots.save(b"old")
    with pytest.raises(SlotError) as caught:
        slots.save(b"v" * (VALUE_MAX + 1))
    assert caught.value.reason == "slot_too_long"
    assert Slots(str(tmp_path), "x").load() == b"old"


@pytest.mark.parametrize("writes", [1, 2, 3])
def test_a_write_cut_at_any_byte_leaves_the_value_before(tmp_path: Path, writes: int) -> None:
    """What a file system without atomic syncs would leave: the first bytes of the new file."""
    slots = Slots(str(tmp_path), "x")
    expected: bytes | None = None
    for value in values(writes):
        before = {path: path.read_bytes() for path in tmp_path.iterdir()}
        slots.save(value)
        (written,) = [p for p in tmp_path.iterdir() if p.read_bytes() != before.get(p)]
        whole = written.read_bytes()
        for cut in range(len(whole)):
            written.write_bytes(whole[:cut])
            assert Slots(str(tmp_path), "x").load() == expected
        written.write_bytes(whole)
        expected = value


def test_any_bit_wrong_in_the_newer_leaves_the_older(tmp_path: Path) -> None:
    slots = Slots(str(tmp_path), "x")
    slots.save(b"older")
    slots.save(b"newer")
    newer = tmp_path / "x.1"
    if b"newer" not in newer.read_bytes():
        newer = tmp_path / "x.0"
    whole = newer.read_bytes()
    for at in range(len(whole)):
        for bit in range(8):
            newer.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :])
            again = Slots(str(tmp_path), "x")
            assert (again.load(), again.damaged) == (b"older", 1)


def test_both_wrong_is_told_from_never_written(tmp_path: Path) -> None:
    slots = Slots(str(tmp_path), "x")
    slots.save(b"a")
    slots.save(b"b")
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[::-1])
    again = Slots(str(tmp_path), "x")
    assert (again.load(), again.damaged) == (None, 2)
    again.save(b"c")
    assert Slots(str(tmp_path), "x").load() == b"c"


def test_a_flash_that_forgets_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slots = Slots(str(tmp_path), "x")
    slots.save(b"old")

    def forget(f: object) -> None:
        path = Path(f.name)  # type: ignore[attr-defined]
        f.flush()  # type: ignore[attr-defined]
        path.write_bytes(b"\xff" * 20)

    monkeypatch.setattr(files, "sync", forget)
    with pytest.raises(SlotError) as caught:
        slots.save(b"new")
    assert caught.value.reason == "slot_verify"
    assert Slots(str(tmp_path), "x").load() == b"old"


class TestIdentity:
    def test_a_node_knows_who_it_is(self, tmp_path: Path) -> None:
        assert identity.load(str(tmp_path)) is None
        identity.save(str(tmp_path), 4_000_000_001, KEY)
        assert identity.load(str(tmp_path)) == (4_000_000_001, KEY)
        identity.save(str(tmp_path), 7, KEY[::-1])
        assert identity.load(str(tmp_path)) == (7, KEY[::-1])

    def test_a_wrong_key_is_refused(self, tmp_path: Path) -> None:
        for node, key in ((1, b"short"), (-1, KEY), (1 << 32, KEY)):
            with pytest.raises(ValueError, match="identity"):
                identity.save(str(tmp_path), node, key)


class TestBootCounter:
    def test_counts_boots(self, tmp_path: Path) -> None:
        assert [identity.next_boot(str(tmp_path)) for _ in range(5)] == [1, 2, 3, 4, 5]

    @pytest.mark.parametrize("copy", ["boot.0", "boot.1"])
    def test_no_boot_comes_twice_when_one_copy_is_damaged(self, tmp_path: Path, copy: str) -> None:
        seen = [identity.next_boot(str(tmp_path)) for _ in range(4)]
        for _ in range(3):
            (tmp_path / copy).write_bytes(b"rubbish")
            seen.append(identity.next_boot(str(tmp_path)))
        assert seen == sorted(set(seen))

    def test_a_lost_counter_goes_on_above_all_that_was_counted(self, tmp_path: Path) -> None:
        identity.next_boot(str(tmp_path))
        for path in tmp_path.iterdir():
            path.write_bytes(b"rubbish")
        boot = identity.next_boot(str(tmp_path))
        assert boot >= identity.BOOT_LOST
        assert identity.next_boot(str(tmp_path)) == boot + 1

    def test_a_first_boot_cut_before_its_first_byte_is_still_the_first(self, tmp_path: Path) -> None:
        (tmp_path / "boot.0").write_bytes(b"")
        assert identity.next_boot(str(tmp_path)) == 1


@micropython_port.needs_micropython
def test_both_runtimes_read_what_the_other_wrote(tmp_path: Path, seed: int) -> None:
    random = Random(seed)
    value = random.randbytes(50)
    Slots(str(tmp_path), "mine").save(value)
    boot = identity.next_boot(str(tmp_path))
    script = f"""
import json
from binascii import hexlify
from wayside_node import identity
from wayside_node.slots import Slots
root = {json.dumps(str(tmp_path))}
value = Slots(root, "mine").load()
Slots(root, "theirs").save(value + b"!")
print(json.dumps([hexlify(value).decode(), identity.next_boot(root)]))
"""
    assert micropython_port.run(script) == [value.hex(), boot + 1]
    assert Slots(str(tmp_path), "theirs").load() == value + b"!"
    assert struct.unpack("<I", Slots(str(tmp_path), "boot").load() or b"")[0] == boot + 1
