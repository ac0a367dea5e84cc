"""The store's tables, and the steps from each version of them to the next.

A step is never edited once released: a change is a new step. `user_version` says how many were taken.
"""

import sqlite3

from wayside_gateway.errors import StoreError

APPLICATION_ID = 0x57415953  # "WAYS": tells our file from any other SQLite database

_STEP_1 = (
    # What nodes sent, as sent: `body` is the opened message. `kind` is its first element (0 samples, 1 event,
    # 2 health, 3 channels, 4 log) or -1 if it is no message of this version. `id` grows, is never used again,
    # and is the order of arrival. `received_ms` is Unix time, 0 if the gateway did not believe its clock.
    """CREATE TABLE record (
        id INTEGER PRIMARY KEY, node INTEGER NOT NULL, seq INTEGER NOT NULL,
        kind INTEGER NOT NULL, received_ms INTEGER NOT NULL, body BLOB NOT NULL)""",
    "CREATE UNIQUE INDEX record_identity ON record (node, seq)",
    # Every seq ever stored, also of records that retention has since removed.
    """CREATE TABLE held (
        node INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
        PRIMARY KEY (node, first)) WITHOUT ROWID""",
    # What a node said of itself in its last hello, its replay state, and the downlink numbers reserved for it.
    """CREATE TABLE node (
        node INTEGER PRIMARY KEY, first_seen_ms INTEGER NOT NULL, hello_ms INTEGER NOT NULL,
        boot INTEGER NOT NULL, session_n INTEGER NOT NULL, downlink_ceiling INTEGER NOT NULL,
        oldest INTEGER NOT NULL, newest INTEGER NOT NULL, evicted INTEGER NOT NULL, set_id INTEGER NOT NULL,
        firmware TEXT NOT NULL, board TEXT NOT NULL, config INTEGER NOT NULL, link TEXT NOT NULL)""",
    # Moments at which a node's uptime and UTC were both known, from its hellos. `clock_ms` is what the node
    # itself took for Unix time then (null: it did not know), `newest` its newest record.
    """CREATE TABLE anchor (
        node INTEGER NOT NULL, boot INTEGER NOT NULL, uptime_ms INTEGER NOT NULL,
        utc_ms INTEGER NOT NULL, bound_ms INTEGER NOT NULL, clock_ms INTEGER, clock_bound_ms INTEGER,
        newest INTEGER NOT NULL, PRIMARY KEY (node, boot, uptime_ms)) WITHOUT ROWID""",
    # Definitions of sets: kept for ever, since records outlive the channels record that explains them.
    """CREATE TABLE channels (
        node INTEGER NOT NULL, set_id INTEGER NOT NULL, seq INTEGER NOT NULL, body BLOB NOT NULL,
        PRIMARY KEY (node, set_id, seq)) WITHOUT ROWID""",
    # How far each uplink has read, and what it put aside (waits for a time or a definition).
    """CREATE TABLE cursor (
        uplink TEXT PRIMARY KEY, last_id INTEGER NOT NULL, enabled INTEGER NOT NULL) WITHOUT ROWID""",
    """CREATE TABLE parked (
        uplink TEXT NOT NULL, id INTEGER NOT NULL, reason TEXT NOT NULL, since_ms INTEGER NOT NULL,
        PRIMARY KEY (uplink, id)) WITHOUT ROWID""",
    # Ranges that will not arrive, and why: what a node reported (uplink '') and what the gateway gave up itself.
    """CREATE TABLE lost (
        node INTEGER NOT NULL, uplink TEXT NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
        reason TEXT NOT NULL, at_ms INTEGER NOT NULL, PRIMARY KEY (node, uplink, reason, first)) WITHOUT ROWID""",
    # A seq that came twice with different bodies: two nodes share a key, or a node's flash was copied.
    """CREATE TABLE conflict (
        node INTEGER NOT NULL, seq INTEGER NOT NULL, received_ms INTEGER NOT NULL, body BLOB NOT NULL,
        PRIMARY KEY (node, seq, body)) WITHOUT ROWID""",
    # Frames that were not taken, by node as they claim: `unknown_node` (no key here) or `auth` (the key does not open
    # them). Bounded; written now and then.
    """CREATE TABLE refusal (
        node INTEGER NOT NULL, reason TEXT NOT NULL, frames INTEGER NOT NULL, first_ms INTEGER NOT NULL,
        last_ms INTEGER NOT NULL, link TEXT NOT NULL, PRIMARY KEY (node, reason)) WITHOUT ROWID""",
    # Commands to nodes, by the protocol's number. Answered when `status` is not null.
    """CREATE TABLE command (
        id INTEGER PRIMARY KEY AUTOINCREMENT, node INTEGER NOT NULL, name INTEGER NOT NULL,
        argument INTEGER NOT NULL, created_ms INTEGER NOT NULL, status INTEGER, result TEXT,
        answered_ms INTEGER)""",
)

_STEP_2 = (
    # Blocks an uplink is about to hand over, written before the first byte of them is sent: after a crash the same
    # block goes again under the same number. `stage` is the sink's own, 0 new. `parked`: its records are in `parked`.
    """CREATE TABLE outbox (
        uplink TEXT NOT NULL, number INTEGER NOT NULL, stage INTEGER NOT NULL, node INTEGER NOT NULL,
        form TEXT NOT NULL, parked INTEGER NOT NULL, plan TEXT NOT NULL, PRIMARY KEY (uplink, number)) WITHOUT ROWID""",
    # How far an uplink has made blocks of the log, the next block's number, and how it is doing, for people.
    """CREATE TABLE uplink (
        uplink TEXT PRIMARY KEY, planned_id INTEGER NOT NULL, next_number INTEGER NOT NULL,
        state TEXT NOT NULL, detail TEXT NOT NULL, since_ms INTEGER NOT NULL) WITHOUT ROWID""",
)

STEPS = (_STEP_1, _STEP_2)
VERSION = len(STEPS)


def migrate(db: sqlite3.Connection) -> None:
    """Bring the database to VERSION, each step in a transaction of its own. Raises StoreError, sqlite3.Error."""
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        raise StoreError(
            "newer_schema",
            f"The store was written by a newer Wayside (its tables are version {version}, this one knows {VERSION}).",
            "Install that version again, or give this one another data directory.",
        )
    for number, step in enumerate(STEPS[version:], start=version + 1):
        db.execute("BEGIN IMMEDIATE")
        try:
            for statement in step:
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {number}")
            if number == 1:
                db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        except BaseException:
            db.execute("ROLLBACK")
            raise
        db.execute("COMMIT")
