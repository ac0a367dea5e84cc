"""The gateway's clock: what time it is, and whether that may be believed.

A node's whole history is dated by this clock, so a wrong one is worse than none: without a clock that is
known to be right, no node is given a time and nothing is dated by it.
"""

import ctypes
import time
from collections.abc import Callable

FLOOR_MS = 1_767_225_600_000
"""2026-01-01: before the first gateway existed. Boards without a battery start at 1970 or 2000."""
STEP_MS = 500
"""A jump of wall time against the monotonic clock between two checks; NTP's slewing moves 0.5 ms in a second."""
RECHECK_S = 1.0
"""How old an answer about NTP may be; asking costs a system call."""
MAX_ERROR_US = 1_000_000
"""The kernel's own bound on the clock's error, above which it is not believed to the second."""

_STA_UNSYNC = 0x0040  # linux/timex.h
_TIME_ERROR = 5


class _Timex(ctypes.Structure):
    """struct timex of adjtimex(2) up to `status`, and room for the rest."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 256),
    )


def ntp_synchronised() -> bool:
    """Whether the kernel says that something (chrony, timesyncd, ntpd) keeps its clock right (adjtimex(2))."""
    adjtimex = getattr(ctypes.CDLL(None), "adjtimex", None)
    if adjtimex is None:  # not Linux: nobody to ask
        return False
    timex = _Timex(modes=0)  # modes 0: read only, allowed to everybody
    state = adjtimex(ctypes.byref(timex))
    return state not in (-1, _TIME_ERROR) and not timex.status & _STA_UNSYNC and timex.maxerror < MAX_ERROR_US


class GatewayClock:
    """Wall and monotonic time in milliseconds. The three callables are the clocks, for tests to replace."""

    def __init__(
        self,
        require_ntp: bool = True,
        wall_s: Callable[[], float] = time.time,
        monotonic_s: Callable[[], float] = time.monotonic,
        synchronised: Callable[[], bool] = ntp_synchronised,
    ) -> None:
        self._require_ntp = require_ntp
        self._wall_s = wall_s
        self._monotonic_s = monotonic_s
        self._synchronised = synchronised
        self._asked_s = -RECHECK_S
        self._in_sync = False
        self._offset_ms = self.wall_ms() - self.monotonic_ms()
        self.steps = 0
        """How often wall time jumped since the start."""
        self._pulse_s: float | None = None

    def wall_ms(self) -> int:
        """What the clock shows, believed or not. Unix milliseconds."""
        return int(self._wall_s() * 1000)

    def monotonic_ms(self) -> int:
        """Milliseconds that only grow, from an arbitrary start."""
        return int(self._monotonic_s() * 1000)

    def believed(self) -> bool:
        """Whether wall time may date readings: above the floor, and kept by NTP unless that is waived."""
        return self.doubt() == ""

    def doubt(self) -> str:
        """Why the clock is not believed; empty when it is."""
        if self.wall_ms() < FLOOR_MS:
            return "before_floor"
        if not self._require_ntp:
            return ""
        now_s = self._monotonic_s()
        if now_s - self._asked_s >= RECHECK_S:
            self._asked_s = now_s
            self._in_sync = self._synchronised()
        return "" if self._in_sync else "not_synchronised"

    def unix_ms(self) -> int | None:
        """Wall time if it is believed."""
        return self.wall_ms() if self.believed() else None

    def pulse(self) -> int:
        """To be called about once a second: how far wall time jumped since the last call (ms, 0: it did not)."""
        self._pulse_s = self._monotonic_s()
        offset_ms = self.wall_ms() - self.monotonic_ms()
        jump = offset_ms - self._offset_ms
        self._offset_ms = offset_ms
        if abs(jump) < STEP_MS:
            return 0
        self.steps += 1
        self._asked_s = -RECHECK_S
        return jump

    def pulse_age_ms(self) -> int:
        """Milliseconds since the last pulse. Much more than a second: this process stood still, and what it
        reads now may have waited in a buffer for as long."""
        return 0 if self._pulse_s is None else int((self._monotonic_s() - self._pulse_s) * 1000)
