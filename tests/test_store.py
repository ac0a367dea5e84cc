"""The store on real SQLite files: each record once, held ranges, durability, and its errors."""

import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from wayside_gateway.errors import StoreError
from wayside_gateway.ranges import RangeSet, ranges_of
from wayside_gateway.rows import Anchor, AnswerRow, Batch, DefinitionRow, Lost, NewRecord, NodeRow, Parked
from wayside_gateway.store import Store

NODE = 1001


def rec(seq: int, node: int = NODE, body: bytes | None = None, received_ms: int = 1_000) -> NewRecord:
    return (node, seq, 0, received_ms, body if body is not None else b"body %d" % seq)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "s.sqlite")
    yield opened
    opened.close()


# -- ranges ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_ranges_agree_with_a_plain_set(seed: int) -> None:
    rng = random.Random(seed)
    ranges, plain = RangeSet(), set[int]()
    written: dict[int, int] = {}
    for _ in range(400):
        if rng.random() < 0.7:
            value = rng.randrange(120)
            assert ranges.add(value) == (value not in plain)
            plain.add(value)
        else:
            first = rng.randrange(120)
            last = first + rng.randrange(-1, 9)
            ranges.add_range(first, last)
            plain.update(range(first, last + 1))
        for first_, last_ in ranges.changed.items():
            if last_ is None:
                written.pop(first_, None)
            else:
                written[first_] = last_
        ranges.changed.clear()
        assert sorted(written.items()) == list(ranges) == ranges_of(plain)
    assert ranges.count() == len(plain)
    low, high = 30, 90
    inside = {v for a, b in ranges.within(low, high) for v in range(a, b + 1)}
    missing = {v for a, b in ranges.missing(low, high) for v in range(a, b + 1)}
    assert inside == {v for v in plain if low <= v <= high}
    assert missing == set(range(low, high + 1)) - plain


def test_ranges_of_repeated_values() -> None:
    assert ranges_of([5, 3, 4, 4, 9, 0]) == [(0, 0), (3, 5), (9, 9)]
    assert ranges_of([]) == []


# -- commit ----------------------------------------------------------------------------------------------


def test_a_record_is_stored_once(store: Store) -> None:
    first = store.commit(Batch(records=[rec(1), rec(2), rec(2), rec(3)]))
    assert (first.stored, first.duplicates, first.conflicts) == (3, 1, [])
    again = store.commit(Batch(records=[rec(2), rec(4)]))
    assert (again.stored, again.duplicates) == (1, 1)
    rows = store.after(0, 100)
    assert [(row.node, row.seq, row.body) for row in rows] == [(NODE, n, b"body %d" % n) for n in (1, 2, 3, 4)]
    assert [row.id for row in rows] == sorted({row.id for row in rows})
    assert list(store.held(NODE)) == [(1, 4)]


def test_held_ranges_survive_and_close_their_gaps(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    store = Store(path)
    store.commit(Batch(records=[rec(n) for n in (1, 2, 5, 6, 9)]))
    store.close()
    store = Store(path)
    assert list(store.held(NODE)) == store.held_within(NODE, 0, 99) == [(1, 2), (5, 6), (9, 9)]
    store.commit(Batch(records=[rec(n) for n in (3, 4, 7, 8)]))
    assert list(store.held(NODE)) == [(1, 9)]
    assert store.commit(Batch(records=[rec(8)])).duplicates == 1
    store.close()


@pytest.mark.parametrize("seed", range(5))
def test_any_order_of_records_ends_in_each_once(store: Store, seed: int) -> None:
    rng = random.Random(seed)
    stream = [rec(n, node) for node in (1, 2, 3) for n in range(150)] * 2
    rng.shuffle(stream)
    while stream:
        size = rng.choice((1, 7, 40, 300))
        store.commit(Batch(records=stream[:size]))
        del stream[:size]
    rows = store.after(0, 5000)
    assert sorted((row.node, row.seq) for row in rows) == [(node, n) for node in (1, 2, 3) for n in range(150)]
    assert all(list(store.held(node)) == [(0, 149)] for node in (1, 2, 3))


def test_a_stranger_under_a_known_number_is_kept_out_and_set_aside(store: Store) -> None:
    store.commit(Batch(records=[rec(1, body=b"mine")]))
    outcome = store.commit(Batch(records=[rec(1, body=b"other"), rec(1, body=b"mine"), rec(2)]))
    assert (outcome.stored, outcome.duplicates, outcome.conflicts) == (1, 1, [(NODE, 1)])
    assert not outcome.refused
    row = store.record(NODE, 1)
    assert row is not None
    assert row.body == b"mine"
    assert store.read("SELECT node, seq, body FROM conflict") == [(NODE, 1, b"other")]


def test_strangers_beyond_the_limit_are_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wayside_gateway.commit.CONFLICTS_MAX", 2)
    store.commit(Batch(records=[rec(1)]))
    strangers = [rec(1, body=b"%d" % n) for n in range(4)]
    assert store.commit(Batch(records=strangers)).refused == {(NODE, 1)}
    assert not store.commit(Batch(records=strangers[:2])).refused
    assert store.read("SELECT count(*) FROM conflict") == [(2,)]


def test_a_failed_commit_changes_nothing(store: Store) -> None:
    store.commit(Batch(records=[rec(1)]))
    bad = Batch(records=[rec(2), rec(3)], anchors=[Anchor(NODE, 1, 1, "x", 1, None, None, None)])  # type: ignore[arg-type]
    with pytest.raises(StoreError):
        store.commit(bad)
    assert list(store.held(NODE)) == store.held_within(NODE, 0, 9) == [(1, 1)]
    assert store.commit(Batch(records=[rec(2)])).stored == 1
    assert [row.seq for row in store.after(0, 9)] == [1, 2]


def test_a_store_whose_index_knows_more_than_its_ranges_still_stores_once(tmp_path: Path) -> None:
    store = Store(tmp_path / "s.sqlite")
    store.commit(Batch(records=[rec(n) for n in range(10)]))
    store.close()
    with sqlite3.connect(tmp_path / "s.sqlite") as db:
        db.execute("DELETE FROM held")
    db.close()
    store = Store(tmp_path / "s.sqlite")
    outcome = store.commit(Batch(records=[rec(n) for n in range(12)]))
    assert (outcome.stored, outcome.duplicates) == (2, 10)
    assert list(store.held(NODE)) == [(0, 11)]
    store.close()


def test_node_state_anchors_and_answers_go_with_their_batch(store: Store) -> None:
    number = store.add_command(NODE, 1, 5, 7)
    row = NodeRow(NODE, 10, 10, 3, 1, 1024, 1, 9, 0, 2, "1.0", "sim", 1, "/dev/x")
    batch = Batch(
        records=[rec(1)],
        nodes={NODE: row},
        anchors=[Anchor(NODE, 3, 500, 10_500, 300, None, None, 9)],
        definitions=[DefinitionRow(NODE, 2, 1, b"set")],
        answers=[AnswerRow(number, 0, "ok", 99)],
    )
    store.commit(batch)
    assert store.node(NODE) == row
    store.commit(Batch(nodes={NODE: row._replace(hello_ms=20, first_seen_ms=20, boot=4, downlink_ceiling=512)}))
    assert store.nodes() == [row._replace(hello_ms=20, boot=4)]  # first seen stays, a ceiling never falls
    assert [anchor.utc_ms for anchor in store.anchors(NODE, 3)] == [10_500]
    assert store.definition(NODE, 2, 2) == b"set"
    assert store.definition(NODE, 2, 1) is None  # in force behind itself only
    assert store.commands(waiting=True) == []
    assert store.commands(NODE)[0].result == "ok"


def test_a_boot_keeps_its_first_and_last_anchor_and_about_one_an_hour(store: Store) -> None:
    for minute in range(0, 600, 10):
        store.commit(Batch(anchors=[Anchor(NODE, 1, minute * 60_000, minute * 60_000, 1, None, None, 1)]))
    minutes = [anchor.uptime_ms // 60_000 for anchor in store.anchors(NODE)]
    assert minutes[0] == 0
    assert minutes[-1] == 590
    assert 9 <= len(minutes) <= 12
    assert all(b - a <= 80 for a, b in pairwise(minutes))


# -- uplinks ---------------------------------------------------------------------------------------------


def test_a_cursor_moves_on_with_what_it_parks(store: Store) -> None:
    store.set_uplinks(["mqtt"])
    assert store.cursor("mqtt") == 0
    store.commit(Batch(records=[rec(n) for n in range(1, 6)]))
    ids = [row.id for row in store.after(0, 10)]
    store.advance("mqtt", ids[3], park=[Parked(ids[1], "time", 5), Parked(ids[2], "set", 5)])
    store.advance("mqtt", ids[1], unpark=[ids[1]], lost=[Lost(NODE, "mqtt", 2, 2, "refused", 6)])
    assert store.cursor("mqtt") == ids[3]
    assert store.parked("mqtt") == [Parked(ids[2], "set", 5)]
    assert store.rows([ids[2], 999]) == [store.after(0, 10)[2]]
    assert store.lost(NODE) == [Lost(NODE, "mqtt", 2, 2, "refused", 6)]
    assert [row.id for row in store.after(store.cursor("mqtt"), 10)] == ids[4:]


# -- errors ----------------------------------------------------------------------------------------------


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    path.write_bytes(b"this is not SQLite" * 100)
    with pytest.raises(StoreError, match="restore a backup") as caught:
        Store(path)
    assert caught.value.reason == "corrupt"


def test_another_programs_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE theirs (x)")
    db.close()
    with pytest.raises(StoreError, match="no Wayside store"):
        Store(path)


def test_a_newer_store_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    Store(path).close()
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(StoreError, match="newer Wayside") as caught:
        Store(path)
    assert caught.value.reason == "newer_schema"


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError) as caught:
        Store(tmp_path / "nowhere" / "s.sqlite")
    assert caught.value.reason == "missing"


def test_a_full_disk_fails_the_commit_and_the_store_goes_on_after(store: Store) -> None:
    store.commit(Batch(records=[rec(0)]))
    pages = store.read("PRAGMA page_count")[0][0]
    store._writer.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StoreError, match="disk is full") as caught:
        store.commit(Batch(records=[rec(n, body=bytes(900)) for n in range(1, 400)]))
    assert caught.value.reason == "disk_full"
    assert list(store.held(NODE)) == [(0, 0)]
    store._writer.execute("PRAGMA max_page_count = 1000000")
    assert store.commit(Batch(records=[rec(n) for n in range(1, 400)])).stored == 399


def test_damage_in_the_file_is_named_at_commit(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    store = Store(path)
    store.commit(Batch(records=[rec(n, body=bytes(500)) for n in range(500)]))
    store.close()
    raw = bytearray(path.read_bytes())
    for at in range(8192, len(raw)):
        raw[at] = 0x5A
    path.write_bytes(raw)
    with pytest.raises(StoreError) as caught:
        opened = Store(path)
        try:
            for n in range(600, 700):
                opened.commit(Batch(records=[rec(n)]))
        finally:
            opened.close()
    assert caught.value.reason == "corrupt"


def test_a_reader_sees_a_store_that_is_being_written(store: Store) -> None:
    store.commit(Batch(records=[rec(1)]))
    other = Store(store.path, read_only=True)
    store.commit(Batch(records=[rec(2)]))
    assert [row.seq for row in other.after(0, 9)] == [1, 2]
    with pytest.raises(StoreError) as caught:
        other.commit(Batch(records=[rec(3)]))
    assert caught.value.reason == "read_only"
    other.close()


# -- durability ------------------------------------------------------------------------------------------

_WRITER = """
import sys
from wayside_gateway.rows import Batch
from wayside_gateway.store import Store
from pathlib import Path
store = Store(Path(sys.argv[1]))
n = int(sys.argv[2])
while True:
    store.commit(Batch(records=[(1001, seq, 0, 1, b"%d" % seq) for seq in range(n, n + 20)]))
    n += 20
    print(n - 1, flush=True)
"""


def test_what_was_committed_survives_kill(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    rng = random.Random(7)
    start = 0
    for _ in range(4):
        with subprocess.Popen([sys.executable, "-c", _WRITER, str(path), str(start)], stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            committed = int(child.stdout.readline())
            time.sleep(rng.uniform(0.02, 0.15))
            child.kill()
            committed = max([committed, *(int(line) for line in child.stdout.read().split(b"\n")[:-1])])
        store = Store(path)
        held = list(store.held(NODE))
        assert len(held) == 1
        assert held[0][0] == 0
        assert held[0][1] >= committed
        seqs = [row[0] for row in store.read("SELECT seq FROM record ORDER BY id")]
        assert seqs == list(range(held[0][1] + 1))
        assert store.read("PRAGMA integrity_check") == [("ok",)]
        store.close()
        start = held[0][1] + 1
