"""When a record was taken, in UTC: from what its node stamped, and from moments at which both clocks were known.

A node stamps Unix seconds only while it knows its clock to 2 s; else (boot, uptime). Each hello is an anchor of
that boot: uptime and UTC at one moment. Between two anchors of a boot time runs evenly; beyond them it runs at the
measured rate, with a bound that grows with the distance. An unknown time stays unknown.
"""

import math
from bisect import bisect_left
from itertools import groupby, pairwise
from typing import NamedTuple

from wayside_gateway.clock import GatewayClock
from wayside_gateway.rows import Anchor
from wayside_gateway.store import Store

SYNCED, RECONSTRUCTED, UNKNOWN = "synced", "reconstructed", "unknown"
SYNCED_BOUND_S = 2.0
"""A node gives Unix seconds only while its own error is within this (SPEC 2.3)."""
FLOOR_S = 1_735_689_600
"""2025-01-01: no node existed. Clocks that start at 1970 or 2000 are below it (SPEC 2.6)."""
FUTURE_MS = 5_000
"""A record that claims to be so much later than its own arrival is wrong about its time (SPEC 2.6)."""
BATCH_SPAN_MS = 25 * 3_600_000
"""A record's time is that of its first sample: so much before it was sealed at most. A node's report interval is a day
at most, and a full batch may wait for a sample that is late."""
WAIT_MS = 90_000
"""How long a time may wait for a boot's second anchor, which measures its rate: nodes greet again after 30 s."""
RATE_UNKNOWN = 0.1
"""How far off a node's oscillator may be while nothing measured it (SPEC 2.4)."""
RATE_MEASURED = 200e-6
"""What a measured rate may still wander by temperature (SPEC 2.4)."""
RATE_BASE_MS = 3_600_000
"""A rate is measured over the last anchors that are at least so far apart, where there are such."""
ROUNDING_MS = 500
"""Uptime in a record is rounded to whole seconds."""


class Time(NamedTuple):
    """When a record's first reading was taken: Unix seconds or None, the quality of that, and its bound in seconds.

    pace: seconds from one reading to the next, for each second that the record says: 1, but where they are those of an
    oscillator that is off.
    """

    unix_s: float | None
    quality: str
    bound_s: float
    pace: float = 1.0


NEVER = Time(None, UNKNOWN, 0.0)
"""Nobody knows, and nobody will."""


class Estimate(NamedTuple):
    """A moment in UTC milliseconds, how wrong that may be, and whether a measured rate stands behind it."""

    utc_ms: float
    bound_ms: float
    measured: bool


def agreeing(anchors: list[Anchor]) -> list[Anchor]:
    """The anchors that agree with the last one, by uptime. Others are from before the gateway's clock was set right."""
    kept = anchors[-1:]
    for earlier in reversed(anchors[:-1]):
        if not earlier.agrees(kept[-1]):
            break
        kept.append(earlier)
    return kept[::-1]


def _rate(near: Anchor, far: Anchor) -> tuple[float, float]:
    """UTC milliseconds a millisecond of uptime, and its uncertainty; (1, RATE_UNKNOWN) if that says no more."""
    base_ms = abs(near.uptime_ms - far.uptime_ms)
    if base_ms == 0:
        return 1.0, RATE_UNKNOWN
    uncertainty = max(RATE_MEASURED, (near.bound_ms + far.bound_ms) / base_ms)
    if uncertainty >= RATE_UNKNOWN:
        return 1.0, RATE_UNKNOWN
    return (near.utc_ms - far.utc_ms) / (near.uptime_ms - far.uptime_ms), uncertainty


class Boot:
    """The anchors of one boot, at least one."""

    def __init__(self, anchors: list[Anchor]) -> None:
        self.anchors = agreeing(anchors)
        self._uptimes = [anchor.uptime_ms for anchor in self.anchors]

    @property
    def last(self) -> Anchor:
        return self.anchors[-1]

    def righted(self, anchor: Anchor) -> Anchor:
        """The anchor, of this boot, with the time that it should have had if the gateway's clock was wrong then."""
        if anchor.uptime_ms >= self.anchors[0].uptime_ms:
            return anchor
        estimate = self.at(anchor.uptime_ms)
        return anchor._replace(utc_ms=round(estimate.utc_ms), bound_ms=round(estimate.bound_ms))

    def at(self, uptime_ms: float) -> Estimate:
        """When the node's uptime was this."""
        right = bisect_left(self._uptimes, uptime_ms)
        if 0 < right < len(self.anchors):
            return self._between(self.anchors[right - 1], self.anchors[right], uptime_ms)
        near = self.anchors[-1 if right else 0]
        rate, uncertainty = _rate(near, self._far_from(near))
        distance_ms = uptime_ms - near.uptime_ms
        bound_ms = near.bound_ms + abs(distance_ms) * uncertainty + ROUNDING_MS
        return Estimate(near.utc_ms + distance_ms * rate, bound_ms, uncertainty < RATE_UNKNOWN)

    def _far_from(self, near: Anchor) -> Anchor:
        """The other end of the base that measures the rate beside this outermost anchor."""
        others = self.anchors if near is self.anchors[0] else self.anchors[::-1]
        for other in others:
            if abs(other.uptime_ms - near.uptime_ms) >= RATE_BASE_MS:
                return other
        return others[-1]

    @staticmethod
    def _between(left: Anchor, right: Anchor, uptime_ms: float) -> Estimate:
        span_ms = right.uptime_ms - left.uptime_ms
        part = (uptime_ms - left.uptime_ms) / span_ms
        utc_ms = left.utc_ms + part * (right.utc_ms - left.utc_ms)
        nearest_ms = min(uptime_ms - left.uptime_ms, right.uptime_ms - uptime_ms)
        bound_ms = max(left.bound_ms, right.bound_ms) + nearest_ms * RATE_MEASURED + ROUNDING_MS
        return Estimate(utc_ms, bound_ms, True)


class _Span(NamedTuple):
    """Records that were written between two hellos: when that can have been, and whether a clock was wrong then."""

    earliest_ms: int
    latest_ms: float
    before: Anchor | None
    after: Anchor | None
    calm: bool
    """No hello beside it showed a wrong clock."""


def _span(before: Anchor | None, after: Anchor | None) -> _Span:
    earliest_ms = max(FLOOR_S * 1000, before.utc_ms - BATCH_SPAN_MS if before is not None else 0)
    latest_ms = math.inf if after is None else after.utc_ms + after.bound_ms + FUTURE_MS
    calm = not any(anchor.clock_wrong() for anchor in (before, after) if anchor is not None)
    return _Span(earliest_ms, latest_ms, before, after, calm)


class _History(NamedTuple):
    """What is known of one node's clocks."""

    version: int
    boot: int
    """Its current boot, -1 before its first hello."""
    boots: dict[int, Boot]
    newests: list[int]
    """The newest seq at each hello."""
    spans: list[_Span]
    """What is known of the records between each two hellos, one more than there are hellos."""


class Timeline:
    """Times of records of all nodes, from the anchors in the store."""

    def __init__(self, store: Store, clock: GatewayClock) -> None:
        self._store = store
        self._clock = clock
        self._nodes: dict[int, _History] = {}

    def resolve(self, node: int, t: int | tuple[int, int], seq: int, received_ms: int) -> Time | None:
        """When this record was taken; None while that may still become known, or known better, soon.

        received_ms: when it came, 0 if the gateway did not believe its own clock then.
        """
        if isinstance(t, int):
            return self.plain(node, t, seq, received_ms)
        return self.when(node, t)

    def when(self, node: int, at: tuple[int, int]) -> Time | None:
        """The time of (boot, uptime in s): `unknown` if it will never be known, None while it may still be."""
        history = self._history(node)
        number, uptime_s = at
        boot = history.boots.get(number)
        current = number >= history.boot
        if boot is None:
            return None if current else NEVER
        estimate = boot.at(uptime_s * 1000)
        fresh = current and self._clock.wall_ms() - boot.last.utc_ms < WAIT_MS
        if fresh and not estimate.measured and estimate.bound_ms > SYNCED_BOUND_S * 1000:
            return None
        return _reconstructed(estimate)

    def _history(self, node: int) -> _History:
        version = self._store.clock_versions.get(node, 0)
        history = self._nodes.get(node)
        if history is None or history.version != version:
            history = self._nodes[node] = self._load(node, version)
        return history

    def _load(self, node: int, version: int) -> _History:
        anchors = self._store.anchors(node)
        row = self._store.node(node)
        boots = {boot: Boot(list(group)) for boot, group in groupby(anchors, key=lambda anchor: anchor.boot)}
        anchors = [boots[anchor.boot].righted(anchor) for anchor in anchors]
        spans = [_span(*pair) for pair in pairwise([None, *anchors, None])]
        return _History(version, row.boot if row else -1, boots, [anchor.newest for anchor in anchors], spans)

    # -- plain Unix seconds ------------------------------------------------------------------------------

    def plain(self, node: int, t: int, seq: int, received_ms: int) -> Time:
        """A node's own Unix seconds: taken if nothing speaks against them, else mapped by what its clock showed."""
        history = self._history(node)
        span = history.spans[bisect_left(history.newests, seq)]
        t_ms = t * 1000
        latest_ms = span.latest_ms
        limit_ms = (received_ms or self._clock.unix_ms() or math.inf) + FUTURE_MS
        if limit_ms < latest_ms:
            latest_ms = limit_ms
        wrong = None if span.calm else _wrong_at(span.after, t_ms) or _open_at(span.before, t_ms)
        if wrong is None and span.earliest_ms <= t_ms <= latest_ms:
            return Time(t, SYNCED, SYNCED_BOUND_S)
        wrong = wrong or _wrong_at(span.before, t_ms)
        if wrong is None or wrong.clock_ms is None or wrong.boot not in history.boots:
            return NEVER
        estimate = history.boots[wrong.boot].at(wrong.uptime_ms + t_ms - wrong.clock_ms)
        return _reconstructed(estimate) if span.earliest_ms <= estimate.utc_ms <= latest_ms else NEVER


def _wrong_at(anchor: Anchor | None, t_ms: int) -> Anchor | None:
    """This anchor, if the node's clock was wrong at its hello and t_ms is of the same boot on that wrong clock."""
    if anchor is None or anchor.clock_ms is None or not anchor.clock_wrong():
        return None
    return anchor if t_ms >= anchor.clock_ms - anchor.uptime_ms * (1 + RATE_UNKNOWN) else None


def _open_at(anchor: Anchor | None, t_ms: int) -> Anchor | None:
    """This anchor, if t_ms is of the batch that was open at its hello: begun on the wrong clock, sealed after it."""
    wrong = _wrong_at(anchor, t_ms)
    return wrong if wrong is not None and t_ms < wrong.utc_ms - wrong.bound_ms else None


def _reconstructed(estimate: Estimate) -> Time:
    return Time(round(estimate.utc_ms / 1000, 3), RECONSTRUCTED, round(estimate.bound_ms / 1000, 3))
