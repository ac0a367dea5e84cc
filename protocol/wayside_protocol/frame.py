"""The frame: who sent it and as what number, in clear, and a sealed message (SPEC §3).

    record   = [0, node, seq, ciphertext]
    session  = [1, node, boot, n, ciphertext]
    downlink = [2, node, gateway, n, ciphertext]

The ciphertext is a COSE_Encrypt0 (RFC 9052 §5.2) in compressed form; `written_out` gives it in full.
"""

import struct

from wayside_protocol.aead import Ccm
from wayside_protocol.cbor import ARRAY, BYTES, UINT, dumps, read_head, write_head
from wayside_protocol.errors import CborError, FrameError, UsageError
from wayside_protocol.limits import FRAME_MAX, NONCE_LEN, PLAIN_MAX, TAG_LEN, U16_MAX, U32_MAX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple

    class Frame(NamedTuple):
        """A parsed frame, not yet opened.

        a and b: (0, seq) of a record, (boot, n) of a session, (gateway, n) of a downlink. `elements` is the
        deterministic encoding of the elements before the ciphertext, without the array's head.
        """

        kind: int
        node: int
        a: int
        b: int
        elements: bytes
        ciphertext: bytes

else:
    from collections import namedtuple

    Frame = namedtuple("Frame", ("kind", "node", "a", "b", "elements", "ciphertext"))

RECORD = 0
SESSION = 1
DOWNLINK = 2

PROTECTED = b"\xa1\x01\x0a"  # {1: 10}: alg AES-CCM-16-64-128
_ENC_STRUCTURE = b"\x83\x68Encrypt0\x43" + PROTECTED  # RFC 9052 §5.3, up to the external additional data


def nonce_into(out: bytearray, kind: int, node: int, a: int, b: int) -> None:
    """kind ‖ node ‖ a ‖ b, big-endian, 13 bytes: unique under a key because (a, b) never repeats in a kind."""
    struct.pack_into(">BIII", out, 0, kind, node, a, b)


def make_nonce(kind: int, node: int, a: int, b: int) -> bytes:
    return struct.pack(">BIII", kind, node, a, b)


class Sealer:
    """Seals messages under one node's key into a buffer of the caller's, allocating nothing."""

    def __init__(self, key: bytes) -> None:
        self._ccm = Ccm(key)
        self._nonce = bytearray(NONCE_LEN)
        self._aad = bytearray(len(_ENC_STRUCTURE) + 32)
        for i in range(len(_ENC_STRUCTURE)):
            self._aad[i] = _ENC_STRUCTURE[i]

    def record(self, out: bytearray, node: int, seq: int, plain: bytearray, n: int) -> int:
        """Seal the first n bytes of plain as record `seq`; return the frame's length in out."""
        return self._seal(out, RECORD, node, 0, seq, -1, plain, n)

    def session(self, out: bytearray, node: int, boot: int, counter: int, plain: bytearray, n: int) -> int:
        return self._seal(out, SESSION, node, boot, counter, -1, plain, n)

    def downlink(
        self, out: bytearray, node: int, gateway: int, counter: int, boot: int, plain: bytearray, n: int
    ) -> int:
        """`boot` is the node's current one: it is authenticated, not sent."""
        if gateway > U16_MAX:
            raise UsageError("gateway_number")
        return self._seal(out, DOWNLINK, node, gateway, counter, boot, plain, n)

    def _seal(self, out: bytearray, kind: int, node: int, a: int, b: int, boot: int, plain: bytearray, n: int) -> int:
        if n > PLAIN_MAX or n < 1:
            raise UsageError("plain_length")
        if node > U32_MAX or a > U32_MAX or b > U32_MAX or boot > U32_MAX:
            raise UsageError("number_range")
        if node < 0 or a < 0 or b < 0 or (kind == DOWNLINK and boot < 0):
            raise UsageError("number_range")
        pos = write_head(out, 0, ARRAY, 4 if kind == RECORD else 5)
        pos = write_head(out, pos, UINT, kind)
        pos = write_head(out, pos, UINT, node)
        if kind != RECORD:
            pos = write_head(out, pos, UINT, a)
        pos = write_head(out, pos, UINT, b)
        aad_len = self._additional(out, pos, kind, boot)
        pos = write_head(out, pos, BYTES, n + TAG_LEN)
        if pos + n + TAG_LEN > len(out):
            raise UsageError("buffer_full")
        nonce_into(self._nonce, kind, node, a, b)
        self._ccm.seal(self._nonce, self._aad, aad_len, plain, n, out, pos)
        return pos + n + TAG_LEN

    def _additional(self, out: bytearray, end: int, kind: int, boot: int) -> int:
        """Enc_structure of the elements at out[1:end] and, for a downlink, the boot; return its length."""
        aad = self._aad
        head = len(_ENC_STRUCTURE)
        at = head + 1
        aad[at] = ARRAY << 5 | (3 if kind == RECORD else 4 if kind == SESSION else 5)
        at += 1
        for i in range(1, end):
            aad[at] = out[i]
            at += 1
        if kind == DOWNLINK:
            at = write_head(aad, at, UINT, boot)
        write_head(aad, head, BYTES, at - head - 1)
        if at - head - 1 > 23:
            raise UsageError("aad_length")
        return at


def parse(frame: "bytes | bytearray") -> Frame:
    """The frame's clear part. Raises FrameError with the reason; nothing is decrypted."""
    size = len(frame)
    if size > FRAME_MAX:
        raise FrameError("frame_long")
    try:
        major, count, pos = read_head(frame, 0, size)
        if major != ARRAY or pos != 1:
            raise FrameError("frame_form")
        major, kind, pos = read_head(frame, 1, size)
        if major != UINT or kind > DOWNLINK:
            raise FrameError("frame_kind")
        if count != (4 if kind == RECORD else 5):
            raise FrameError("frame_form")
        major, node, pos = read_head(frame, pos, size)
        a_major, a, pos = (UINT, 0, pos) if kind == RECORD else read_head(frame, pos, size)
        b_major, b, pos = read_head(frame, pos, size)
        end = pos
        c_major, length, pos = read_head(frame, pos, size)
    except CborError as error:
        raise FrameError(error.reason) from None
    if major != UINT or a_major != UINT or b_major != UINT or c_major != BYTES:
        raise FrameError("frame_form")
    if node > U32_MAX or b > U32_MAX or a > (U16_MAX if kind == DOWNLINK else U32_MAX):
        raise FrameError("frame_number")
    if length != size - pos or length <= TAG_LEN:
        raise FrameError("frame_length")
    return Frame(kind, node, a, b, bytes(frame[1:end]), bytes(frame[pos:]))


def external_aad(frame: Frame, boot: "int | None" = None) -> bytes:
    """The elements before the ciphertext as an array, a downlink's with the node's current boot behind them."""
    if frame.kind == DOWNLINK:
        if boot is None:
            raise UsageError("boot_needed")
        return b"\x85" + frame.elements + dumps(boot, 9)
    return (b"\x83" if frame.kind == RECORD else b"\x84") + frame.elements


class Opener:
    """Opens frames sealed under one node's key. A node lends it the cipher of its sealer: two have no room there."""

    def __init__(self, key: bytes, sealer: "Sealer | None" = None) -> None:
        self._ccm = sealer._ccm if sealer else Ccm(key)
        self._open = getattr(self._ccm, "open", None)

    def open(self, frame: Frame, boot: "int | None" = None) -> bytes:
        """The plaintext. A downlink needs the node's current boot. Raises AuthError."""
        external = external_aad(frame, boot)
        aad = _ENC_STRUCTURE + b"%c" % (0x40 + len(external)) + external
        nonce = make_nonce(frame.kind, frame.node, frame.a, frame.b)
        if self._open:
            plain: bytes = self._open(nonce, frame.ciphertext, aad)
            return plain
        n = len(frame.ciphertext) - TAG_LEN
        plain = bytearray(n)
        self._ccm.unseal(nonce, aad, len(aad), frame.ciphertext, n, plain)
        return bytes(plain)


def written_out(frame: Frame, boot: "int | None" = None) -> "tuple[bytes, bytes, bytes]":
    """The full COSE_Encrypt0 (tag 16, nonce in the unprotected header), its external AAD and the nonce."""
    nonce = make_nonce(frame.kind, frame.node, frame.a, frame.b)
    cose = b"\xd0" + dumps([PROTECTED, {5: nonce}, frame.ciphertext], FRAME_MAX + 64)
    return cose, external_aad(frame, boot), nonce
