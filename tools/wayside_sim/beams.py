"""Two break beams across a way, and who walks through them.

Somebody who comes in blocks the first beam first, somebody who goes out the second. A beam is blocked while at least
one is in it.
"""

import gzip
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from wayside_sim.pins import Pins
from wayside_sim.truth import Passage, Truth
from wayside_sim.world import World

SPACING_M = 0.20


@dataclass(frozen=True)
class Walker:
    """Somebody who reaches the first beam on their way at `at_us` (world)."""

    at_us: int
    direction: str
    """`in` or `out`."""
    speed_m_s: float = 1.3
    length_m: float = 0.35
    """What blocks a beam, along the way."""
    kind: str = "walker"

    def edges(self, spacing_m: float = SPACING_M) -> list[tuple[int, int, int]]:
        """What the beams see: (world µs, beam 0 or 1, 1 blocked or 0 clear)."""
        first, second = (0, 1) if self.direction == "in" else (1, 0)
        blocked_us = int(self.length_m / self.speed_m_s * 1e6)
        later = self.at_us + int(spacing_m / self.speed_m_s * 1e6)
        return [
            (self.at_us, first, 1),
            (later, second, 1),
            (self.at_us + blocked_us, first, 0),
            (later + blocked_us, second, 0),
        ]

    def through_us(self, spacing_m: float = SPACING_M) -> int:
        """From the first blocked beam to the last one clear."""
        return int((spacing_m + self.length_m) / self.speed_m_s * 1e6)


class Beams:
    """The two beams on two pins; `blocked_level` is what a pin reads while its beam is blocked."""

    def __init__(
        self,
        world: World,
        pins: Pins,
        truth: Truth,
        beam_pins: tuple[int, int],
        blocked_level: int,
        spacing_m: float = SPACING_M,
    ) -> None:
        self._world, self._pins, self._truth = world, pins, truth
        self._beam_pins = beam_pins
        self._blocked_level = blocked_level
        self._in_beam = [0, 0]
        self.spacing_m = spacing_m
        for beam in (0, 1):
            self._block(beam, 0)

    def _block(self, beam: int, change: int) -> None:
        self._in_beam[beam] += change
        blocked = self._in_beam[beam] > 0
        self._pins.drive(self._beam_pins[beam], self._blocked_level if blocked else 1 - self._blocked_level)

    def walk(self, walker: Walker) -> None:
        """Let somebody walk through."""
        for at_us, beam, blocked in walker.edges(self.spacing_m):
            change = 1 if blocked else -1
            self._world.at(at_us, lambda beam=beam, change=change: self._block(beam, change))  # type: ignore[misc]
        middle = walker.at_us + walker.through_us(self.spacing_m) // 2
        passage = Passage(middle, walker.direction, walker.kind)
        self._world.at(middle, lambda: self._truth.passages.append(passage))

    def walk_all(self, walkers: Iterable[Walker]) -> None:
        """Let them walk in turn; they come in order of time, and each is asked for when the one before starts."""
        self._next_walker(iter(walkers))

    def _next_walker(self, walkers: Iterator[Walker]) -> None:
        walker = next(walkers, None)
        if walker is not None:

            def start() -> None:
                self.walk(walker)
                self._next_walker(walkers)

            self._world.at(walker.at_us, start)

    def replay(self, stream: Iterable[tuple[int, int, int]], from_us: int = 0) -> None:
        """Feed (t_us, beam, blocked) as recorded, t_us counted from `from_us` of the world."""
        self._next_edge(iter(stream), from_us)

    def _next_edge(self, stream: Iterator[tuple[int, int, int]], from_us: int) -> None:
        edge = next(stream, None)
        if edge is not None:
            t_us, beam, blocked = edge

            def act() -> None:
                self._block(beam, (1 if blocked else 0) - self._in_beam[beam])
                self._next_edge(stream, from_us)

            self._world.at(from_us + t_us, act)


def read_stream(path: Path) -> Iterator[tuple[int, int, int]]:
    """The rows of a recorded stream, `t_us,beam,blocked`, gzipped or not. Raises ValueError with the line's number."""
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt") as f:
        if f.readline().strip() != "t_us,beam,blocked":
            raise ValueError(f"{path}:1: not a stream of beams")
        for number, line in enumerate(f, 2):
            try:
                t_us, beam, blocked = (int(word) for word in line.split(","))
                if beam not in (0, 1) or blocked not in (0, 1):
                    raise ValueError("beam and blocked are 0 or 1")
            except ValueError as e:
                raise ValueError(f"{path}:{number}: {e}") from e
            yield t_us, beam, blocked
