"""Frames out of whatever a person has at hand: hex, base64, with or without the zeros of COBS, or a serial capture.

What a capture has between its zeros and is no frame is noise (a boot log, a REPL): it is kept, to be shown.
"""

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from wayside_protocol import cobs
from wayside_protocol.errors import FrameError
from wayside_protocol.frame import Frame, parse
from wayside_tools.errors import Failure

CAPTURE_MAX = 256 * 1024 * 1024  # bytes read of a file; a year of one node's line is less


@dataclass(frozen=True)
class Piece:
    """A stretch of the input: `frame` with `parsed`, or what it is not and why."""

    offset: int  # in the input, of the first byte after the zero
    raw: bytes  # as it stood there, without zeros
    cobs: bool  # it was stuffed
    frame: bytes | None  # the frame's bytes after COBS
    parsed: Frame | None
    reason: str  # why it is no frame: "noise", or the protocol's word


def pieces(data: bytes) -> Iterator[Piece]:
    """The frames of the input, and the noise between them, in order."""
    bare = _piece(0, data, False)
    if bare.parsed:
        yield bare
        return
    offset = 0
    for chunk in data.split(b"\0"):
        if chunk:
            yield _stuffed(offset, chunk)
        offset += len(chunk) + 1


def _piece(offset: int, frame: bytes, stuffed: bool, raw: bytes | None = None) -> Piece:
    raw = frame if raw is None else raw
    try:
        return Piece(offset, raw, stuffed, frame, parse(frame), "")
    except FrameError as error:
        return Piece(offset, raw, stuffed, frame, None, error.reason)


def _stuffed(offset: int, chunk: bytes) -> Piece:
    if len(chunk) > cobs.ENCODED_MAX:
        return Piece(offset, chunk, False, None, None, "oversize")
    frame = cobs.decode(chunk) if len(chunk) > cobs.FRAME_MIN else None
    if frame is None:
        return Piece(offset, chunk, False, None, None, "noise")
    piece = _piece(offset, frame, True, chunk)
    if piece.parsed is None and _printable(chunk):
        return Piece(offset, chunk, False, None, None, "noise")  # text may pass for COBS by chance
    return piece


def _printable(chunk: bytes) -> bool:
    return sum(32 <= byte < 127 or byte in b"\r\n\t" for byte in chunk) > 0.9 * len(chunk)


def from_text(text: str) -> bytes:
    """The bytes that hex or base64 spells. Raises Failure."""
    bare = re.sub(r"\s+|\b0[xX]|[:,]", "", text.strip())
    if not bare:
        raise Failure("nothing to decode")
    as_hex = bytes.fromhex(bare) if re.fullmatch(r"([0-9a-fA-F]{2})+", bare) else None
    if as_hex is not None and any(piece.parsed for piece in pieces(as_hex)):
        return as_hex
    try:
        padded = bare.rstrip("=").replace("-", "+").replace("_", "/")
        as_base64 = base64.b64decode(padded + "=" * (-len(padded) % 4), validate=True)
    except (binascii.Error, ValueError):
        as_base64 = b""
    if as_hex is not None and not any(piece.parsed for piece in pieces(as_base64)):
        return as_hex  # what spells nothing is more likely hex
    if not as_base64:
        raise Failure("neither a file, nor hex, nor base64")
    return as_base64


def read_file(path: Path) -> bytes:
    """A capture as it is; a file of nothing but hex or base64 text, decoded line by line."""
    with path.open("rb") as file:
        data = file.read(CAPTURE_MAX + 1)
    if len(data) > CAPTURE_MAX:
        raise Failure(f"{path} is larger than {CAPTURE_MAX // 1024 // 1024} MiB: cut it first")
    return from_bytes(data)


def from_bytes(data: bytes) -> bytes:
    """Binary data as it is, text as what its lines spell."""
    if not data:
        raise Failure("nothing to decode")
    if not re.fullmatch(rb"[0-9A-Za-z+/=_:,\-\s]+", data):
        return data
    lines = [line for line in data.decode("ascii").splitlines() if line.strip()]
    try:
        decoded = [from_text(line) for line in lines]
    except Failure:
        return data
    if len(decoded) == 1:
        return decoded[0]
    return b"\0" + b"\0".join(_line(frame) for frame in decoded) + b"\0"


def _line(frame: bytes) -> bytes:
    """What one line spells, stuffed if it is a bare frame."""
    if _piece(0, frame, False).parsed is not None:
        return cobs.encode(frame).strip(b"\0")
    return frame.strip(b"\0")
