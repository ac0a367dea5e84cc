"""The store on real SQLite files: what is removed when, and what is said of what was not sent by then."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from wayside_gateway.retention import Limits, retain, thin_anchors, used_bytes
from wayside_gateway.rows import Anchor, Batch, NewRecord, NodeRow, Parked
from wayside_gateway.store import Store

NODE = 1001


def rec(seq: int, node: int = NODE, body: bytes | None = None, received_ms: int = 1_000) -> NewRecord:
    return (node, seq, 0, received_ms, body if body is not None else b"body %d" % seq)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "s.sqlite")
    yield opened
    opened.close()


# -- retention -------------------------------------------------------------------------------------------

BIG = Limits(max_bytes=1 << 40, max_age_ms=1_000)


def test_age_removes_only_what_every_uplink_has(store: Store) -> None:
    store.set_uplinks(["a", "b"])
    store.commit(Batch(records=[rec(n, received_ms=n) for n in range(1, 11)]))
    ids = [row.id for row in store.after(0, 99)]
    store.advance("a", ids[7])
    store.advance("b", ids[4], park=[Parked(ids[1], "time", 0)])
    assert retain(store, BIG, now_ms=5_000).delivered == 4
    assert [row.seq for row in store.after(0, 99)] == [2, 6, 7, 8, 9, 10]
    store.set_uplinks(["a"])  # b is off: it holds nothing back
    assert retain(store, BIG, now_ms=5_000).delivered == 4
    assert [row.seq for row in store.after(0, 99)] == [9, 10]
    assert store.lost() == []


def test_what_is_put_aside_at_the_front_holds_back_nothing_else(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wayside_gateway.retention.STEP_ROWS", 10)
    store.set_uplinks(["a"])
    store.commit(Batch(records=[rec(n, received_ms=n, body=bytes(900)) for n in range(1, 401)]))
    ids = [row.id for row in store.after(0, 999)]
    store.advance("a", ids[398], park=[Parked(number, "time", 0) for number in ids[:40]])
    assert retain(store, Limits(used_bytes(store) // 2, 1 << 50), now_ms=200).lost == 0
    assert [row.seq for row in store.after(0, 999)][:40] == list(range(1, 41))
    assert retain(store, BIG, now_ms=5_000).lost == 0
    assert [row.seq for row in store.after(0, 999)] == [*range(1, 41), 400]


def test_retention_by_age_waits_for_a_clock(store: Store) -> None:
    records = [rec(1, received_ms=1), rec(2, received_ms=0), rec(3, received_ms=9_900), rec(4, received_ms=9_901)]
    store.commit(Batch(records=records))
    assert retain(store, BIG, now_ms=10_000, believed=False).delivered == 0
    assert retain(store, BIG, now_ms=10_000).delivered == 1  # 2 has no time of its own and stands before 3
    assert retain(store, BIG, now_ms=12_000).delivered == 2  # never the newest


def test_ids_are_not_given_twice_after_retention(tmp_path: Path) -> None:
    store = Store(tmp_path / "s.sqlite")
    store.set_uplinks(["a"])
    store.commit(Batch(records=[rec(n, received_ms=n) for n in range(1, 6)]))
    newest = store.newest_id()
    store.advance("a", newest)
    retain(store, BIG, now_ms=1 << 40)
    store.close()
    store = Store(tmp_path / "s.sqlite")
    store.commit(Batch(records=[rec(6)]))
    assert store.newest_id() > newest
    assert [row.seq for row in store.after(store.cursor("a"), 9)] == [6]
    assert store.commit(Batch(records=[rec(3)])).duplicates == 1  # removed, but known
    store.close()


def test_the_disk_limit_takes_the_sent_first_and_then_says_what_is_lost(store: Store) -> None:
    store.set_uplinks(["a"])
    body = bytes(800)
    for start in range(0, 6000, 500):
        store.commit(Batch(records=[rec(n, body=body) for n in range(start, start + 500)]))
    ids = [row.id for row in store.after(0, 5000)]
    store.advance("a", ids[2000])
    limit = used_bytes(store) * 3 // 4
    removed = retain(store, Limits(limit, 1 << 50), now_ms=77)
    assert removed.lost == 0
    assert removed.delivered > 1000
    limit = used_bytes(store) // 4
    removed = retain(store, Limits(limit, 1 << 50), now_ms=78)
    assert removed.lost > 1000
    assert used_bytes(store) <= limit
    lost = store.lost()
    assert {(row.uplink, row.reason) for row in lost} == {("a", "disk_limit")}
    gone = {seq for row in lost for seq in range(row.first, row.last + 1)}
    assert len(gone) == removed.lost
    left = {row.seq for row in store.after(store.cursor("a"), 5000)} | {
        row.seq for row in store.after(store.after(store.cursor("a"), 5000)[-1].id, 5000)
    }
    assert gone | left == set(range(2001, 6000))


def test_old_anchors_are_thinned_by_the_day(store: Store) -> None:
    hour, day = 3_600_000, 86_400_000
    anchors = [
        Anchor(NODE, boot, n * hour, boot * 60 * day + n * hour, 1, None, None, 1)
        for boot in (1, 2)
        for n in range(240)
    ]
    with store.writing() as db:  # as ten days of each boot leave them
        db.executemany("INSERT INTO anchor VALUES (?, ?, ?, ?, ?, ?, ?, ?)", anchors)
    store.commit(Batch(nodes={NODE: NodeRow(NODE, 1, 1, 2, 0, 0, 1, 1, 0, 1, "", "", 0, "")}))
    now_ms = 2 * 60 * day + 240 * hour
    thin_anchors(store, Limits(1, 400 * day), now_ms)
    first, second = store.anchors(NODE, 1), store.anchors(NODE, 2)
    assert [anchor.uptime_ms // hour for anchor in first] == [h for n in range(10) for h in (24 * n, 24 * n + 23)]
    assert [anchor.uptime_ms // hour for anchor in second][:6] == [0, 23, 24, 47, 48, 71]
    assert len(second) == 6 + 7 * 24
    thin_anchors(store, Limits(1, 20 * day), now_ms)
    assert store.anchors(NODE, 1) == []
    assert len(store.anchors(NODE, 2)) == 6 + 7 * 24
