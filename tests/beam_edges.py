"""Walkers as the edges of two beams."""

from collections.abc import Iterable

from wayside_node.settings import TABLE
from wayside_sim.beams import Walker

SPACING_MM = 200
DEBOUNCE_MS = {row[0]: row[1] for row in TABLE}["beam_debounce_ms"]
Edge = tuple[int, int, int]
"""µs, beam, blocked."""


def walkers(found: Iterable[Walker], spacing_mm: int = SPACING_MM) -> list[Edge]:
    """The edges of all of them: a beam is blocked while at least one is in it."""
    changes = sorted((t, b, 1 if on else -1) for w in found for t, b, on in w.edges(spacing_mm / 1000))
    inside = [0, 0]
    edges = []
    for t, beam, change in changes:
        before = inside[beam]
        inside[beam] += change
        if (before > 0) != (inside[beam] > 0):
            edges.append((t, beam, int(inside[beam] > 0)))
    return edges
