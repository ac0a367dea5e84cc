"""A segment file: a magic, then records one after the other, in growing seq.

    magic 4 | record …
    record: magic 1 | flags 1 | length 2 | seq 4 | CRC-32 4 | frame of that length        (little-endian)

The CRC covers the eight bytes before it and the frame. Flags: the priority, and LEAD for what a new segment begins
with so that it stands for itself: that does not count for the segment's own priority.
A segment's name says what boot must know without opening it: `FIRST.open` while it grows, then
`FIRST-LAST.PRIORITY` (numbers in hex), renamed in one step.
"""

from array import array
from binascii import crc32

from wayside_node import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAGIC = b"WSJ1"
HEAD = 12
RECORD_MAGIC = 0xA7
PRIORITY = 0x0F
LEAD = 0x10
FRAME_MAX = 1024
"""Longest frame: the protocol's FRAME_MAX; a longer length in a header is damage."""
SEGMENT_BYTES = 16384
POINTER_BYTES = 16
"""What littlefs itself keeps in the four blocks of such a file: a segment may hold so much less."""
MARK_EVERY = 16
MARKS = 32
"""Positions that a reader notes: enough for 32-byte frames; with shorter ones the last stretch is walked."""
END = 1 << 29
"""Past every seq that a board can number in a thousand years, and a small integer on it."""


def name_open(first):
    return "{:08x}.open".format(first)


def name_closed(first, last, priority):
    return "{:08x}-{:08x}.{}".format(first, last, priority)


def parse_name(name):
    """(first, last, priority); last is -1 for a segment that grows. None if it is no segment's name."""
    try:
        if len(name) == 13 and name[8:] == ".open":
            return int(name[:8], 16), -1, 0
        if len(name) == 19 and name[8] == "-" and name[17] == ".":
            first, last = int(name[:8], 16), int(name[9:17], 16)
            if last + 1 >= first:
                return first, last, int(name[18])
    except ValueError:
        pass
    return None


def fill_head(head, flags, n, seq, frame):
    """The header of a record into `head`; `frame` is a memoryview of exactly n bytes."""
    head[0] = RECORD_MAGIC
    head[1] = flags
    _put32(head, 4, seq)
    head[2] = n & 0xFF
    head[3] = n >> 8
    _put32(head, 8, crc32(frame, crc32(memoryview(head)[:8])))


def _put32(buf, at, value):
    buf[at] = value & 0xFF
    buf[at + 1] = value >> 8 & 0xFF
    buf[at + 2] = value >> 16 & 0xFF
    buf[at + 3] = value >> 24 & 0xFF


def _get32(buf, at):
    return buf[at] | buf[at + 1] << 8 | buf[at + 2] << 16 | buf[at + 3] << 24


class Reader:
    """Walks one segment's records. Stepping over a record reads its header only; a frame is handed out only if its
    CRC is right. Where a header makes no sense, the next right record is searched for byte by byte. Where every
    MARK_EVERY-th record begins is noted, so that reading backwards does not begin at the start each time.

    `seq` is the lowest seq that can still come, END past the last record; `pos` is where that record begins.
    """

    def __init__(self):
        self.file: "Any" = None
        self.first = -1
        self.seq = 0
        self.pos = 0
        self.end = 0
        self.flags = 0
        self.length = 0
        self._found = 0
        self._last_pos = 0
        self._marks = array("H", [0] * MARKS)
        self._marked = 0
        self._head = bytearray(HEAD)
        self._crc_part = memoryview(self._head)[:8]

    def begin(self, file, first):
        """From the start of an open segment file whose first record is `first`."""
        self.file = file
        self.first = first
        self.seq = first
        self.pos = self._last_pos = len(MAGIC)
        self._marks[0] = self.pos
        self._marked = 1
        self.end = file.seek(0, files.SEEK_END)

    def forget(self):
        """Let go of the file, without closing it."""
        self.file = None
        self.first = -1

    def find(self, target, out):
        """Length of the frame of seq `target`, read into `out`; 0 if it is not there or not right.

        `out` holds FRAME_MAX bytes, and is scratch whatever the result.
        """
        self._jump(target)
        while self.seq < END:
            if (not self._header(self.pos) or self._found != self.seq) and not self._resync(out):
                return 0
            if self._found > target:
                return 0
            if self._found < target:
                self._step()
                continue
            right = self._right(self.pos, out)
            self._step()
            return self.length if right else 0
        return 0

    def next(self, out):
        """Seq of the next right record, its frame in `out`; -1 past the last. Steps over what is damaged."""
        while self.seq < END:
            if self._header(self.pos) and self._found == self.seq and self._right(self.pos, out):
                self._step()
                return self._found
            if self.pos == self.end or not self._resync(out):
                break
        return -1

    def _jump(self, target):
        """Go back, or further on, to the last marked record up to target."""
        k = (target - self.first) // MARK_EVERY
        if k >= self._marked:
            k = self._marked - 1
        marked = self.first + k * MARK_EVERY
        if target < self.seq or marked > self.seq:
            self.seq = marked
            self.pos = self._last_pos = self._marks[k]

    def _step(self):
        self.seq = self._found + 1
        self._last_pos = self.pos
        self.pos += HEAD + self.length
        if self.seq - self.first == self._marked * MARK_EVERY and self._marked < MARKS:
            self._marks[self._marked] = self.pos
            self._marked += 1

    def _header(self, pos):
        """Whether a possible header is at pos; its fields into self."""
        if pos + HEAD >= self.end:
            return False
        self.file.seek(pos)
        head = self._head
        if files.read(self.file, head, HEAD) != HEAD or head[0] != RECORD_MAGIC:
            return False
        self.flags = head[1]
        self.length = head[2] | head[3] << 8
        self._found = _get32(head, 4)
        return 0 < self.length <= FRAME_MAX and pos + HEAD + self.length <= self.end

    def _right(self, pos, out):
        """Whether the record whose header was just read has the CRC it says; its frame into out."""
        self.file.seek(pos + HEAD)
        n = self.length
        if files.read(self.file, out, n) != n:
            return False
        return crc32(memoryview(out)[:n], crc32(self._crc_part)) == _get32(self._head, 8)

    def _resync(self, out):
        """Go to the next right record of a seq not below `seq`; False, and seq END, if there is none.

        The search begins inside the record before, whose length may be what is damaged.
        """
        pos = self._last_pos + 1 if self.seq > self.first else self._last_pos
        while pos + HEAD < self.end:
            if self._header(pos) and self.seq <= self._found < END and self._right(pos, out):
                self.pos = pos
                self.seq = self._found
                return True
            pos += 1
        self.seq = END
        return False
