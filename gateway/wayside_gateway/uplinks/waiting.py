"""Which parked records may go out again, and when to look. On disk they are in `parked`; here is what they wait for."""

from collections import deque
from collections.abc import Callable, Iterable

from wayside_gateway.uplinks.intake import CHANNELS, REFUSED, TIME, Aside

REFUSED_RETRY_S = 300.0
"""How long a record that the sink refused rests: a person has to mend something, and ours is not the only topic."""

Known = Callable[[int, tuple[int, int]], bool]
"""Is the time of (node, (boot, uptime)) known by now, or known to be lost?"""


class Waiting:
    """Ids by what they wait for, and the ids that wait no longer. Eight bytes or so a record, and a list a node."""

    def __init__(self) -> None:
        self._time: dict[tuple[int, int], tuple[tuple[int, int], list[int]]] = {}
        self._channels: dict[int, list[int]] = {}
        self._refused: deque[tuple[float, int]] = deque()
        self._due: deque[int] = deque()

    def add(self, asides: Iterable[Aside], now_s: float) -> None:
        """Remember what these wait for. What cannot be read waits for the next start, perhaps of a newer version."""
        for aside in asides:
            if aside.reason == TIME and aside.at is not None:
                self._time.setdefault((aside.node, aside.at[0]), (aside.at, []))[1].append(aside.id)
            elif aside.reason == CHANNELS:
                self._channels.setdefault(aside.node, []).append(aside.id)
            elif aside.reason.startswith(REFUSED):
                self._refused.append((now_s + REFUSED_RETRY_S, aside.id))

    def due(self, ids: Iterable[int]) -> None:
        """These may go out again now."""
        self._due.extend(ids)

    def learned(self, node: int) -> None:
        """A definition of this node's came in."""
        self._due.extend(self._channels.pop(node, ()))

    def look(self, known: Known, now_s: float) -> None:
        """See what became known, or due, with time."""
        for key in [key for key, (at, _) in self._time.items() if known(key[0], at)]:
            self._due.extend(self._time.pop(key)[1])
        while self._refused and self._refused[0][0] <= now_s:
            self._due.append(self._refused.popleft()[1])

    def take(self, limit: int) -> list[int]:
        """Up to `limit` ids that are due."""
        return [self._due.popleft() for _ in range(min(limit, len(self._due)))]

    @property
    def for_time(self) -> bool:
        """Does anything wait for a time, or for its next try?"""
        return bool(self._time or self._refused)

    def __bool__(self) -> bool:
        return bool(self._due)
