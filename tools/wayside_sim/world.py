"""The world's time, and what is due to happen in it.

All times are world µs since the world began; ``unix()`` says what the world's true clock shows. A board's own clock
is another matter (`clock.py`). In real time the world runs `speed` times as fast as the host; a virtual world stands
still until it is told to go on, and is the same every time it is run.
"""

import heapq
import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(order=True)
class Event:
    """Something that happens at `at_us`; set `cancelled` to call it off."""

    at_us: int
    order: int
    act: Callable[[], None] = field(compare=False)
    cancelled: bool = field(default=False, compare=False)


class World:
    """A clock and the queue of what is due."""

    def __init__(self, *, virtual: bool = False, speed: float = 1.0, start_unix: float | None = None) -> None:
        if speed <= 0:
            raise ValueError("speed must be above 0")
        self.virtual = virtual
        self.speed = 1.0 if virtual else speed
        self.start_unix = time.time() if start_unix is None else start_unix
        self._mono0_us = time.monotonic_ns() // 1000
        self._now_us = 0
        self._events: list[Event] = []
        self._order = 0

    @property
    def now_us(self) -> int:
        """World time. In real time it goes on while one looks."""
        if self.virtual:
            return self._now_us
        return int((time.monotonic_ns() // 1000 - self._mono0_us) * self.speed)

    def mono_us(self, world_us: int) -> int:
        """The host's monotonic clock at a world time, for a board process that works out its own time (real time
        only)."""
        return self._mono0_us + int(world_us / self.speed)

    def unix(self, world_us: int | None = None) -> float:
        """True Unix seconds at a world time."""
        return self.start_unix + (self.now_us if world_us is None else world_us) / 1e6

    def at(self, at_us: int, act: Callable[[], None]) -> Event:
        """Have something done at a world time; one that is past is done at the next turn."""
        self._order += 1
        event = Event(int(at_us), self._order, act)
        heapq.heappush(self._events, event)
        return event

    def after(self, us: int, act: Callable[[], None]) -> Event:
        return self.at(self.now_us + us, act)

    def next_us(self) -> int | None:
        """World time of the next thing due, or None."""
        while self._events and self._events[0].cancelled:
            heapq.heappop(self._events)
        return self._events[0].at_us if self._events else None

    def advance(self, to_us: int) -> None:
        """Go on to a world time (virtual), doing on the way what is due; in real time do what is due by now."""
        while (due := self.next_us()) is not None and due <= to_us:
            event = heapq.heappop(self._events)
            if self.virtual:
                self._now_us = max(self._now_us, event.at_us)
            event.act()
        if self.virtual:
            self._now_us = max(self._now_us, to_us)

    def host_seconds_until(self, at_us: int) -> float:
        """Seconds of the host's time until a world time; 0 when it is past."""
        return max(0.0, (at_us - self.now_us) / 1e6 / self.speed)
