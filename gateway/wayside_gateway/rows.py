"""The store's rows as values."""

from dataclasses import dataclass, field
from typing import NamedTuple

UNREADABLE = -1
"""`kind` of a record that opened but is no message of this version: stored, acked, and left to people."""

NewRecord = tuple[int, int, int, int, bytes]
"""node, seq, kind, received_ms, body: a plain tuple, because there are ten thousand of them a second."""


DRIFT_MAX = 0.12
"""An oscillator may be 10 % off (SPEC 2.4); 1 / 0.9 is 11 % the other way."""
CLOCK_PROMISE_MS = 2_000
"""A node stamps Unix seconds while its error is within this (SPEC 2.3)."""


class Row(NamedTuple):
    """A stored record. `received_ms` is Unix time, 0 where the gateway did not believe its clock."""

    id: int
    node: int
    seq: int
    kind: int
    received_ms: int
    body: bytes


class NodeRow(NamedTuple):
    """What is known of a node from its last hello, and its replay state. Times in Unix ms, 0: not known."""

    node: int
    first_seen_ms: int
    hello_ms: int
    boot: int
    session_n: int
    downlink_ceiling: int
    oldest: int
    newest: int
    evicted: int
    set_id: int
    firmware: str
    board: str
    config: int
    link: str


class Anchor(NamedTuple):
    """A moment at which a node's uptime and UTC were both known, to within `bound_ms`.

    clock_ms, clock_bound_ms: what the node itself took for Unix time then, None if it did not know.
    newest: the seq of its newest record then.
    """

    node: int
    boot: int
    uptime_ms: int
    utc_ms: int
    bound_ms: int
    clock_ms: int | None
    clock_bound_ms: int | None
    newest: int

    def agrees(self, other: "Anchor") -> bool:
        """Whether an oscillator in its limits can have gone from one to the other: else the gateway's clock was set."""
        ran_ms = abs(self.uptime_ms - other.uptime_ms)
        slack_ms = ran_ms * DRIFT_MAX + self.bound_ms + other.bound_ms + 1000
        return abs(abs(self.utc_ms - other.utc_ms) - ran_ms) <= slack_ms

    def clock_wrong(self) -> bool:
        """Whether the node took another time for the right one, by more than it admitted."""
        if self.clock_ms is None or self.clock_bound_ms is None:
            return False
        return abs(self.clock_ms - self.utc_ms) > max(self.clock_bound_ms, CLOCK_PROMISE_MS) + self.bound_ms


class Lost(NamedTuple):
    """Records first..last of a node that will not arrive (at `uplink`, or at the store when that is empty)."""

    node: int
    uplink: str
    first: int
    last: int
    reason: str
    at_ms: int


class Parked(NamedTuple):
    """A record that an uplink put aside, with the reason."""

    id: int
    reason: str
    since_ms: int


class Refusal(NamedTuple):
    """Frames under a node's number that were not taken: `unknown_node` or `auth`. Times in Unix ms, believed or not."""

    node: int
    reason: str
    frames: int
    first_ms: int
    last_ms: int
    link: str


class CommandRow(NamedTuple):
    """A command to a node; unanswered while `status` is None."""

    id: int
    node: int
    name: int
    argument: int
    created_ms: int
    status: int | None
    result: str | None
    answered_ms: int | None


class DefinitionRow(NamedTuple):
    """A channels record: what the columns of a set are from `seq` on."""

    node: int
    set_id: int
    seq: int
    body: bytes


class AnswerRow(NamedTuple):
    """What became of a command."""

    id: int
    status: int
    result: str
    answered_ms: int


@dataclass(slots=True)
class Batch:
    """What one transaction commits: all of it or nothing."""

    records: list[NewRecord] = field(default_factory=list)
    nodes: dict[int, NodeRow] = field(default_factory=dict)
    anchors: list[Anchor] = field(default_factory=list)
    definitions: list[DefinitionRow] = field(default_factory=list)
    lost: list[Lost] = field(default_factory=list)
    answers: list[AnswerRow] = field(default_factory=list)

    def size(self) -> int:
        """How much there is to commit: records, and what else peers can make grow."""
        return len(self.records) + len(self.nodes) + len(self.anchors) + len(self.lost) + len(self.answers)


@dataclass(slots=True)
class Outcome:
    """What a commit did with a batch's records.

    Every record of the batch is on disk and may be acked, except those in `refused`: the same seq was there
    with another body, and there was no more room to keep the stranger.
    """

    stored: int = 0
    duplicates: int = 0
    conflicts: list[tuple[int, int]] = field(default_factory=list)
    refused: set[tuple[int, int]] = field(default_factory=set)
