"""A recorded street: the air at the sensor and the people who pass, from rows of an interval each.

CSV: `time` (Unix s), then columns by quantity's name; `temperature`, `humidity`, `pressure`, `walkers_in` and
`walkers_out` are used, empty is missing. The air holds a row's values for the row's interval; so many people pass
within it, at seeded times.
"""

import csv
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from wayside_sim.beams import SPACING_M, Walker

SPEED_M_S = (1.3, 0.2, 0.7, 2.2)
"""Mean, standard deviation and limits of how fast people walk in a street."""
LENGTH_M = (0.25, 0.45)
GAP_US = 300_000
"""Between one who has left the gate and the next one who reaches it, where the interval has room for all."""


@dataclass(frozen=True)
class Row:
    """One interval; None is missing."""

    temperature: float | None = None
    humidity: float | None = None
    pressure: float | None = None
    walkers_in: int = 0
    walkers_out: int = 0


@dataclass
class Street:
    """`interval_s` of the world for each row; after the last row it starts again. `offset` rows are skipped at the
    start; of the walkers a `share` comes."""

    rows: list[Row]
    interval_s: float = 60.0
    seed: int = 1
    offset: int = 0
    share: float = 1.0
    spacing_m: float = SPACING_M

    @classmethod
    def read(
        cls, path: Path, *, interval_s: float = 60.0, seed: int = 1, offset: int = 0, share: float = 1.0
    ) -> "Street":
        """Raises ValueError, with the line's number, for a file that is not such a CSV."""
        rows = []
        with path.open(newline="") as f:
            reader = csv.DictReader(f)
            for record in reader:
                try:
                    rows.append(_row(record))
                except (ValueError, TypeError) as e:
                    raise ValueError(f"{path}:{reader.line_num}: {e}") from e
        if not rows:
            raise ValueError(f"{path}: no rows")
        return cls(rows, interval_s, seed, offset, share)

    def row_at(self, world_us: int) -> Row:
        return self.rows[(int(world_us / (self.interval_s * 1e6)) + self.offset) % len(self.rows)]

    def air(self, world_us: int) -> tuple[float, float, float]:
        """°C, %RH, hPa; what a row lacks is as on an indoor day."""
        row = self.row_at(world_us)
        return (
            20.0 if row.temperature is None else row.temperature,
            50.0 if row.humidity is None else row.humidity,
            1013.25 if row.pressure is None else row.pressure,
        )

    def walkers(self, from_us: int = 0) -> Iterator[Walker]:
        """All who come from a world time on, in order of time; never ends."""
        interval_us = int(self.interval_s * 1e6)
        number = -(-from_us // interval_us)
        while True:
            yield from self._interval(number, interval_us)
            number += 1

    def _interval(self, number: int, interval_us: int) -> list[Walker]:
        row = self.rows[(number + self.offset) % len(self.rows)]
        rng = random.Random(f"{self.seed}:{number}")
        directions = ["in"] * self._shared(row.walkers_in, rng) + ["out"] * self._shared(row.walkers_out, rng)
        rng.shuffle(directions)
        mean, deviation, low, high = SPEED_M_S
        people = [
            Walker(0, d, min(high, max(low, rng.gauss(mean, deviation))), rng.uniform(*LENGTH_M)) for d in directions
        ]
        taken = [w.through_us(self.spacing_m) + GAP_US for w in people]
        slack = interval_us - sum(taken)
        if slack < 0:  # more people than fit one after the other: they overlap, as they would
            starts = sorted(rng.randrange(interval_us) for _ in people)
        else:
            free = sorted(rng.randrange(slack + 1) for _ in people)
            starts = [at + sum(taken[:i]) for i, at in enumerate(free)]
        base = number * interval_us
        return [Walker(base + at, w.direction, w.speed_m_s, w.length_m) for at, w in zip(starts, people, strict=True)]

    def _shared(self, count: int, rng: random.Random) -> int:
        return count if self.share >= 1 else sum(rng.random() < self.share for _ in range(count))


def _row(record: dict[str, str]) -> Row:
    def number(name: str) -> float | None:
        text = record.get(name)
        return float(text) if text else None

    return Row(
        number("temperature"),
        number("humidity"),
        number("pressure"),
        int(number("walkers_in") or 0),
        int(number("walkers_out") or 0),
    )
