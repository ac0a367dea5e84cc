"""Waiting before a new try: longer each time, capped, and jittered so that many do not come at once."""

import random

FIRST_S = 0.5
CAP_S = 30.0
"""The longest wait: what an operator who has just mended something is willing to wait."""
FACTOR = 2.0
STEADY_S = 60.0
"""Work that lasted this long counts as a success: the next failure starts with a short wait again."""


class Backoff:
    """`next()` gives the seconds to wait: uniform between half and all of a delay that doubles up to the cap."""

    def __init__(self, first_s: float = FIRST_S, cap_s: float = CAP_S, rng: random.Random | None = None) -> None:
        self.first_s = first_s
        self._cap_s = cap_s
        self._delay_s = first_s
        self._rng = rng if rng is not None else random.Random()

    def next(self) -> float:
        delay_s = self._delay_s
        self._delay_s = min(self._cap_s, delay_s * FACTOR)
        return delay_s * self._rng.uniform(0.5, 1.0)

    def reset(self) -> None:
        """After a success."""
        self._delay_s = self.first_s
