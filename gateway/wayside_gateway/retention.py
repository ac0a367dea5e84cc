"""Keeping the store within its limits. What an uplink that is on has not sent goes last, and never silently."""

from collections.abc import Iterable
from dataclasses import dataclass

from wayside_gateway import commit
from wayside_gateway.database import told
from wayside_gateway.ranges import ranges_of
from wayside_gateway.rows import Lost
from wayside_gateway.store import Store

STEP_ROWS = 2000
"""Rows removed in one transaction: a commit of new records never waits longer than for these."""
LOW_WATER = 0.95
"""Once over its size the store is cut to this part of it, so that it is not cut again at every record."""


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


def _oldest(store: Store, received_before_ms: int | None) -> list[tuple[int, int, int]]:
    """id, node and seq of the oldest records, never of the newest one: its id must not be given again."""
    if received_before_ms is None:
        limit = store.newest_id() - 1
    else:
        row = store.read(
            "SELECT coalesce(max(id), 0) FROM (SELECT id, received_ms FROM record ORDER BY id LIMIT ?)"
            " WHERE received_ms BETWEEN 1 AND ?",
            (STEP_ROWS, received_before_ms),
        )
        limit = min(int(str(row[0][0])), store.newest_id() - 1)
    rows = store.read("SELECT id, node, seq FROM record WHERE id <= ? ORDER BY id LIMIT ?", (limit, STEP_ROWS))
    return [(int(str(a)), int(str(b)), int(str(c))) for a, b, c in rows]


def _remove(store: Store, ids: list[int], lost: Iterable[Lost] = ()) -> None:
    with store.writing() as db:
        db.executemany("DELETE FROM record WHERE id = ?", ((i,) for i in ids))
        db.executemany("DELETE FROM parked WHERE id = ?", ((i,) for i in ids))
        commit.write_lost(db, lost)


def _losses(
    rows: list[tuple[int, int, int]], unsent: list[tuple[str, int, frozenset[int]]], now_ms: int
) -> tuple[list[Lost], set[int]]:
    """What each uplink loses with these rows, and the ids of the rows that any loses."""
    out: list[Lost] = []
    ids: set[int] = set()
    for uplink, last_id, aside in unsent:
        by_node: dict[int, list[int]] = {}
        for number, node, seq in rows:
            if number > last_id or number in aside:
                by_node.setdefault(node, []).append(seq)
                ids.add(number)
        for node, seqs in by_node.items():
            out += [Lost(node, uplink, first, last, "disk_limit", now_ms) for first, last in ranges_of(seqs)]
    return out, ids


def _sweep(store: Store, limits: Limits, now_ms: int, believed: bool, removed: Removed) -> bool:
    """One step; True if there may be more to do."""
    unsent = _unsent(store)
    safe_id = min((last_id for _, last_id, _ in unsent), default=store.newest_id())
    aside: frozenset[int] = frozenset().union(*(ids for _, _, ids in unsent))
    if believed:
        old = [i for i, _, _ in _oldest(store, now_ms - limits.max_age_ms) if i <= safe_id and i not in aside]
        if old:
            _remove(store, old)
            removed.delivered += len(old)
            return True
    if used_bytes(store) <= limits.max_bytes * (LOW_WATER if removed.delivered or removed.lost else 1):
        return False
    rows = _oldest(store, None)
    sent = [i for i, _, _ in rows if i <= safe_id and i not in aside]
    if sent:
        _remove(store, sent)
        removed.delivered += len(sent)
        return True
    if not rows:
        return False
    lost, ids = _losses(rows, unsent, now_ms)
    _remove(store, [i for i, _, _ in rows], lost)
    removed.lost += len(ids)
    return True


def retain(store: Store, limits: Limits, now_ms: int, believed: bool = True) -> Removed:
    """Bring the store within its limits. Without a believed clock nothing is too old. Raises StoreError."""
    removed = Removed()
    with told(store.path):
        while _sweep(store, limits, now_ms, believed, removed):
            pass
    return removed
