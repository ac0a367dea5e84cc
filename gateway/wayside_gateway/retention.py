"""Keeping the store within its limits. What an uplink that is on has not sent goes last, and never silently."""

from collections.abc import Iterable
from dataclasses import dataclass

from wayside_gateway import commit
from wayside_gateway.ranges import ranges_of
from wayside_gateway.rows import Lost
from wayside_gateway.store import Store

DAY_MS = 86_400_000
STEP_ROWS = 2000
"""Rows removed in one transaction: a commit of new records never waits longer than for these."""
LOW_WATER = 0.95
"""Once over its size the store is cut to this part of it, so that it is not cut again at every record."""


ANCHORS_WHOLE_MS = 7 * DAY_MS
"""Anchors younger than this are all kept: what is dated by them may still be on its way."""


@dataclass(frozen=True, slots=True)
class Limits:
    """max_bytes: of the records and all the store keeps with them; max_age_ms: of records already sent."""

    max_bytes: int
    max_age_ms: int


@dataclass(slots=True)
class Removed:
    """Rows removed after all uplinks had them, and rows that some uplink will now never get."""

    delivered: int = 0
    lost: int = 0


def used_bytes(store: Store) -> int:
    """Bytes of the store's pages that hold something; freed pages are used again before the file grows."""
    page = int(str(store.read("PRAGMA page_size")[0][0]))
    pages = int(str(store.read("PRAGMA page_count")[0][0]))
    free = int(str(store.read("PRAGMA freelist_count")[0][0]))
    return page * (pages - free)


def _unsent(store: Store) -> list[tuple[str, int, frozenset[int]]]:
    """For each uplink that is on: its name, its cursor, and the ids it put aside."""
    out: list[tuple[str, int, frozenset[int]]] = []
    for name, last_id in store.read("SELECT uplink, last_id FROM cursor WHERE enabled"):
        aside = frozenset(parked.id for parked in store.parked(str(name)))
        out.append((str(name), int(str(last_id)), aside))
    return out


Known = tuple[int, int, int, int]
"""id, node, seq and received_ms of a record."""


def _oldest(store: Store, sent_to: int | None) -> list[Known]:
    """The oldest records, never the newest one: its id must not be given again.

    With sent_to only those up to that id that no uplink has put aside.
    """
    limit = store.newest_id() - 1
    sql = "SELECT id, node, seq, received_ms FROM record WHERE id <= ? ORDER BY id LIMIT ?"
    if sent_to is not None:
        limit = min(limit, sent_to)
        sql = (
            "SELECT id, node, seq, received_ms FROM record WHERE id <= ?"
            " AND id NOT IN (SELECT id FROM parked JOIN cursor USING (uplink) WHERE enabled) ORDER BY id LIMIT ?"
        )
    rows = store.read(sql, (limit, STEP_ROWS))
    return [(int(str(a)), int(str(b)), int(str(c)), int(str(d))) for a, b, c, d in rows]


def _too_old(rows: list[Known], before_ms: int) -> list[int]:
    """The ids up to the last one that came before then. One without a time (0) goes with those around it."""
    old = [at for at, row in enumerate(rows) if 0 < row[3] <= before_ms]
    return [row[0] for row in rows[: old[-1] + 1]] if old else []


def _remove(store: Store, ids: list[int], lost: Iterable[Lost] = ()) -> None:
    with store.writing() as db:
        db.executemany("DELETE FROM record WHERE id = ?", ((i,) for i in ids))
        db.executemany("DELETE FROM parked WHERE id = ?", ((i,) for i in ids))
        commit.write_lost(db, lost)


def _losses(
    rows: list[Known], unsent: list[tuple[str, int, frozenset[int]]], now_ms: int
) -> tuple[list[Lost], set[int]]:
    """What each uplink loses with these rows, and the ids of the rows that any loses."""
    out: list[Lost] = []
    ids: set[int] = set()
    for uplink, last_id, aside in unsent:
        by_node: dict[int, list[int]] = {}
        for number, node, seq, _ in rows:
            if number > last_id or number in aside:
                by_node.setdefault(node, []).append(seq)
                ids.add(number)
        for node, seqs in by_node.items():
            out += [Lost(node, uplink, first, last, "disk_limit", now_ms) for first, last in ranges_of(seqs)]
    return out, ids


def sweep(store: Store, limits: Limits, now_ms: int, believed: bool, removed: Removed) -> bool:
    """One step, of STEP_ROWS at most; True if there may be more to do. Raises StoreError.

    Without a believed clock nothing is too old.
    """
    unsent = _unsent(store)
    sent = _oldest(store, min((last_id for _, last_id, _ in unsent), default=store.newest_id()))
    old = _too_old(sent, now_ms - limits.max_age_ms) if believed else []
    if not old:
        begun = removed.delivered or removed.lost
        if used_bytes(store) <= limits.max_bytes * (LOW_WATER if begun else 1):
            return False
        old = [row[0] for row in sent]
    if old:
        _remove(store, old)
        removed.delivered += len(old)
        return True
    rows = _oldest(store, None)
    lost, ids = _losses(rows, unsent, now_ms)
    _remove(store, [row[0] for row in rows], lost)
    removed.lost += len(ids)
    return bool(rows)


def retain(store: Store, limits: Limits, now_ms: int, believed: bool = True) -> Removed:
    """Bring the store within its limits, in as many steps as that takes. Raises StoreError."""
    removed = Removed()
    while sweep(store, limits, now_ms, believed, removed):
        pass
    return removed


def thin_anchors(store: Store, limits: Limits, now_ms: int) -> int:
    """Of each older day keep a boot's first and last anchor, of what is too old none; return how many went."""
    with store.writing() as db:
        gone = db.execute(
            "DELETE FROM anchor WHERE utc_ms < ? AND boot < (SELECT boot FROM node WHERE node.node = anchor.node)",
            (now_ms - limits.max_age_ms,),
        ).rowcount
        return (
            gone
            + db.execute(
                "DELETE FROM anchor WHERE utc_ms < ?1"
                " AND EXISTS (SELECT 1 FROM anchor AS b WHERE b.node = anchor.node AND b.boot = anchor.boot"
                "  AND b.uptime_ms < anchor.uptime_ms AND b.uptime_ms >= anchor.uptime_ms - anchor.uptime_ms % ?2)"
                " AND EXISTS (SELECT 1 FROM anchor AS b WHERE b.node = anchor.node AND b.boot = anchor.boot"
                "  AND b.uptime_ms > anchor.uptime_ms AND b.uptime_ms < anchor.uptime_ms - anchor.uptime_ms % ?2 + ?2)",
                (now_ms - ANCHORS_WHOLE_MS, DAY_MS),
            ).rowcount
        )
