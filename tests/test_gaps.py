"""What is missing and why, told from the store alone."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from wayside_gateway.gaps import find
from wayside_gateway.rows import Anchor, Batch, Lost, NodeRow, Parked, Refusal
from wayside_gateway.store import Store
from wayside_protocol.cbor import Writer
from wayside_protocol.record import encode_samples

NODE = 1001
T = 1_790_000_000


def body(t: int | tuple[int, int]) -> bytes:
    writer = Writer(bytearray(200))
    encode_samples(writer, t, 60, 1, 1, b"\x10", 1)
    return writer.done()


def hello(oldest: int, newest: int) -> NodeRow:
    return NodeRow(NODE, 1, 1, 1, 0, 0, oldest, newest, 0, 1, "1.0", "sim", 1, "tty")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "s.sqlite")
    yield opened
    opened.close()


def gaps(store: Store) -> list[tuple[int, int, str]]:
    return [(gap.first, gap.last, gap.reason) for gap in find(store, {}, NODE).nodes[0].gaps]


def put(store: Store, *seqs: int) -> None:
    store.commit(Batch(records=[(NODE, seq, 0, (T + 60 * seq) * 1000, body(T + 60 * seq)) for seq in seqs]))


def test_nothing_is_missing_of_an_unknown_node_or_a_whole_journal(store: Store) -> None:
    assert gaps(store) == []
    put(store, 5, 6, 7)  # what was before 5 went to another gateway
    assert gaps(store) == []


def test_a_hole_waits_until_the_node_says_otherwise(store: Store) -> None:
    put(store, 1, 2, 6, 7)
    assert gaps(store) == [(3, 5, "waiting")]
    store.commit(Batch(nodes={NODE: hello(5, 9)}))
    assert gaps(store) == [(3, 4, "elsewhere"), (5, 5, "waiting"), (8, 9, "waiting")]
    store.commit(Batch(lost=[Lost(NODE, "", 3, 3, "corrupt", 0)], records=[(NODE, 8, 0, 0, b"x")]))
    assert gaps(store) == [(3, 3, "corrupt"), (4, 4, "elsewhere"), (5, 5, "waiting"), (9, 9, "waiting")]
    report = find(store, {NODE: "gate"})
    assert (report.nodes[0].missing, report.nodes[0].waiting, report.nodes[0].name) == (2, 2, "gate")


def test_losses_that_overlap_each_other_and_what_is_held(store: Store) -> None:
    put(store, 10, 11, 20)
    lost = [Lost(NODE, "", 1, 11, "evicted", 0), Lost(NODE, "", 5, 15, "journal_lost", 0)]
    store.commit(Batch(lost=lost, nodes={NODE: hello(16, 20)}))
    assert gaps(store) == [(1, 9, "evicted"), (12, 15, "journal_lost"), (16, 19, "waiting")]


def test_what_came_after_all_is_no_gap(store: Store) -> None:
    store.commit(Batch(lost=[Lost(NODE, "", 1, 3, "evicted", 0)]))
    assert gaps(store) == [(1, 3, "evicted")]
    put(store, 1, 2, 3)
    assert gaps(store) == []


def test_a_gap_has_the_times_of_its_neighbours(store: Store) -> None:
    anchors = [
        Anchor(NODE, 4, uptime_ms, T * 1000 + uptime_ms, 10, None, None, newest)
        for uptime_ms, newest in ((0, 0), (900_000, 9))
    ]
    records = [(NODE, 1, 0, 0, body(T)), (NODE, 3, 0, 0, body((4, 600))), (NODE, 5, 3, 7000, b"odd")]
    store.commit(Batch(records=records, anchors=anchors, nodes={NODE: hello(1, 5)._replace(boot=4)}))
    first, second = find(store, {}, NODE).nodes[0].gaps
    assert (first.after, first.before) == (T, T + 600)
    assert (second.after, second.before) == (T + 600, 7.0)  # no time in it: when it came


def test_the_report_as_json(store: Store) -> None:
    put(store, 1, 2, 5)
    ids = [row.id for row in store.after(0, 9)]
    store.advance(
        "mqtt", ids[2], park=[Parked(ids[0], "time", 4000)], lost=[Lost(NODE, "mqtt", 2, 2, "disk_limit", 5000)]
    )
    store.save_refusals([Refusal(9, "unknown_node", 3, 1000, 2000, "tty")], 10)
    store.commit(Batch(records=[(NODE, 2, 0, 9000, b"another's")]))
    report = find(store, {NODE: "gate", 1002: "silent"}).as_json()
    assert json.loads(json.dumps(report)) == report
    assert report == {
        "missing": 0,
        "waiting": 2,
        "nodes": [
            {
                "node": NODE,
                "name": "gate",
                "missing": 0,
                "waiting": 2,
                "gaps": [{"first": 3, "last": 4, "count": 2, "reason": "waiting", "after": T + 120, "before": T + 300}],
            },
            {"node": 1002, "name": "silent", "missing": 0, "waiting": 0, "gaps": []},
        ],
        "not_sent": [
            {"node": NODE, "uplink": "mqtt", "first": 2, "last": 2, "count": 1, "reason": "disk_limit", "at": 5.0}
        ],
        "behind": [],
        "aside": [{"uplink": "mqtt", "reason": "time", "count": 1, "since": 4.0}],
        "conflicting": [{"node": NODE, "count": 1, "first": 2, "last": 2, "since": 9.0}],
        "refused": [{"node": 9, "reason": "unknown_node", "frames": 3, "first": 1.0, "last": 2.0, "link": "tty"}],
    }


@pytest.mark.parametrize("running", [True, False])
def test_it_works_on_a_store_that_is_open_elsewhere_or_closed(tmp_path: Path, running: bool) -> None:
    store = Store(tmp_path / "s.sqlite")
    put(store, 1, 3)
    if not running:
        store.close()
    reader = Store(tmp_path / "s.sqlite", read_only=True)
    assert gaps(reader) == [(2, 2, "waiting")]
    reader.close()
    store.close()


def test_what_an_uplink_has_not_sent_yet_is_told_with_its_reason(store: Store) -> None:
    put(store, 1, 2, 3)
    store.set_uplinks(["mqtt"])
    ids = [row.id for row in store.after(0, 9)]
    store.advance("mqtt", ids[0])
    with store.writing() as db:
        db.execute("INSERT INTO uplink VALUES ('mqtt', 0, 0, 'down', 'no route', 0)")
    told = find(store, {NODE: "gate"}).behind
    assert [(uplink, count, state, why) for uplink, count, _, state, why in told] == [("mqtt", 2, "down", "no route")]
    assert find(store, {}, node=NODE + 1).behind == []
    store.advance("mqtt", ids[2])
    assert find(store, {NODE: "gate"}).behind == []
