"""Records into the journal: encoded, sealed under the number they will have, and on flash before anyone sees them.

A record's frame is made only after `make_room`, because a new segment begins with the channels record and so takes a
number first. Events go by `event`, which a failing flash does not make fail: what it could not store is counted.
"""

from wayside_node import nothing
from wayside_node.journal import JournalError
from wayside_node.journal.journal import EVENT, HEALTH, SAMPLES
from wayside_node.journal.segment import SEGMENT_BYTES
from wayside_node.spool import SpoolError
from wayside_protocol import columns_encoder, event, record
from wayside_protocol.cbor import Writer
from wayside_protocol.errors import UsageError
from wayside_protocol.limits import CHANNELS_MAX, FRAME_MAX, HEAD_MAX, PLAIN_MAX, TAG_LEN

SAMPLES_HEAD_MAX = 1 + 1 + 11 + 5 + 5 + 3 + 3
"""Array head, kind, boot and uptime, interval, set, n, head of the columns: the rest of PLAIN_MAX is for columns."""
CHANNELS_PLAIN_MAX = 1 + 1 + 5 + 1 + CHANNELS_MAX * 6
LOSSES_TOLD_MAX = 8
"""Events of loss journaled at once: telling of one may cost others, in a journal that is full of events."""


class Recorder:
    """`on_append()` is called after each record: there is something to send.

    failed     records that the flash refused
    segments   journal segments begun since boot, SEGMENT_ERASES flash blocks each
    """

    SEGMENT_ERASES = SEGMENT_BYTES // 4096

    def __init__(self, node, clock, journal, sealer):
        self._node = node
        self._clock = clock
        self._journal = journal
        self._sealer = sealer
        self._plain = bytearray(PLAIN_MAX)
        self._writer = Writer(self._plain)
        self._coded = bytearray(PLAIN_MAX - SAMPLES_HEAD_MAX)
        self._frame = bytearray(FRAME_MAX)
        self._set = bytearray(CHANNELS_PLAIN_MAX)
        self._set_len = 0
        self._defined = False
        self.quantities = ()
        self.set_id = 0
        self.on_append = nothing
        self.failed = 0
        self.segments = 0
        journal.on_new_segment = self._lead

    def define(self, set_id, channels):
        """From now on samples are of this set: (quantity, place) of each column. `channels` journals it."""
        writer = Writer(self._set)
        record.encode_channels(writer, set_id, channels)
        self._set_len = writer.pos
        self._defined = False
        self.set_id = set_id
        self.quantities = tuple([quantity for quantity, _ in channels])

    def channels(self):
        """Journal the definition of the set, unless a new segment began with it already. Raises JournalError."""
        if not self._defined:
            self._append(self._set, self._set_len, EVENT)
            self._defined = True

    def _lead(self):
        self.segments += 1
        if self._set_len:
            self._append(self._set, self._set_len, EVENT)
            self._defined = True

    def samples(self, t, interval_s, n, rows, spool=None):
        """Journal the first n samples of the flat `rows`; return how many are on flash. Raises JournalError if none is.

        Where one record cannot hold them, they become two or more: then it may be the first ones only. `spool` is told
        the number of each beforehand.
        """
        try:
            end = columns_encoder.encode(self._coded, 0, self.quantities, rows, n)
        except UsageError as error:
            if error.reason != "buffer_full" or n < 2:
                raise
            return self._halves(t, interval_s, n, rows, spool)
        writer = self._writer
        writer.pos = 0
        record.encode_samples(writer, t, interval_s, self.set_id, n, self._coded, end)
        seq = self._room(writer.pos)
        if spool is not None:
            try:
                spool.seal(seq)
            except SpoolError:
                self.failed += 1
        self._seal(seq, self._plain, writer.pos, SAMPLES)
        self._tell_losses()
        return n

    def _halves(self, t, interval_s, n, rows, spool):
        half = n // 2
        at = half * len(self.quantities)
        done = self.samples(t, interval_s, half, memoryview(rows)[:at], spool)
        if done < half:
            return done
        try:
            return half + self.samples(
                advance(t, half * interval_s), interval_s, n - half, memoryview(rows)[at:], spool
            )
        except JournalError:
            self.failed += 1
            return half

    def event(self, code, detail):
        """Journal an event of now; return whether it is on flash."""
        self._writer.pos = 0
        record.encode_event(self._writer, self._now(), code, detail)
        return self._try(EVENT)

    def health(self, values):
        """Journal a health record of now; return whether it is on flash."""
        self._writer.pos = 0
        record.encode_health(self._writer, self._now(), values)
        return self._try(HEALTH)

    def _now(self):
        return self._clock.stamp(self._clock.uptime_ms())

    def _try(self, priority):
        try:
            self._append(self._plain, self._writer.pos, priority)
            self._tell_losses()
        except JournalError:
            self.failed += 1
            return False
        return True

    def _append(self, plain, n, priority):
        self._seal(self._room(n), plain, n, priority)

    def _room(self, n):
        return self._journal.make_room(n + HEAD_MAX + TAG_LEN)

    def _seal(self, seq, plain, n, priority):
        length = self._sealer.record(self._frame, self._node, seq, plain, n)
        self._journal.append(self._frame, length, priority)
        self.on_append()

    def _tell_losses(self):
        """Say what will never arrive, so that the gap in the numbers has a reason.

        What the flash refuses is told later: the record before it is on flash, and must not be journaled again.
        """
        for _ in range(LOSSES_TOLD_MAX):
            loss = self._journal.loss()
            if loss is None:
                return
            reason, first, last = loss
            self._writer.pos = 0
            record.encode_event(self._writer, self._now(), event.LOST, (first, last, reason))
            try:
                self._append(self._plain, self._writer.pos, EVENT)
                self._journal.loss_told()
            except JournalError:
                self.failed += 1
                return


def advance(t, seconds):
    """A record's time, so many seconds later."""
    return t + seconds if isinstance(t, int) else (t[0], t[1] + seconds)
