"""The node's time: uptime from the board's tick counter, and Unix time as a gateway's welcomes set it.

Unix time is uptime times a measured rate plus an offset (SPEC §2.4). A real-time clock is never asked: what it shows
after a power loss means nothing. Rules, in the order in which `sync` applies them:

- A reading that agrees with the clock and knows less than it does changes nothing.
- An error of more than STEP_MS, or the first reading, steps the clock; a smaller one is slewed at SLEW_PPM.
- Two readings at least BASELINE_MIN_MS apart measure the rate. A reading that contradicts the clock's own bound
  shows that the rate has changed: what was measured is forgotten, and the baseline begins anew.
"""

RATE_UNKNOWN_PPM = 112_000
"""Uncertainty of a rate that was never measured: an oscillator 10 % slow makes uptime 11.1 % short."""
RATE_FLOOR_PPM = 200
"""The least uncertainty of a measured rate: a crystal over a street's temperatures (±50 ppm), its ageing, and room."""
BASELINE_MIN_MS = 30_000
"""A round trip of 20 ms over it is 0.13 % of rate: enough to stay within 2 s until the next welcome."""
BASELINE_MAX_MS = 3_600_000
"""Older readings say what the oscillator did at another temperature."""
STEP_MS = 2_000
"""An error above it is no drift but a mistake: it is corrected at once, and an event says so."""
SLEW_PPM = 5_000
"""How fast a small error is worked off: 1 s in 200 s, too slow to be seen between two samples."""
PLAIN_BOUND_MS = 1_500
"""A record says Unix seconds while the bound is at most this: in whole ones right within 2 s (SPEC §2.3)."""

MILLION = 1_000_000
NOW_MASK = (1 << 29) - 1
_NOW_HALF = 1 << 28

try:
    from time import ticks_diff, ticks_ms  # pyright: ignore[reportAssignmentType] -- the fallback takes any integers
except ImportError:
    from time import monotonic  # pyright: ignore[reportAttributeAccessIssue] -- CPython's

    def ticks_ms():
        return int(monotonic() * 1000)

    def ticks_diff(end, start):
        return end - start


def since(now, then):
    """Milliseconds from `then` to `now`, both from `Clock.now`; right up to 3.1 days either way."""
    return ((now - then + _NOW_HALF) & NOW_MASK) - _NOW_HALF


def later(now, ms):
    """The `Clock.now` of ms milliseconds from now, at most 3.1 days."""
    return (now + ms) & NOW_MASK


class Clock:
    """`on_set(uptime_ms, before_ms, after_ms)` is called when the clock is first set (before_ms -1) or stepped.

    steps     how often that was: whoever took a time before compares it
    rate_ppm  how much faster Unix time runs than uptime; None until it is measured
    """

    def __init__(self, boot, on_set=None):
        self.boot = boot
        self.on_set = on_set
        self.steps = 0
        self.rate_ppm = None
        self._ticks = ticks_ms()
        self._now = 0
        self._s = 0
        self._ms = 0
        self._set = False
        self._up = 0  # uptime, Unix time and bound of the last reading taken
        self._unix = 0
        self._bound = 0
        self._slew = 0  # error found then, still to be worked off from there on
        self._unsure_ppm = RATE_UNKNOWN_PPM
        self._first = (0, 0, 0)  # uptime, Unix time and round trip where the baseline begins
        self._last = (0, 0, 0)

    def _advance(self):
        ticks = ticks_ms()
        passed = ticks_diff(ticks, self._ticks)
        self._ticks = ticks
        self._now = (self._now + passed) & NOW_MASK
        ms = self._ms + passed
        if ms >= 1000:
            self._s += ms // 1000
            ms %= 1000
        self._ms = ms

    def now(self):
        """Milliseconds for timers: wraps after 6.2 days, so that it stays a small integer on a board. See `since`.

        Must be called at least once in 6 days, which the watchdog's task does by far.
        """
        self._advance()
        return self._now

    def uptime_ms(self):
        """Milliseconds since boot; never wraps. A big integer after 12 days on a board."""
        self._advance()
        return self._s * 1000 + self._ms

    def is_set(self):
        return self._set

    def unix_ms(self, uptime_ms):
        """Unix time at that uptime; only once the clock is set."""
        passed = uptime_ms - self._up
        return self._unix + passed + passed * (self.rate_ppm or 0) // MILLION + self._slewed(passed)

    def _slewed(self, passed):
        if passed <= 0:
            return 0
        done = passed * SLEW_PPM // MILLION
        return max(self._slew, -done) if self._slew < 0 else min(self._slew, done)

    def bound_ms(self, uptime_ms):
        """How wrong `unix_ms` may be at that uptime; None while the clock is not set."""
        if not self._set:
            return None
        passed = uptime_ms - self._up
        return self._bound + abs(self._slew - self._slewed(passed)) + abs(passed) * self._unsure_ppm // MILLION

    def plain(self, uptime_ms):
        """Whether a record of that uptime says Unix seconds."""
        bound_ms = self.bound_ms(uptime_ms)
        return bound_ms is not None and bound_ms <= PLAIN_BOUND_MS

    def stamp(self, uptime_ms):
        """A record's time: Unix seconds, or (boot, uptime in seconds), rounded to the nearest."""
        if self.plain(uptime_ms):
            return (self.unix_ms(uptime_ms) + 500) // 1000
        return self.boot, (uptime_ms + 500) // 1000

    def board_ms(self, true_ms):
        """How much uptime passes in so much true time, as far as the rate is known."""
        return true_ms * MILLION // (MILLION + (self.rate_ppm or 0))

    def good_for_ms(self, bound_ms):
        """How long after the last reading the bound stays below bound_ms; 0 if it does not, or the clock is not set."""
        if not self._set:
            return 0
        return max(bound_ms - self._bound - abs(self._slew), 0) * MILLION // self._unsure_ppm

    def sync(self, unix_ms, rtt_ms, uptime_ms):
        """Unix time was unix_ms at that uptime, half a round trip uncertain. Return whether the clock follows it."""
        bound = (rtt_ms + 1) // 2 + 1  # the tick itself is 1 ms coarse
        if not self._set:
            self._restart(unix_ms, rtt_ms, uptime_ms)
            self._step(unix_ms, bound, uptime_ms, -1)
            return True
        self._rebase(uptime_ms)
        known = self._bound + abs(self._slew)
        error = unix_ms - self._unix
        if abs(error) > known + bound:
            self._restart(unix_ms, rtt_ms, uptime_ms)
        else:
            self._measure(unix_ms, rtt_ms, uptime_ms)
            if bound > known:
                return False
        if abs(error) > STEP_MS:
            self._step(unix_ms, bound, uptime_ms, self._unix)
        else:
            self._slew = error
            self._bound = bound
        return True

    def _rebase(self, uptime_ms):
        """Reckon from that uptime on, with nothing else changed."""
        passed = uptime_ms - self._up
        unix_ms = self.unix_ms(uptime_ms)
        self._slew -= self._slewed(passed)
        self._bound += abs(passed) * self._unsure_ppm // MILLION
        self._unix = unix_ms
        self._up = uptime_ms

    def _step(self, unix_ms, bound, uptime_ms, before_ms):
        self._up = uptime_ms
        self._unix = unix_ms
        self._slew = 0
        self._bound = bound
        self._set = True
        self.steps += 1
        if self.on_set is not None:
            self.on_set(uptime_ms, before_ms, unix_ms)

    def _restart(self, unix_ms, rtt_ms, uptime_ms):
        self._first = self._last = (uptime_ms, unix_ms, rtt_ms)
        self._unsure_ppm = RATE_UNKNOWN_PPM

    def _measure(self, unix_ms, rtt_ms, uptime_ms):
        """Take the rate over the baseline, unless the one in force is better known. Begin from a rebased clock."""
        up, unix, rtt = self._first
        baseline = uptime_ms - up
        if baseline < BASELINE_MIN_MS:
            return
        unsure = max(RATE_FLOOR_PPM, 2 * max(rtt, rtt_ms) * MILLION // baseline)
        if unsure <= self._unsure_ppm:
            self.rate_ppm = (unix_ms - unix - baseline) * MILLION // baseline
            self._unsure_ppm = unsure
        if baseline > BASELINE_MAX_MS:
            self._first = self._last
        if uptime_ms - self._last[0] > BASELINE_MAX_MS // 2:
            self._last = (uptime_ms, unix_ms, rtt_ms)
