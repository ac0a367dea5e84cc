"""Small named counters. A name is what happened; a label says why or where, from a set that peers cannot grow."""

from collections.abc import Iterator

LABELS_MAX = 64
"""Labels of one name at most; beyond them everything counts as `other`, so that memory stays bounded."""


class Metrics:
    """Counters that only grow, and gauges that are set. Written by the event loop alone."""

    def __init__(self) -> None:
        self._counters: dict[str, dict[str, int]] = {}
        self._gauges: dict[str, float] = {}

    def count(self, name: str, n: int = 1, label: str = "") -> None:
        """Add n to a counter."""
        labels = self._counters.get(name)
        if labels is None:
            labels = self._counters[name] = {}
        if label not in labels and len(labels) >= LABELS_MAX:
            label = "other"
        labels[label] = labels.get(label, 0) + n

    def gauge(self, name: str, value: float) -> None:
        """Set a gauge."""
        self._gauges[name] = value

    def value(self, name: str, label: str | None = None) -> int:
        """A counter's value under one label, or over all its labels."""
        labels = self._counters.get(name, {})
        return sum(labels.values()) if label is None else labels.get(label, 0)

    def __iter__(self) -> Iterator[tuple[str, str, float]]:
        """(name, label, value) of everything, by name."""
        for name in sorted(self._counters):
            for label, value in sorted(self._counters[name].items()):
                yield name, label, value
        for name, gauge in sorted(self._gauges.items()):
            yield name, "", gauge

    def snapshot(self) -> dict[str, float]:
        """`name` or `name{label}` -> value, for people and for JSON."""
        return {f"{name}{{{label}}}" if label else name: value for name, label, value in self}
