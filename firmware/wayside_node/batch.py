"""The samples that are not sealed yet: in memory, and on flash one by one (`spool`).

A batch says only the time of its first sample, and that the others follow in even steps. So it is closed before a
sample that would not be where the record says it is. Rules: a batch is closed

- after the sample that fills it: `limit` samples, which no reading waits for longer than the report interval;
- before a sample more than OFF_MAX_MS off its place: a slot was missed, or the clock was slewed far;
- before a sample after the clock was set or stepped, or whose time would be said the other way (Unix time or uptime);
- on request (report, pause).
"""

from array import array

from wayside_node.journal import JournalError
from wayside_node.seal import advance
from wayside_node.spool import SpoolError
from wayside_protocol.columns_format import MISSING
from wayside_protocol.errors import UsageError
from wayside_protocol.limits import SAMPLES_MAX

OFF_MAX_MS = 1_000
"""How far a sample may be from the time that its record gives it; times are in whole seconds anyway."""


class Batch:
    """`open_row`, put values into `rows` from where it says, `close_row`. `lost`: samples that are in no record."""

    def __init__(self, clock, recorder, spool, interval_s, report_s, size):
        self._clock = clock
        self._recorder = recorder
        self._spool = spool
        self.interval_s = interval_s
        self.limit = max(1, min(size, report_s // interval_s, SAMPLES_MAX))
        self.n = 0
        self.lost = 0
        self.spool_failed = 0
        self._width = len(recorder.quantities)
        self.rows = array("i", [0] * (self.limit * self._width))
        self._t = 0  # of the first sample, as the record says it
        self._t_ms = 0  # the same in milliseconds, of Unix time or of uptime
        self._plain = False
        self._steps = 0

    def off_ms(self, uptime_ms):
        """How much later than its place the next sample would be at that uptime; in a batch that has a first one."""
        at = self._clock.unix_ms(uptime_ms) if self._plain else uptime_ms
        return at - self._t_ms - self.n * self.interval_s * 1000

    def due_ms(self, uptime_ms):
        """How much uptime there is from then to the place of the next sample; below 0 if that is past."""
        off = self.off_ms(uptime_ms)
        return self._clock.board_ms(-off) if self._plain else -off

    def _continues(self, uptime_ms):
        return (
            self.n < self.limit
            and self._steps == self._clock.steps
            and self._plain == self._clock.plain(uptime_ms)
            and abs(self.off_ms(uptime_ms)) <= OFF_MAX_MS
        )

    def open_row(self, uptime_ms):
        """Where in `rows` the values of a sample taken at that uptime go, all missing for now; -1: there is no room.

        Closes the batch first where the sample does not belong to it.
        """
        if self.n and not self._continues(uptime_ms) and not self.close():
            self.lost += 1
            return -1
        if not self.n:
            self._plain = self._clock.plain(uptime_ms)
            self._steps = self._clock.steps
            self._t = self._clock.stamp(uptime_ms)
            self._t_ms = 1000 * (self._t if self._plain else self._t[1])
        at = self.n * self._width
        for c in range(self._width):
            self.rows[at + c] = MISSING
        return at

    def close_row(self):
        """The sample is complete: to flash with it. Closes the batch if that fills it."""
        try:
            if not self.n:
                self._spool.begin(self._t, self.interval_s, self._recorder.set_id, self._width)
            self._spool.add(self.rows, self.n)
        except SpoolError:
            self.spool_failed += 1
        self.n += 1
        if self.n >= self.limit:
            self.close()

    def close(self):
        """Journal what there is; return whether nothing is left. What a failing flash refuses is tried again later.

        What no record can say is dropped and counted: it would be in the way of all that comes.
        """
        if self.n:
            try:
                done = self._recorder.samples(self._t, self.interval_s, self.n, self.rows, self._spool)
            except JournalError:
                self._recorder.failed += 1
                return False
            except UsageError:
                self.lost += self.n
                done = self.n
            self._drop(done)
        return not self.n

    def _drop(self, done):
        """The first samples are dealt with: what is left begins with the one after them."""
        self.n -= done
        at = done * self._width
        for i in range(self.n * self._width):
            self.rows[i] = self.rows[at + i]
        self._t = advance(self._t, done * self.interval_s)
        self._t_ms += 1000 * done * self.interval_s
