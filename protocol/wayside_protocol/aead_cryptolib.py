"""AES-CCM from raw AES blocks, for MicroPython: RFC 3610 with M = 8, L = 2. Allocates nothing once made.

The CBC object keeps its chaining value between calls, so one object serves every frame: the value is
folded into the first block, which makes the chain start at zero as CBC-MAC needs.
"""

import struct

from cryptolib import aes

from wayside_protocol.copying import copy_into
from wayside_protocol.errors import AuthError, UsageError
from wayside_protocol.limits import FRAME_MAX, KEY_LEN, TAG_LEN

TYPE_CHECKING = False
if TYPE_CHECKING:
    Buffer = bytes | bytearray

_BLOCK = 16
_MODE_ECB = 1
_MODE_CBC = 2
_FLAGS_MAC = 0x40 | (TAG_LEN - 2) // 2 << 3 | 1  # RFC 3610 §2.2: additional data present, M', L'
_FLAGS_CTR = 1  # §2.3: L'
_SCRATCH = FRAME_MAX + 96  # B0, additional data (at most 48 bytes padded), message, padding, room to copy in


class Ccm:
    """One key and the scratch for one frame at a time."""

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_LEN:
            raise UsageError("key_length")
        self._ecb = aes(key, _MODE_ECB)
        self._cbc = aes(key, _MODE_CBC, bytes(_BLOCK))
        self._chain = bytearray(_BLOCK)
        self._mac = bytearray(_SCRATCH)
        self._stream = bytearray(_SCRATCH)
        self._mac_views: "list[memoryview[int] | None]" = [None] * (_SCRATCH // _BLOCK + 1)
        self._stream_views: "list[memoryview[int] | None]" = [None] * (_SCRATCH // _BLOCK + 1)

    def _view(self, views: "list[memoryview[int] | None]", scratch: bytearray, blocks: int) -> "memoryview[int]":
        view = views[blocks]
        if view is None:
            view = views[blocks] = memoryview(scratch)[: blocks * _BLOCK]
        return view

    def _authenticate(self, nonce: "Buffer", aad: "Buffer", aad_len: int, plain: bytearray, n: int) -> int:
        """CBC-MAC of B0, additional data and message; return where in the scratch the last block is."""
        mac = self._mac
        struct.pack_into(">B13sHH", mac, 0, _FLAGS_MAC, nonce, n, aad_len)
        copy_into(mac, 18, aad, aad_len)
        at = _pad(mac, 18 + aad_len)
        copy_into(mac, at, plain, n)
        at = _pad(mac, at + n)
        chain = self._chain
        for i in range(_BLOCK):
            mac[i] ^= chain[i]
        view = self._view(self._mac_views, mac, at >> 4)
        self._cbc.encrypt(view, view)
        at -= _BLOCK
        for i in range(_BLOCK):
            chain[i] = mac[at + i]
        return at

    def _keystream(self, nonce: "Buffer", n: int) -> bytearray:
        """S0 and then the blocks that n bytes of message need."""
        stream = self._stream
        blocks = 1 + (n + 15 >> 4)
        for counter in range(blocks):
            struct.pack_into(">B13sH", stream, counter << 4, _FLAGS_CTR, nonce, counter)
        view = self._view(self._stream_views, stream, blocks)
        self._ecb.encrypt(view, view)
        return stream

    def seal(
        self,
        nonce: "Buffer",
        aad: "Buffer",
        aad_len: int,
        plain: bytearray,
        n: int,
        out: bytearray,
        at: int,
    ) -> None:
        if at + n + TAG_LEN > len(out):
            raise UsageError("buffer_full")
        _check(aad_len, n)
        stream = self._keystream(nonce, n)
        for i in range(n):
            out[at + i] = plain[i] ^ stream[i + 16]
        at += n
        end = self._authenticate(nonce, aad, aad_len, plain, n)
        mac = self._mac
        for i in range(TAG_LEN):
            out[at + i] = mac[end + i] ^ stream[i]

    def unseal(self, nonce: "Buffer", aad: "Buffer", aad_len: int, sealed: bytes, n: int, out: bytearray) -> None:
        """Raises AuthError, and then leaves zeros where the plaintext would be."""
        _check(aad_len, n)
        stream = self._keystream(nonce, n)
        for i in range(n):
            out[i] = sealed[i] ^ stream[i + 16]
        end = self._authenticate(nonce, aad, aad_len, out, n)
        mac = self._mac
        wrong = 0
        for i in range(TAG_LEN):
            wrong |= mac[end + i] ^ stream[i] ^ sealed[n + i]
        if wrong:
            for i in range(n):
                out[i] = 0
            raise AuthError("auth")


def _pad(mac: bytearray, at: int) -> int:
    """Zeros up to the next block."""
    while at & 15:
        mac[at] = 0
        at += 1
    return at


def _check(aad_len: int, n: int) -> None:
    if aad_len > 46 or n > FRAME_MAX:
        raise UsageError("ccm_length")
