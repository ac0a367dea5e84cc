"""The journal: append-only segments on littlefs, a seq for every record, and which of them a gateway holds.

Rules.
- A record's seq is the journal's next one: `make_room`, seal the frame with what it returns, `append`.
- `append` returns once the record is on flash. Before that no byte of it may be sent.
- A seq is never used twice: where the end of the journal is lost, numbering goes on above a reserved ceiling.
- A full journal drops whole segments: the oldest that a gateway holds; else, of those with the lowest priority in
  them, the oldest. What was dropped without being held is counted, and told by `loss`.
- What the flash gives back wrongly is never handed out: its seq is told as lost.
"""

from wayside_node import files
from wayside_node.journal import eviction, segment
from wayside_node.journal.acks import Acks
from wayside_node.journal.recovery import LOST_CORRUPT, LOST_EVICTED, recover
from wayside_node.journal.segment import FRAME_MAX, SEGMENT_BYTES
from wayside_node.journal.segments import Segments
from wayside_node.journal.state import RESERVE, State
from wayside_node.slots import SlotError

LOG, HEALTH, SAMPLES, EVENT = 0, 1, 2, 3
"""Priorities; a channels record has the highest as well."""
RECORD_MIN = 48
"""Bytes a record takes on average at least: the capacity divided by it bounds how many records are kept track of."""
MAKE_TRIES = 3
"""Segments evicted at most to make room for a new one where the flash is fuller than the journal's own share."""


class JournalError(Exception):
    """The record is not on flash. `reason`: `journal_write` (the flash refused: begin again with `make_room`),
    `journal_room` (`make_room` was not called, or for fewer bytes)."""

    def __init__(self, reason):
        super().__init__(reason)
        self.reason = reason


class Journal:
    """See the module. `on_new_segment()` is called by `make_room` after a new segment was begun: the caller journals
    the channels record there, so that it is never evicted before the samples that need it.

    next_seq   of the next record
    torn       segments whose end was unreadable at boot
    corrupt    records found damaged, at boot and since
    """

    def __init__(self, root, capacity_bytes, on_new_segment=None, segment_bytes=SEGMENT_BYTES):
        self.on_new_segment = on_new_segment
        folder = root + "/journal"
        files.make_folder(folder)
        self._state = State(root)
        self._segments = Segments(folder, capacity_bytes, segment_bytes)
        self._index = self._segments.index
        self._acks = Acks(max(capacity_bytes // RECORD_MIN, 4 * RESERVE))
        self._leading = False
        found = recover(folder, self._index, self._state, bytearray(FRAME_MAX))
        self.next_seq = found.next_seq
        self.torn = found.torn
        self.corrupt = found.corrupt
        if found.tail_bytes:
            self._segments.go_on(found.tail_bytes)
        self._begin_acks()

    def _begin_acks(self):
        index = self._index
        self._acks.reset(self.next_seq, self.next_seq - 1)
        if not index.count or index.last[index.count - 1] < index.first[0]:
            return
        newest = max(index.last[index.count - 1], index.last[index.count - 2]) if index.count > 1 else index.last[0]
        while index.count > 1 and newest - index.first[0] >= self._acks.size:
            self._acks.reset(index.first[0], index.last[0])
            self._drop(0)
        self._acks.reset(index.first[0], newest)
        for i in range(1, index.count):
            self._acks.mark(index.last[i - 1] + 1, index.first[i] - 1, True)

    @property
    def oldest(self):
        """Lowest seq on flash; next_seq when there is none."""
        return self._acks.low if self._acks.high >= self._acks.low else self.next_seq

    @property
    def newest(self):
        """Highest seq on flash; oldest - 1 when there is none."""
        return self._acks.high if self._acks.high >= self._acks.low else self.next_seq - 1

    @property
    def waiting(self):
        """Records that no gateway is known to hold."""
        return self._acks.waiting

    @property
    def evicted(self):
        return self._state.evicted

    @property
    def used_bytes(self):
        """Of the capacity: whole segments, and what is in the one that grows."""
        return self._segments.used_bytes

    def make_room(self, n):
        """See that a frame of up to n bytes can be appended; return the seq to seal it with. Raises JournalError."""
        if not self._segments.fits(n):
            self._rotate()
            if self.on_new_segment is not None:
                self._leading = True
                try:
                    self.on_new_segment()
                finally:
                    self._leading = False
        while self._index.count > 1 and self.next_seq - self._acks.low >= self._acks.size:
            self._drop(0)
        return self.next_seq

    def append(self, frame, n, priority):
        """Store the first n bytes of `frame` as record `next_seq`; return that seq once it is on flash.

        Raises JournalError; then the record does not count, and its seq goes to the next one.
        """
        if not 0 < n <= FRAME_MAX:
            raise ValueError("frame")
        if not self._segments.fits(n):
            raise JournalError("journal_room")
        seq = self.next_seq
        if seq >= self._state.ceiling:
            self._state.ceiling = seq + RESERVE
            self._save()
        try:
            self._segments.append(frame, n, seq, priority | (segment.LEAD if self._leading else 0))
        except OSError:
            raise JournalError("journal_write") from None
        self._acks.push(seq)
        self.next_seq = seq + 1
        return seq

    def read(self, seq, out):
        """Length of record `seq`, its frame in `out`, which holds FRAME_MAX bytes; 0 if there is none to be had.

        Cheapest in growing order; two places may be read in turn.
        """
        try:
            n = self._segments.read(seq, out)
        except OSError:
            n = 0
        if not n and self._acks.mark(seq, seq, True):
            self.corrupt += 1
            self._state.lose(LOST_CORRUPT, seq, seq)
        return n

    def ack(self, first, last):
        """A gateway holds first..last; return how many of them it was not known to hold."""
        return self._acks.mark(first, last, True)

    def held(self, ranges, forget=False):
        """What a welcome says: a gateway holds these (first, last) ranges.

        With `forget`, what lies between them waits again although it was acked before: for a gateway that lost what
        it held. The ranges must then be complete from the first to the last.
        """
        before = self._acks.low
        for first, last in ranges:
            if forget:
                self._wait_again(before, first - 1)
                before = last + 1
            self._acks.mark(first, last, True)
        if forget:
            self._wait_again(before, self._acks.high)

    def _wait_again(self, first, last):
        for i in range(self._index.count):
            self._acks.mark(max(first, self._index.first[i]), min(last, self._index.last[i]), False)

    def unacked(self, after=-1, newest_first=False):
        """The lowest seq above `after` that waits; with `newest_first` the highest below it (-1: of all). -1: none."""
        if newest_first:
            return self._acks.previous(self._acks.high if after < 0 else after - 1)
        return self._acks.next(after + 1)

    def loss(self):
        """(reason, first, last) of a range that will never arrive and that no event tells yet, or None.

        Journal the event, then call `loss_told`.
        """
        return self._state.losses[0] if self._state.losses else None

    def loss_told(self):
        """The event is on flash, as the newest record: forget the loss. Raises JournalError."""
        reason, first, _ = self._state.losses.pop(0)
        if reason == LOST_EVICTED:
            self._state.told_by = self.newest
            self._state.told_first = first
        self._save()

    def close(self):
        """Close its files; nothing is lost by not doing so. The journal is of no use afterwards."""
        self._segments.release()

    def _save(self):
        try:
            self._state.save()
        except SlotError:
            raise JournalError("journal_write") from None

    def _rotate(self):
        """Close the segment that grows, evict if the journal is full, begin a new one."""
        try:
            self._segments.close()
            while self._index.count >= self._index.most:
                self._drop(eviction.victim(self._index, self._acks))
            self._begin(self.next_seq)
        except OSError:
            raise JournalError("journal_write") from None
        self._state.segment = self.next_seq
        self._state.ceiling = max(self._state.ceiling, self.next_seq + RESERVE)
        self._save()

    def _begin(self, first):
        for _ in range(MAKE_TRIES):
            try:
                self._segments.begin(first)
                return
            except OSError:
                at = eviction.victim(self._index, self._acks)
                if at < 0:
                    raise
                self._drop(at)
        raise JournalError("journal_write")

    def _waits(self, seq):
        return self._acks.next(seq) == seq

    def _drop(self, at):
        """Evict a segment. What waits in it is counted on flash first, so that a cut in between counts it once."""
        first, last = self._index.first[at], self._index.last[at]
        waiting = self._acks.count_waiting(first, last)
        if waiting:
            low, high = self._acks.next(first), eviction.last_waiting(self._index, self._acks, at)
            self._state.evicted += waiting
            if self._waits(self._state.told_by):  # that event may be evicted too: the next one tells all of it again
                low = min(low, self._state.told_first)
            self._state.lose(LOST_EVICTED, low, high)
            self._state.dropping = first
            self._save()
        self._segments.remove(at)
        if at:
            self._acks.mark(first, last, True)
        else:
            self._acks.drop_below(self._index.first[0])
