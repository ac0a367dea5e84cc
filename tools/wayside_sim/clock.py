"""A board's own clocks: the ticks since its boot, and an RTC that nobody has set.

Ticks run at (1 + drift) of the world's rate, and start at 0 with every boot. The RTC runs with them, keeps going
through a reset, and starts again at its epoch when the power comes back, unless it has a battery.
"""

import calendar

from wayside_sim.wire import RATE_BITS
from wayside_sim.world import World

UNIX_2000 = calendar.timegm((2000, 1, 1, 0, 0, 0))


class BoardClock:
    """Times in µs. `generation` grows whenever the board process must ask anew how to work out its time."""

    def __init__(
        self, world: World, *, drift: float = 0.0, rtc_start_unix: float = UNIX_2000, battery: bool = False
    ) -> None:
        self.world = world
        self.generation = 0
        self._drift = drift
        self._rate = _rate(drift)
        self._rtc_start_us = int(rtc_start_unix * 1e6)
        self._battery = battery
        self._base_world = 0
        self._base_ticks = 0
        self._rtc_less_ticks = 0
        self.boot(power_on=True)

    def boot(self, *, power_on: bool) -> None:
        """Ticks start again at 0."""
        rtc_us = self.rtc_us(self.world.now_us)
        self._base_world = self.world.now_us
        self._base_ticks = 0
        self._rtc_less_ticks = self._rtc_start_us if power_on and not self._battery else rtc_us
        self.generation += 1

    @property
    def drift(self) -> float:
        return self._drift

    @drift.setter
    def drift(self, drift: float) -> None:
        now = self.world.now_us
        self._base_ticks, self._base_world = self.ticks_us(now), now
        self._drift = drift
        self._rate = _rate(drift)
        self.generation += 1

    def ticks_us(self, world_us: int) -> int:
        """The board's µs since its boot at a world time."""
        return self._base_ticks + ((world_us - self._base_world) * self._rate >> RATE_BITS)

    def world_us(self, ticks_us: int) -> int:
        """The first world time at which the board's clock shows this."""
        return self._base_world - (-(ticks_us - self._base_ticks << RATE_BITS) // self._rate)

    def words(self) -> tuple[int, int, int]:
        """What CLOCK tells: the host's monotonic µs, the board's ticks then, and their rate."""
        return self.world.mono_us(self._base_world), self._base_ticks, _rate(self._drift, self.world.speed)

    def rtc_us(self, world_us: int) -> int:
        """What the RTC shows, as µs of Unix time."""
        return self._rtc_less_ticks + self.ticks_us(world_us)

    def set_rtc(self, unix_us: int) -> None:
        self._rtc_less_ticks = unix_us - self.ticks_us(self.world.now_us)


def _rate(drift: float, speed: float = 1.0) -> int:
    return round((1 + drift) * speed * (1 << RATE_BITS))
