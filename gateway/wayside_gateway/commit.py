"""What one transaction of the store writes. The caller begins it, and commits it or rolls it back."""

import sqlite3
from collections.abc import Iterable

from wayside_gateway.ranges import RangeSet
from wayside_gateway.rows import Anchor, Batch, Lost, NewRecord, Outcome

INSERT_SIZES = (128, 16, 1)
"""Rows of one INSERT. One step of SQLite for many rows: each step gives up the interpreter's lock, and under
load it takes up to 5 ms to get it back."""
CONFLICTS_MAX = 1000
"""Strangers' records kept for each node: enough to see whose they are, bounded against a forger with the key."""
ANCHOR_SPACING_MS = 3_600_000
"""A boot keeps its first and last anchor and one about every hour between: rates change slowly, disks are small."""

_INSERTS = {
    size: "INSERT INTO record (id, node, seq, kind, received_ms, body) VALUES "  # noqa: S608 - only placeholders
    + ", ".join(["(?, ?, ?, ?, ?, ?)"] * size)
    + " ON CONFLICT (node, seq) DO NOTHING"
    for size in INSERT_SIZES
}
_NODE_UPSERT = """INSERT INTO node (node, first_seen_ms, hello_ms, boot, session_n, downlink_ceiling, oldest, newest,
    evicted, set_id, firmware, board, config, link) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET hello_ms = excluded.hello_ms, boot = excluded.boot, session_n = excluded.session_n,
    downlink_ceiling = max(downlink_ceiling, excluded.downlink_ceiling), oldest = excluded.oldest,
    newest = excluded.newest, evicted = excluded.evicted, set_id = excluded.set_id, firmware = excluded.firmware,
    board = excluded.board, config = excluded.config, link = excluded.link"""


def write(db: sqlite3.Connection, batch: Batch, held: dict[int, RangeSet], next_id: int) -> Outcome:
    """Write the batch; `held` is brought up to date with it. Raises sqlite3.Error, `held` is then to be reloaded."""
    outcome = Outcome()
    if batch.records:
        _write_records(db, batch.records, held, next_id, outcome)
    for row in batch.nodes.values():
        db.execute(_NODE_UPSERT, row)
    for anchor in batch.anchors:
        _write_anchor(db, anchor)
    for definition in batch.definitions:
        db.execute("INSERT OR IGNORE INTO channels (node, set_id, seq, body) VALUES (?, ?, ?, ?)", definition)
    write_lost(db, batch.lost)
    for number, status, result, answered_ms in batch.answers:
        db.execute(
            "UPDATE command SET status = ?, result = ?, answered_ms = ? WHERE id = ? AND status IS NULL",
            (status, result, answered_ms, number),
        )
    return outcome


def _write_records(
    db: sqlite3.Connection, records: list[NewRecord], held: dict[int, RangeSet], next_id: int, outcome: Outcome
) -> None:
    fresh: list[object] = []
    again: list[NewRecord] = []
    touched: dict[int, RangeSet] = {}
    for record in records:
        node, seq, kind, received_ms, body = record
        ranges = touched.get(node)
        if ranges is None:
            ranges = touched[node] = held.setdefault(node, RangeSet())
        if ranges.add(seq):
            fresh += (next_id, node, seq, kind, received_ms, body)
            next_id += 1
        else:
            again.append(record)
    outcome.stored = _insert(db, fresh)
    outcome.duplicates = len(records) - outcome.stored
    if outcome.stored < len(fresh) // 6:  # on disk, but not in memory: a store mended by hand
        again = records
    _write_held(db, touched)
    if again:
        _compare(db, again, outcome)


def _insert(db: sqlite3.Connection, values: list[object]) -> int:
    """Insert rows given as one flat list of six values each; return how many were new."""
    stored = 0
    at = 0
    for size in INSERT_SIZES:
        step = 6 * size
        while at + step <= len(values):
            stored += db.execute(_INSERTS[size], values[at : at + step]).rowcount
            at += step
    return stored


def _write_held(db: sqlite3.Connection, touched: dict[int, RangeSet]) -> None:
    gone: list[tuple[int, int]] = []
    kept: list[tuple[int, int, int]] = []
    for node, ranges in touched.items():
        for first, last in ranges.changed.items():
            if last is None:
                gone.append((node, first))
            else:
                kept.append((node, first, last))
        ranges.changed.clear()
    if gone:
        db.executemany("DELETE FROM held WHERE node = ? AND first = ?", gone)
    if kept:
        db.executemany(
            "INSERT INTO held (node, first, last) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET last = excluded.last", kept
        )


def _compare(db: sqlite3.Connection, again: list[NewRecord], outcome: Outcome) -> None:
    """A repeat must say what the first one said; a stranger under the same number is set aside."""
    for node, seq, _kind, received_ms, body in again:
        row = db.execute("SELECT body FROM record WHERE node = ? AND seq = ?", (node, seq)).fetchone()
        if row is None or row[0] == body:  # removed by retention: nothing to compare with
            continue
        outcome.conflicts.append((node, seq))
        outcome.duplicates -= 1
        kept = db.execute("SELECT count(*) FROM conflict WHERE node = ?", (node,)).fetchone()[0]
        same = db.execute(
            "SELECT 1 FROM conflict WHERE node = ? AND seq = ? AND body = ?", (node, seq, body)
        ).fetchone()
        if kept >= CONFLICTS_MAX and not same:
            outcome.refused.add((node, seq))
            continue
        db.execute("INSERT OR IGNORE INTO conflict VALUES (?, ?, ?, ?)", (node, seq, received_ms, body))


def _write_anchor(db: sqlite3.Connection, anchor: Anchor) -> None:
    """Add the anchor; the one before it goes if it stands close to the one before that and tells nothing more."""
    rows = db.execute(
        "SELECT node, boot, uptime_ms, utc_ms, bound_ms, clock_ms, clock_bound_ms, newest FROM anchor"
        " WHERE node = ? AND boot = ? AND uptime_ms < ? ORDER BY uptime_ms DESC LIMIT 2",
        (anchor.node, anchor.boot, anchor.uptime_ms),
    ).fetchall()
    if len(rows) == 2:
        middle, first = map(Anchor._make, rows)
        close = middle.uptime_ms - first.uptime_ms < ANCHOR_SPACING_MS
        if close and first.agrees(middle) and middle.agrees(anchor) and not middle.clock_wrong():
            db.execute("DELETE FROM anchor WHERE node = ? AND boot = ? AND uptime_ms = ?", middle[:3])
    db.execute(
        "INSERT OR REPLACE INTO anchor (node, boot, uptime_ms, utc_ms, bound_ms, clock_ms, clock_bound_ms, newest)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        anchor,
    )


def write_lost(db: sqlite3.Connection, lost: Iterable[Lost]) -> None:
    """Add ranges that will not arrive; one that was known keeps its first date and takes the greater end."""
    db.executemany(
        "INSERT INTO lost (node, uplink, first, last, reason, at_ms) VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT DO UPDATE SET last = max(last, excluded.last)",
        lost,
    )
