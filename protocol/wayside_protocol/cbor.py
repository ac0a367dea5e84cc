"""Deterministic CBOR (RFC 8949 §4.2.1) in the subset that the protocol uses.

`Writer` fills a buffer of the caller's and allocates nothing. `loads` is strict: shortest integers,
definite lengths, map keys sorted bytewise and unique, no floats, no tags, no trailing bytes; every
length is checked against what is there before anything is allocated.
"""

from wayside_protocol.copying import copy_into
from wayside_protocol.errors import CborError, UsageError
from wayside_protocol.limits import DEPTH_MAX, ITEMS_MAX

UINT, NINT, BYTES, TEXT, ARRAY, MAP = 0, 1, 2, 3, 4, 5
FALSE, TRUE, NULL = 0xF4, 0xF5, 0xF6


def head_len(value: int) -> int:
    """Bytes that an item's head takes for this argument (RFC 8949 §3)."""
    return 1 if value < 24 else 2 if value < 0x100 else 3 if value < 0x10000 else 5 if value <= 0xFFFFFFFF else 9


def write_head(buf: bytearray, pos: int, major: int, value: int) -> int:
    """Write the shortest head of this major type and argument at `pos`; return the position after it."""
    size = 1 if value < 24 else head_len(value)
    end = pos + size
    if end > len(buf):
        raise UsageError("buffer_full")
    if size == 1:
        buf[pos] = major << 5 | value
        return end
    buf[pos] = major << 5 | (24 if size == 2 else 25 if size == 3 else 26 if size == 5 else 27)
    i = end - 1
    while i > pos:
        buf[i] = value & 0xFF
        value >>= 8
        i -= 1
    return end


class Writer:
    """Writes items one after another into `buf`; `pos` is where the next one goes."""

    def __init__(self, buf: bytearray) -> None:
        self.buf = buf
        self.pos = 0

    def array(self, n: int) -> None:
        self.pos = write_head(self.buf, self.pos, ARRAY, n)

    def map(self, n: int) -> None:
        """Head of a map of n pairs; the caller writes its keys in ascending order."""
        self.pos = write_head(self.buf, self.pos, MAP, n)

    def integer(self, value: int) -> None:
        if value < 0:
            self.pos = write_head(self.buf, self.pos, NINT, -1 - value)
        else:
            self.pos = write_head(self.buf, self.pos, UINT, value)

    def blob(self, data: "bytes | bytearray", n: int) -> None:
        """A byte string of the first n bytes of data."""
        pos = write_head(self.buf, self.pos, BYTES, n)
        if pos + n > len(self.buf):
            raise UsageError("buffer_full")
        copy_into(self.buf, pos, data, n)
        self.pos = pos + n

    def text(self, value: str) -> None:
        data = value.encode()
        self.pos = write_head(self.buf, self.pos, TEXT, len(data))
        if self.pos + len(data) > len(self.buf):
            raise UsageError("buffer_full")
        self.buf[self.pos : self.pos + len(data)] = data
        self.pos += len(data)

    def null(self) -> None:
        self._simple(NULL)

    def boolean(self, value: bool) -> None:
        self._simple(TRUE if value else FALSE)

    def _simple(self, code: int) -> None:
        if self.pos >= len(self.buf):
            raise UsageError("buffer_full")
        self.buf[self.pos] = code
        self.pos += 1

    def value(self, item: object) -> None:
        """Any value of the subset; dict keys are sorted by their encodings. Allocates: for rare messages."""
        if item is None:
            self.null()
        elif isinstance(item, bool):
            self.boolean(item)
        elif isinstance(item, int):
            self.integer(item)
        elif isinstance(item, str):
            self.text(item)
        elif isinstance(item, (bytes, bytearray)):
            self.blob(item, len(item))
        elif isinstance(item, (list, tuple)):
            self.array(len(item))
            for part in item:
                self.value(part)
        elif isinstance(item, dict):
            self.map(len(item))
            for _, key in sorted((dumps(key), key) for key in item):
                self.value(key)
                self.value(item[key])
        else:
            raise UsageError("cbor_type", str(type(item)))

    def done(self) -> bytes:
        return bytes(self.buf[: self.pos])


def dumps(item: object, size: int = 1024) -> bytes:
    """The deterministic encoding of a value, at most `size` bytes."""
    writer = Writer(bytearray(size))
    writer.value(item)
    return writer.done()


def read_head(data: bytes, pos: int, end: int) -> "tuple[int, int, int]":
    """The head at `pos`: major type, argument, position after it. Raises CborError."""
    if pos >= end:
        raise CborError("cbor_truncated")
    first = data[pos]
    major = first >> 5
    info = first & 31
    pos += 1
    if info < 24:
        return major, info, pos
    if info > 27 or major == 7:
        raise CborError("cbor_form")  # indefinite length, reserved, float
    size = 1 << (info - 24)
    if pos + size > end:
        raise CborError("cbor_truncated")
    value = 0
    for i in range(pos, pos + size):
        value = value << 8 | data[i]
    if head_len(value) != size + 1:
        raise CborError("cbor_not_shortest")
    return major, value, pos + size


class _Reader:
    def __init__(self, data: bytes, pos: int, end: int) -> None:
        self.data = data
        self.pos = pos
        self.end = end
        self.items = 0

    def item(self, depth: int) -> object:
        self.items += 1
        if self.items > ITEMS_MAX:
            raise CborError("cbor_items")
        major, arg, self.pos = read_head(self.data, self.pos, self.end)
        if major == UINT:
            return arg
        if major == NINT:
            return -1 - arg
        if major in (BYTES, TEXT):
            return self._string(major, arg)
        if major in (ARRAY, MAP):
            if depth >= DEPTH_MAX:
                raise CborError("cbor_depth")
            if arg > self.end - self.pos:  # every item takes at least a byte
                raise CborError("cbor_truncated")
            return self._array(arg, depth) if major == ARRAY else self._map(arg, depth)
        if major == 7:
            if arg == 22:
                return None
            if arg == 20 or arg == 21:
                return arg == 21
        raise CborError("cbor_type")

    def _string(self, major: int, size: int) -> object:
        start = self.pos
        if size > self.end - start:
            raise CborError("cbor_truncated")
        self.pos = start + size
        raw = bytes(self.data[start : self.pos])
        if major == BYTES:
            return raw
        try:
            return raw.decode()
        except (UnicodeError, ValueError):
            raise CborError("cbor_utf8") from None

    def _array(self, n: int, depth: int) -> object:
        out = []
        for _ in range(n):
            out.append(self.item(depth + 1))
        return out

    def _map(self, n: int, depth: int) -> object:
        out: "dict[object, object]" = {}
        last = b""
        for _ in range(n):
            start = self.pos
            key = self.item(depth + 1)
            if not isinstance(key, (int, str)) or isinstance(key, bool):
                raise CborError("cbor_key")
            raw = bytes(self.data[start : self.pos])
            if raw <= last:
                raise CborError("cbor_key_order")
            last = raw
            out[key] = self.item(depth + 1)
        return out


def loads(data: "bytes | bytearray") -> object:
    """The value that `data`, all of it, encodes. Raises CborError."""
    reader = _Reader(data, 0, len(data))
    value = reader.item(0)
    if reader.pos != reader.end:
        raise CborError("cbor_trailing")
    return value
