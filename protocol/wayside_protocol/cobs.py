"""Frames on a serial line: COBS (Cheshire and Baker 1999) between zero bytes (SPEC §5).

Whatever stands between two zeros and is no frame is noise: a boot log, a traceback, a REPL. `Deframer`
holds at most one frame, skips what is longer, and counts what it drops; it raises nothing.
"""

from wayside_protocol.errors import UsageError
from wayside_protocol.limits import FRAME_MAX

ENCODED_MAX = FRAME_MAX + FRAME_MAX // 254 + 1  # of one frame, without its zeros
LINE_MAX = ENCODED_MAX + 2
FRAME_MIN = 14  # array, kind, node, seq, string head, a byte and the tag: shorter is noise


def encode_into(out: bytearray, data: "bytes | bytearray", n: int) -> int:
    """Zero, the first n bytes of data in COBS, zero; return the length. Allocates nothing."""
    if n + n // 254 + 3 > len(out):
        raise UsageError("buffer_full")
    out[0] = 0
    code_at = 1
    at = 2
    code = 1
    for i in range(n):
        byte = data[i]
        if byte:
            out[at] = byte
            at += 1
            code += 1
        if not byte or (code == 0xFF and i + 1 < n):
            out[code_at] = code
            code_at = at
            at += 1
            code = 1
    out[code_at] = code
    out[at] = 0
    return at + 1


def encode(data: "bytes | bytearray") -> bytes:
    """One frame as it goes on the line, zeros included."""
    out = bytearray(len(data) + len(data) // 254 + 3)
    return bytes(out[: encode_into(out, data, len(data))])


def decode(chunk: bytes) -> "bytes | None":
    """What stood between two zeros, decoded; None where it is not COBS."""
    n = len(chunk)
    code = chunk[0]
    if code == n and n < 0xFF:  # no zero inside: the usual case, one slice
        return chunk[1:]
    parts = []
    at = 0
    while True:
        code = chunk[at]
        end = at + code
        if end > n:
            return None
        parts.append(chunk[at + 1 : end])
        if end == n:
            return b"".join(parts)
        parts.append(b"" if code == 0xFF else b"\0")
        at = end


class Deframer:
    """Bytes in, frames out, in pieces of any size.

    frames: given out; noise_bytes: between zeros and no COBS, or too short; oversize: chunks longer
    than a frame may be, dropped whole.
    """

    def __init__(self) -> None:
        self.frames = 0
        self.noise_bytes = 0
        self.oversize = 0
        self._held = b""
        self._skipping = False

    def feed(self, data: bytes) -> "list[bytes]":
        """The frames that these bytes complete, decoded from COBS, in order."""
        chunks = (self._held + data).split(b"\0")
        self._held = b""
        out = []
        for chunk in chunks[:-1]:
            if self._skipping:  # the tail of what was already counted as oversize
                self._skipping = False
            elif len(chunk) > ENCODED_MAX:
                self.oversize += 1
            elif chunk:
                frame = decode(chunk) if len(chunk) > FRAME_MIN else None
                if frame is None:
                    self.noise_bytes += len(chunk)
                elif len(frame) > FRAME_MAX:  # a line with zeros in it is hardly longer than its frame
                    self.oversize += 1
                else:
                    out.append(frame)
        tail = chunks[-1]
        if not self._skipping:
            if len(tail) > ENCODED_MAX:
                self.oversize += 1
                self._skipping = True
            else:
                self._held = tail
        self.frames += len(out)
        return out


class NodeDeframer:
    """The same for a node: decodes into its own buffer `frame` as bytes arrive, and allocates nothing."""

    def __init__(self) -> None:
        self.frame = bytearray(FRAME_MAX)
        self.frames = 0
        self.noise_bytes = 0
        self.oversize = 0
        self._n = 0  # bytes in frame
        self._seen = 0  # bytes since the last zero
        self._left = 0  # bytes until the next code byte
        self._zero = False  # the block at hand ends in a zero
        self._bad = False

    def push(self, byte: int) -> int:
        """Take one byte; return the length of the frame it completes, now in `frame`, else 0."""
        if not byte:
            return self._end()
        self._seen += 1
        if self._bad:
            return 0
        if not self._left:
            if self._zero:
                self._put(0)
            self._left = byte - 1
            self._zero = byte != 0xFF
            return 0
        self._left -= 1
        self._put(byte)
        return 0

    def _put(self, byte: int) -> None:
        if self._n >= FRAME_MAX:
            if not self._bad:
                self.oversize += 1
            self._bad = True
            return
        self.frame[self._n] = byte
        self._n += 1

    def _end(self) -> int:
        n = self._n
        seen = self._seen
        good = not self._bad and not self._left and seen > FRAME_MIN
        if seen and not good and not self._bad:
            self.noise_bytes += seen
        self._n = self._seen = self._left = 0
        self._zero = self._bad = False
        if not good:
            return 0
        self.frames += 1
        return n
