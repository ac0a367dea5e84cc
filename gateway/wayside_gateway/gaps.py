"""What is missing, since when, and why: from the store alone, whether the gateway runs or not.

`find` gives a report; its `as_json` is what `wayside gaps --json` prints:

    {"missing": 12, "waiting": 3,
     "nodes": [{"node": 1001, "name": "north gate", "missing": 12, "waiting": 3, "gaps": [
         {"first": 70, "last": 81, "count": 12, "reason": "evicted", "after": 1767300000.0, "before": 1767310000.0}]}],
     "not_sent": [{"node": 1001, "uplink": "mqtt", "first": 5, "last": 9, "count": 5, "reason": "disk_limit", "at": …}],
     "behind": [{"uplink": "mqtt", "count": 40, "since": …, "state": "down", "why": "127.0.0.1:1883 does not answer"}],
     "aside": [{"uplink": "mqtt", "reason": "time", "count": 4, "since": …}],
     "conflicting": [{"node": 1001, "count": 2, "first": 7, "last": 9, "since": …}],
     "refused": [{"node": 1002, "reason": "auth", "frames": 40, "first": …, "last": …, "link": "/dev/ttyUSB0"}]}

`behind`: what is in the store and not confirmed upstream yet; `since` is when the oldest of it came.
`conflicting`: records kept out because another one under their number was there already: two boards have one number
and key, or a board was replaced under its old number. `refused`: frames of a node without a key here (unknown_node),
with another key (auth), or of a boot below the last one (boot_fell).

All times are Unix seconds, null where nobody knows. `after` and `before` are the times of the records on both sides.

    reason        what it means, and what to do
    evicted       the node's journal was full before a gateway took them; it was out of reach for too long
    journal_lost  the node lost its journal; its numbers go on above those it may have used
    corrupt       the node's flash gave back something else than was written
    waiting       on the node, or on its way: counted as `waiting`, not as `missing`
    elsewhere     the node no longer has them and reported no loss: another gateway took them, or it will say why
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain

from wayside_gateway.clock import GatewayClock
from wayside_gateway.ranges import Range, RangeSet
from wayside_gateway.reading import read_record
from wayside_gateway.rows import Lost, NodeRow, Refusal
from wayside_gateway.store import Store
from wayside_gateway.timeline import Timeline
from wayside_protocol.errors import ProtocolError
from wayside_protocol.record import Channels

WAITING = "waiting"
ELSEWHERE = "elsewhere"


@dataclass(frozen=True, slots=True)
class Gap:
    """Records first..last that are not in the store. Times in Unix seconds, None: not known."""

    first: int
    last: int
    reason: str
    after: float | None
    before: float | None

    @property
    def count(self) -> int:
        return self.last - self.first + 1

    def as_json(self) -> dict[str, object]:
        return {
            "first": self.first,
            "last": self.last,
            "count": self.count,
            "reason": self.reason,
            "after": self.after,
            "before": self.before,
        }


@dataclass(slots=True)
class NodeGaps:
    """All gaps of a node, by number."""

    node: int
    name: str
    gaps: list[Gap]

    @property
    def missing(self) -> int:
        """Records that will not come."""
        return sum(gap.count for gap in self.gaps if gap.reason != WAITING)

    @property
    def waiting(self) -> int:
        """Records that are still on the node."""
        return sum(gap.count for gap in self.gaps if gap.reason == WAITING)

    def as_json(self) -> dict[str, object]:
        return {
            "node": self.node,
            "name": self.name,
            "missing": self.missing,
            "waiting": self.waiting,
            "gaps": [gap.as_json() for gap in self.gaps],
        }


@dataclass(slots=True)
class Report:
    """What is missing everywhere."""

    nodes: list[NodeGaps]
    not_sent: list[Lost] = field(default_factory=list)
    aside: list[tuple[str, str, int, int]] = field(default_factory=list)
    """uplink, reason, how many, since when (Unix ms)"""
    behind: list[tuple[str, int, int, str, str]] = field(default_factory=list)
    """uplink, how many, since when (Unix ms), its state and why"""
    refused: list[Refusal] = field(default_factory=list)
    conflicting: list[tuple[int, int, int, int, int]] = field(default_factory=list)
    """node, how many, least and greatest seq, since when (Unix ms)"""

    def as_json(self) -> dict[str, object]:
        return {
            "missing": sum(node.missing for node in self.nodes),
            "waiting": sum(node.waiting for node in self.nodes),
            "nodes": [node.as_json() for node in self.nodes],
            "not_sent": [
                {
                    "node": row.node,
                    "uplink": row.uplink,
                    "first": row.first,
                    "last": row.last,
                    "count": row.last - row.first + 1,
                    "reason": row.reason,
                    "at": _seconds(row.at_ms),
                }
                for row in self.not_sent
            ],
            "behind": [
                {"uplink": uplink, "count": count, "since": _seconds(since_ms), "state": state, "why": why}
                for uplink, count, since_ms, state, why in self.behind
            ],
            "aside": [
                {"uplink": uplink, "reason": reason, "count": count, "since": _seconds(since_ms)}
                for uplink, reason, count, since_ms in self.aside
            ],
            "conflicting": [
                {"node": node, "count": count, "first": first, "last": last, "since": _seconds(since_ms)}
                for node, count, first, last, since_ms in self.conflicting
            ],
            "refused": [
                {
                    "node": row.node,
                    "reason": row.reason,
                    "frames": row.frames,
                    "first": _seconds(row.first_ms),
                    "last": _seconds(row.last_ms),
                    "link": row.link,
                }
                for row in self.refused
            ],
        }


def _seconds(unix_ms: int) -> float | None:
    return unix_ms / 1000 if unix_ms else None


class Finder:
    """Looks through one store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._timeline = Timeline(store, GatewayClock(require_ntp=False))

    def node(self, node: int, name: str = "") -> NodeGaps:
        """The gaps of one node."""
        held = self._store.held(node)
        row = self._store.node(node)
        losses = [lost for lost in self._store.lost(node) if not lost.uplink]
        gaps = []
        for first, last in _missing(held, row, losses):
            after = self._time(node, first - 1) if first else None
            before = self._time(node, last + 1)
            gaps += [Gap(low, high, reason, after, before) for low, high, reason in _why(first, last, row, losses)]
        return NodeGaps(node, name, gaps)

    def _time(self, node: int, seq: int) -> float | None:
        """When this record was taken, else when it came."""
        stored = self._store.record(node, seq)
        if stored is None:
            return None
        try:
            record = read_record(stored.body)
        except ProtocolError:
            return _seconds(stored.received_ms)
        if isinstance(record, Channels):
            return _seconds(stored.received_ms)
        time = self._timeline.resolve(node, record.t, seq, stored.received_ms)
        return time.unix_s if time is not None and time.unix_s is not None else _seconds(stored.received_ms)


def _missing(held: RangeSet, row: NodeRow | None, losses: list[Lost]) -> list[Range]:
    """What is not held of all that the node ever spoke of."""
    known = RangeSet(chain(held, ((lost.first, lost.last) for lost in losses)))
    if row is not None:
        known.add_range(row.oldest, row.newest)
    span = known.span()
    return held.missing(*span) if span else []


def _why(first: int, last: int, row: NodeRow | None, losses: list[Lost]) -> list[tuple[int, int, str]]:
    """first..last in parts, each with its reason."""
    told: list[tuple[int, int, str]] = []
    rest = RangeSet([(first, last)])
    for lost in losses:
        for low, high in rest.within(lost.first, lost.last):
            told.append((low, high, lost.reason))
        left = [*rest.within(first, lost.first - 1), *rest.within(lost.last + 1, last)]
        rest = RangeSet(left)
    oldest = row.oldest if row is not None else 0
    told += [(low, high, ELSEWHERE) for low, high in rest.within(first, oldest - 1)]
    told += [(low, high, WAITING) for low, high in rest.within(max(first, oldest), last)]
    return sorted(told)


def find(store: Store, names: Mapping[int, str], node: int | None = None) -> Report:
    """The gaps of all nodes, or of one. `names`: the nodes that have keys, and what they are called."""
    finder = Finder(store)
    heard = {int(str(row[0])) for row in store.read("SELECT DISTINCT node FROM held")}
    heard |= {row.node for row in store.nodes()} | {row.node for row in store.lost()}
    wanted = sorted(heard | set(names)) if node is None else [node]
    aside = store.read("SELECT uplink, reason, count(*), min(since_ms) FROM parked GROUP BY uplink, reason")
    strangers = store.read(
        "SELECT node, count(*), min(seq), max(seq), min(received_ms) FROM conflict"
        " WHERE ?1 IS NULL OR node = ?1 GROUP BY node ORDER BY node",
        (node,),
    )
    behind = store.read(
        "SELECT c.uplink, count(*), min(r.received_ms), coalesce(u.state, ''), coalesce(u.detail, '')"
        " FROM cursor c JOIN record r ON r.id > c.last_id LEFT JOIN uplink u ON u.uplink = c.uplink"
        " WHERE c.enabled AND (?1 IS NULL OR r.node = ?1) GROUP BY c.uplink",
        (node,),
    )
    return Report(
        behind=[(str(a), int(str(b)), int(str(c)), str(d), str(e)) for a, b, c, d, e in behind],
        conflicting=[(int(str(a)), int(str(b)), int(str(c)), int(str(d)), int(str(e))) for a, b, c, d, e in strangers],
        nodes=[finder.node(number, names.get(number, "")) for number in wanted],
        not_sent=[lost for lost in store.lost(node) if lost.uplink],
        aside=[(str(uplink), str(reason), int(str(n)), int(str(since))) for uplink, reason, n, since in aside],
        refused=[row for row in store.refusals() if node is None or row.node == node],
    )
