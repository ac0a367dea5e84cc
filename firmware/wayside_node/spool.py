"""The batch that is still open, on flash sample by sample, so that a power cut costs at most the reading being taken.

    magic 4 | kind 1 | width 1 | t 4 | t 4 | interval 4 | set 4 | check 1      t: Unix seconds and 0, or boot and uptime
    row:   length 1 (not 0) | width × varint | check 1
    seal:  0 | seq 4 | check 1          the rows above are about to be journaled as this record

A value is the zigzag difference to the row before, plus one; 0 is a missing reading. `check` is the low byte of the
CRC-32 of all before it. So a batch of 12 is some 100 bytes: littlefs keeps a file of up to 128 bytes in its folder's
own log and needs no block for it, and an erase comes once in dozens of samples instead of at each.
"""

import os
import struct
from array import array
from binascii import crc32

from wayside_node import files

MAGIC = b"WSP1"
HEAD_FORMAT = "<BBIIII"
HEAD = 4 + 18 + 1
UNIX, UPTIME = 0, 1
MISSING = -(1 << 29)
"""A missing reading in a row: columns_format.MISSING of the protocol."""
WIDTH_MAX = 16
ROWS_MAX = 255
VARINT_MAX = 5
ROW_MAX = 1 + WIDTH_MAX * VARINT_MAX + 1
FILE_MAX = HEAD + ROWS_MAX * ROW_MAX + 6


class SpoolError(Exception):
    """The row is not on flash; it may still be journaled. `reason` is `spool_write`."""

    def __init__(self, reason):
        super().__init__(reason)
        self.reason = reason


class Salvaged:
    """An open batch found at boot: time of its first sample, interval, set, width, and how many rows.

    `seq` is the record it was about to become, or -1: if the journal holds that one, there is nothing to salvage.
    """

    def __init__(self, t, interval_s, set_id, width):
        self.t = t
        self.interval_s = interval_s
        self.set_id = set_id
        self.width = width
        self.n = 0
        self.seq = -1


class Spool:
    """`begin` a batch, `add` each sample as it is taken, `seal` with its seq just before `Journal.append`.

    After `salvage`, `seal` adds to what was found, so that a cut while it is journaled does not journal it twice.
    """

    def __init__(self, root):
        self._path = root + "/spool"
        self._file = None
        self._mode = "wb"  # of the next opening
        self._buf = bytearray(HEAD + ROW_MAX)
        self._used = 0
        self._crc = 0
        self._last = array("i", [0] * WIDTH_MAX)
        self._width = 0

    def begin(self, t, interval_s, set_id, width):
        """A new batch in place of the last one. On flash with its first row; until then the last one stays."""
        if not 0 < width <= WIDTH_MAX:
            raise ValueError("width")
        self.close()
        self._mode = "wb"
        self._width = width
        for c in range(WIDTH_MAX):
            self._last[c] = 0
        buf = self._buf
        buf[:4] = MAGIC
        if isinstance(t, int):
            struct.pack_into(HEAD_FORMAT, buf, 4, UNIX, width, t, 0, interval_s, set_id)
        else:
            struct.pack_into(HEAD_FORMAT, buf, 4, UPTIME, width, t[0], t[1], interval_s, set_id)
        self._used = HEAD - 1
        self._crc = 0
        self._check(0)

    def add(self, rows, i):
        """Row i of the flat `rows`, synced when this returns. Raises SpoolError."""
        buf = self._buf
        start = self._used
        at = start + 1
        base = i * self._width
        for c in range(self._width):
            value = rows[base + c]
            code = 0
            if value != MISSING:
                delta = value - self._last[c]
                self._last[c] = value
                code = (delta << 1 if delta >= 0 else ~(delta << 1)) + 1
            while code > 0x7F:
                buf[at] = code & 0x7F | 0x80
                code >>= 7
                at += 1
            buf[at] = code
            at += 1
        buf[start] = at - start - 1
        self._used = at
        self._check(start)
        self._write()

    def seal(self, seq):
        """The batch is about to be journaled as record seq. Raises SpoolError."""
        start = self._used
        self._buf[start] = 0
        struct.pack_into("<I", self._buf, start + 1, seq)
        self._used = start + 5
        self._check(start)
        self._write()

    def _check(self, start):
        """Close the part of the buffer from `start` with its check byte."""
        self._crc = crc32(memoryview(self._buf)[start : self._used], self._crc)
        self._buf[self._used] = self._crc & 0xFF
        self._used += 1

    def _write(self):
        used = self._used
        self._used = 0
        try:
            if self._file is None:
                self._file = files.unbuffered(self._path, self._mode)
            files.write(self._file, self._buf, used)
            files.sync(self._file)
        except OSError:
            self.close()
            raise SpoolError("spool_write") from None

    def close(self):
        """Close its file; nothing is lost by not doing so."""
        file = self._file
        self._file = None
        if file is not None:
            try:
                file.close()
            except OSError:
                pass

    def stored_bytes(self):
        """Size of what is on flash: a reading takes at least a byte, so that `rows` needs no more places."""
        try:
            return min(os.stat(self._path)[6], FILE_MAX)
        except OSError:
            return 0

    def salvage(self, rows):
        """The batch on flash, its rows into the flat `rows` (with `stored_bytes` places), or None."""
        try:
            with open(self._path, "rb") as f:
                data = f.read(FILE_MAX)
        except OSError:
            return None
        if len(data) < HEAD or data[:4] != MAGIC or crc32(data[: HEAD - 1]) & 0xFF != data[HEAD - 1]:
            return None
        kind, width, a, b, interval_s, set_id = struct.unpack_from(HEAD_FORMAT, data, 4)
        if not 0 < width <= WIDTH_MAX:
            return None
        found = Salvaged(a if kind == UNIX else (a, b), interval_s, set_id, width)
        end, crc = _take_rows(data, found, rows)
        if not found.n:
            return None
        self._go_on(data, end, crc)
        return found

    def _go_on(self, data, end, crc):
        """Be ready to add to the file, after it is rid of what is damaged at its end."""
        self.close()
        self._used = 0
        self._crc = crc
        self._mode = "ab"
        if end == len(data):
            return
        try:
            with open(self._path + ".new", "wb") as f:
                f.write(data[:end])
                files.sync(f)
            os.rename(self._path + ".new", self._path)
        except OSError:
            self._mode = "wb"  # nothing can be added; a `seal` alone is no batch, and no worse than none


def _take_rows(data, found, rows):
    """Rows up to the first that is cut or damaged; return where that is, and the CRC of all before it."""
    crc = crc32(data[: HEAD - 1])
    at = HEAD
    while at < len(data):
        length = data[at] if data[at] else 4
        end = at + 1 + length
        if end >= len(data):
            break
        passed = crc32(data[at:end], crc)
        if passed & 0xFF != data[end]:
            break
        if data[at]:
            if found.n == ROWS_MAX or not _take_row(data, at + 1, end, found, rows):
                break
            found.n += 1
        else:
            found.seq = struct.unpack_from("<I", data, at + 1)[0]
        crc = passed
        at = end + 1
    return at, crc


def _take_row(data, at, end, found, rows):
    width = found.width
    base = found.n * width
    for c in range(width):
        code = shift = 0
        while True:
            if at >= end or shift > 7 * VARINT_MAX:
                return False
            byte = data[at]
            at += 1
            code |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        if not code:
            rows[base + c] = MISSING
            continue
        code -= 1
        delta = ~(code >> 1) if code & 1 else code >> 1
        rows[base + c] = delta + _before(rows, base + c, width)
    return True


def _before(rows, at, width):
    """The last reading of this channel that is not missing, 0 if there is none."""
    at -= width
    while at >= 0:
        if rows[at] != MISSING:
            return rows[at]
        at -= width
    return 0
