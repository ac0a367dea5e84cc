"""Counting people from two beams across their way: pure, integer, one edge at a time, no allocation.

Terms. A *pulse* is a time in which one beam is blocked; clear gaps shorter than the debounce time belong to it (legs,
bags). A *group* is a time in which either beam is blocked, closed once both were clear for the hold time. Groups are
what is counted:

    first blocked A, last cleared B    that many people went A to B (in), as many as both beams saw pulses
    first blocked B, last cleared A    out
    the same beam first and last       one pulse on the other beam: a turn-back, nobody passed; more: people who met,
                                       one each way, and what is over `unknown`
    one beam only                      nobody passed: an arm, a leaf, someone who stands beside the other beam
    both at once (shorter than any     `unknown`: no one is that fast; sun or a car's light in both receivers
    cyclist could be)
    longer than GROUP_MAX              cut there: a crowd is counted so far, a loiterer is noted and not counted

Limits, measured: people abreast are one to two beams; a turn-back and two people who meet can look alike.
Times are a free-running counter in µs, taken modulo 2**30 as MicroPython's ticks_us are; an edge or a tick must come
at least every 8 minutes.
"""

from array import array

TICKS_MASK = (1 << 30) - 1
TICKS_HALF = 1 << 29

IN, OUT, UNKNOWN = 0, 1, 2

PULSES_MAX = 8
"""Pulses of one beam that are kept: at the next one, those that are over at both beams are counted."""
DEBOUNCE_MS = 60
"""Gaps within one walker (legs, bags) are mostly shorter. Of 302 recorded walkers 296 were counted with 40 to 60 ms,
two of them as turn-backs with 40; 292 with 100 ms, which joins people who follow closely."""
GROUP_MAX_MS = 8000
"""A group is counted 8 s after it began at the latest, so that a count belongs to its minute."""
SPEED_MAX_MM_MS = 12
"""No cyclist is faster on a footway: 12 m/s. Both beams within spacing / 12 m/s is not a passage."""
SPEED_MIN_MM_S = 200
"""Slower than this from beam to beam is loitering: counted, since the person did pass, and noted."""
BODY_MM = 200
"""Depth of a body at the beams, at least: beams further apart than this can both be clear while one person passes."""
SATURATED_PERMILLE = 250
"""Above this busy share, chance overlap makes the count too low to be used uncorrected."""


def since(now, then):
    """now - then in µs, for times less than half the counter's round apart."""
    return (now - then + TICKS_HALF & TICKS_MASK) - TICKS_HALF


class TwoBeams:
    """Feed `edge` in order of time and `tick` now and then; read `counts`, running totals by IN, OUT, UNKNOWN.

    turn_backs, loiterers   how many of each were noticed
    busy_us                 how long either beam was blocked since `take_busy`
    """

    def __init__(self, spacing_mm=200, debounce_ms=DEBOUNCE_MS):
        self.counts = array("i", [0, 0, 0])
        self.turn_backs = 0
        self.loiterers = 0
        self.busy_us = 0
        self._debounce = debounce_ms * 1000
        # Beams far apart: a body can be between them, and both clear, for as long as a slow walker takes.
        self._hold = self._debounce + max(0, spacing_mm - BODY_MM) * 2000
        self._fast = spacing_mm * 1000 // SPEED_MAX_MM_MS
        self._slow = spacing_mm * 1_000_000 // SPEED_MIN_MM_S
        self._on = (array("I", [0] * PULSES_MAX), array("I", [0] * PULSES_MAX))
        self._off = (array("I", [0] * PULSES_MAX), array("I", [0] * PULSES_MAX))
        self._n = bytearray(2)
        self._blocked = bytearray(2)
        self._loitering = False  # the group at hand was noted as a loiterer
        self._last = 0  # time of the last edge or tick
        self._clear_at = 0  # when both were clear, in a group

    def edge(self, t, beam, blocked):
        """Beam 0 (A) or 1 (B) became blocked (1) or clear (0) at t."""
        self.tick(t)
        if self._blocked[beam] == blocked:
            return  # a bounce too quick for the pin to be read, or an edge that was lost
        self._blocked[beam] = blocked
        n = self._n[beam]
        if blocked and n == PULSES_MAX:
            self._cut(t)
            n = self._n[beam]
        if not blocked:
            self._off[beam][n - 1] = t
            self._clear_at = t
        elif n and (n == PULSES_MAX or since(t, self._off[beam][n - 1]) < self._debounce):
            pass  # the same pulse goes on
        else:
            self._on[beam][n] = t
            self._n[beam] = n + 1

    def begin(self, t):
        """The time is t, and both beams are taken as clear."""
        self._last = t

    def tick(self, t):
        """The time is t: closes a group whose hold time is over. Return whether a group was closed."""
        passed = since(t, self._last)
        if passed < 0:
            return False  # an interrupt came between reading the clock and this
        self._last = t
        if self._blocked[0] or self._blocked[1]:
            self.busy_us += passed
            if since(t, self._start()) >= GROUP_MAX_MS * 1000:
                self._cut(t)
            return False
        if not (self._n[0] or self._n[1]) or since(t, self._clear_at) < self._hold:
            return False
        self._count(self._n[0], self._n[1])
        self._n[0] = self._n[1] = 0
        self._loitering = False
        return True

    def blocked(self, beam):
        """Whether the beam is blocked now, as far as edges tell."""
        return self._blocked[beam]

    def take_busy(self):
        """busy_us since the last call."""
        busy = self.busy_us
        self.busy_us = 0
        return busy

    def _start(self):
        if not self._n[0]:
            return self._on[1][0]
        if not self._n[1] or since(self._on[1][0], self._on[0][0]) >= 0:
            return self._on[0][0]
        return self._on[1][0]

    def _cut(self, t):
        """A group without an end: a crowd is counted so far; one person is followed on, however long it takes."""
        k = min(self._n[0] - self._blocked[0], self._n[1] - self._blocked[1])  # pulses over at both beams
        if k and self._n[0] + self._n[1] > 2:
            self._count(k, k)
            for beam in range(2):
                self._n[beam] -= k
                for i in range(self._n[beam]):
                    self._on[beam][i] = self._on[beam][i + k]
                    self._off[beam][i] = self._off[beam][i + k]
            return
        if not self._loitering:
            self._loitering = True
            self.loiterers += 1
        # Only the order matters from here on; times that stay would leave the counter's round.
        first = 0 if self._n[0] and self._start() == self._on[0][0] else 1
        self._on[first][0] = t - 3 & TICKS_MASK
        self._on[1 - first][0] = t - 2 & TICKS_MASK
        for beam in range(2):
            self._n[beam] = self._n[beam] and 1
            self._off[beam][0] = t - 1 & TICKS_MASK

    def _count(self, a, b):
        """Count the first a pulses of A and b of B."""
        if not a or not b:
            return
        enter = since(self._on[1][0], self._on[0][0])  # > 0: A was blocked first
        leave = since(self._off[1][b - 1], self._off[0][a - 1])  # > 0: A was cleared first
        fewer = a if a < b else b
        if (enter > 0 and leave > 0) or (enter < 0 and leave < 0):
            self._passed(IN if enter > 0 else OUT, enter + leave, fewer)
        elif fewer < 2:
            self.turn_backs += 1
        else:
            self.counts[IN] += 1
            self.counts[OUT] += 1
            self.counts[UNKNOWN] += fewer - 2

    def _passed(self, direction, lags, fewer):
        """`lags`: how much later the second beam was, at the front and at the back, added."""
        lag = (lags if lags > 0 else -lags) >> 1
        if lag < self._fast:
            self.counts[UNKNOWN] += 1
            return
        if lag > self._slow and fewer == 1 and not self._loitering:
            self.loiterers += 1
        self.counts[direction] += fewer
