"""Frames that were not taken, by the node they claim to be from. Bounded: anybody can claim any number."""

from collections import OrderedDict

from wayside_gateway.rows import Refusal

REFUSALS_MAX = 256
"""Claimed numbers remembered, the latest ones."""


class Refusals:
    """The latest refusals by (node, reason), and which of them changed since `take`."""

    def __init__(self, known: list[Refusal]) -> None:
        self._rows = OrderedDict(((row.node, row.reason), row) for row in sorted(known, key=lambda row: row.last_ms))
        self._changed: set[tuple[int, str]] = set()

    def note(self, node: int, reason: str, now_ms: int, link: str) -> None:
        """One more frame was not taken."""
        key = (node, reason)
        row = self._rows.pop(key, None)
        if row is None:
            row = Refusal(node, reason, 0, now_ms, now_ms, link)
            while len(self._rows) >= REFUSALS_MAX:
                gone, _ = self._rows.popitem(last=False)
                self._changed.discard(gone)
        self._rows[key] = row._replace(frames=row.frames + 1, last_ms=now_ms, link=link)
        self._changed.add(key)

    def take(self) -> list[Refusal]:
        """The rows that changed since the last call."""
        rows = [self._rows[key] for key in self._changed]
        self._changed.clear()
        return rows

    def rows(self) -> list[Refusal]:
        """All of them, the latest last."""
        return list(self._rows.values())
