"""The records that were sent and not acked yet: when each goes again, and what a round trip takes.

The wait before a repeat is RFC 6298's: the smoothed round trip and four deviations, doubled at each repeat. A record
also goes again once REORDER later ones were acked (RFC 5681's fast retransmit). `now` is `Clock.now`.
"""

from array import array

from wayside_node.clock import later, since

RTO_FIRST_MS = 1_000
"""Before any round trip is known: RFC 6298 §2.1."""
RTO_MIN_MS = 500
"""Room for a gateway that gathers a few hundred milliseconds of frames into one commit."""
RTO_MAX_MS = 30_000
"""Cap of the doubling: a gateway that comes back is sent something within it."""
REORDER = 3
"""Acks of later records that show one as lost: RFC 5681 §3.2, against links that reorder a little."""
TRIES_MAX = 6
"""Sends of one record before others have its place in the window: one that cannot be accepted must not block them."""


class Flight:
    """At most `size` records. Allocates nothing after its making. `repeats` counts all sends after a first one."""

    def __init__(self, size):
        self._size = size
        self._seq = array("I", [0] * size)
        self._sent = array("i", [0] * size)
        self._wait = array("i", [0] * size)
        self._tries = bytearray(size)  # 0: a free place
        self._passed = bytearray(size)  # later records acked since it was sent
        self._order = array("i", [0] * size)
        self._sends = 0
        self._rtt = -1
        self._deviation = 0
        self.count = 0
        self.repeats = 0

    def clear(self):
        """Nothing is on its way any more; what is known of the round trip stays."""
        for i in range(self._size):
            self._tries[i] = 0
        self.count = 0

    def holds(self, seq):
        for i in range(self._size):  # noqa: SIM110 -- a generator would allocate
            if self._tries[i] and self._seq[i] == seq:
                return True
        return False

    def rto_ms(self):
        """How long an ack may take before a record that was sent once goes again."""
        if self._rtt < 0:
            return RTO_FIRST_MS
        return min(max(self._rtt + 4 * self._deviation, RTO_MIN_MS), RTO_MAX_MS)

    def due(self, now):
        """The place of a record to be sent again, or -1."""
        for i in range(self._size):
            if self._tries[i] and (self._passed[i] >= REORDER or since(now, self._sent[i]) >= self._wait[i]):
                return i
        return -1

    def wait_ms(self, now):
        """Until the first record is due, at most RTO_MAX_MS."""
        wait = RTO_MAX_MS
        for i in range(self._size):
            if self._tries[i]:
                wait = min(wait, 0 if self._passed[i] >= REORDER else self._wait[i] - since(now, self._sent[i]))
        return max(wait, 0)

    def seq_at(self, i):
        return self._seq[i]

    def tired(self, i):
        """Whether the record was sent as often as it may be."""
        return self._tries[i] >= TRIES_MAX

    def drop(self, i):
        self._tries[i] = 0
        self.count -= 1

    def add(self, seq, now):
        """A record was sent for the first time; there must be a free place."""
        for i in range(self._size):
            if not self._tries[i]:
                self._seq[i] = seq
                self.count += 1
                self.sent(i, now)
                return

    def sent(self, i, now):
        """The record at this place was sent, for the first time or again."""
        tries = self._tries[i]
        if tries:
            self.repeats += 1
        self._tries[i] = tries + 1
        self._sent[i] = now
        self._wait[i] = min(self.rto_ms() << tries, RTO_MAX_MS)
        self._passed[i] = 0
        self._sends = (self._sends + 1) & 0x3FFFFFFF
        self._order[i] = self._sends

    def acked(self, first, last, now):
        """first..last are held by the gateway."""
        for i in range(self._size):
            if self._tries[i] and first <= self._seq[i] <= last:
                if self._tries[i] == 1:  # Karn: a repeat's ack may be the first one's
                    self._measure(since(now, self._sent[i]))
                self.drop(i)
                self._pass(self._order[i])

    def _pass(self, order):
        for i in range(self._size):
            if self._tries[i] and self._order[i] < order and self._passed[i] < REORDER:
                self._passed[i] += 1

    def _measure(self, rtt):
        """RFC 6298 §2.2, §2.3."""
        if self._rtt < 0:
            self._rtt = rtt
            self._deviation = rtt // 2
            return
        self._deviation += (abs(self._rtt - rtt) - self._deviation) // 4
        self._rtt += (rtt - self._rtt) // 8

    def rtt_ms(self):
        """Smoothed round trip of a record, -1 while unknown."""
        return self._rtt


def next_time(now, ms, jitter):
    """`now` plus ms, 25 % more or less by jitter (0..255): nodes that lost one gateway do not come back in step."""
    return later(now, ms - ms // 4 + ms // 2 * jitter // 255)
