"""AES-CCM from raw AES blocks, for MicroPython: RFC 3610 with M = 8, L = 2. Allocates nothing once made.

The CBC object keeps its chaining value between calls, so one object serves every frame: the value is
folded into the first block, which makes the chain start at zero as CBC-MAC needs.
"""

from cryptolib import aes

from wayside_protocol.errors import AuthError, UsageError
from wayside_protocol.limits import FRAME_MAX, KEY_LEN, TAG_LEN

_BLOCK = 16
_MODE_ECB = 1
_MODE_CBC = 2
_FLAGS_MAC = 0x40 | (TAG_LEN - 2) // 2 << 3 | 1  # RFC 3610 §2.2: additional data present, M', L'
_FLAGS_CTR = 1  # §2.3: L'
_SCRATCH = FRAME_MAX + 80  # B0, additional data (at most 48 bytes padded), message, padding


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
        self._mac_views = [None] * (_SCRATCH // _BLOCK + 1)
        self._stream_views = [None] * (_SCRATCH // _BLOCK + 1)

    def _view(self, views: "list", scratch: bytearray, blocks: int) -> "memoryview":
        view = views[blocks]
        if view is None:
            view = views[blocks] = memoryview(scratch)[: blocks * _BLOCK]
        return view

    def _authenticate(self, nonce: bytes, aad: bytearray, aad_len: int, buf: bytearray, start: int, n: int) -> int:
        """CBC-MAC of B0, additional data and message; return where in the scratch the last block is."""
        mac = self._mac
        mac[0] = _FLAGS_MAC
        for i in range(13):
            mac[i + 1] = nonce[i]
        mac[14] = n >> 8
        mac[15] = n & 0xFF
        mac[16] = aad_len >> 8
        mac[17] = aad_len & 0xFF
        at = 18
        for i in range(aad_len):
            mac[at] = aad[i]
            at += 1
        while at & 15:
            mac[at] = 0
            at += 1
        for i in range(n):
            mac[at] = buf[start]
            at += 1
            start += 1
        while at & 15:
            mac[at] = 0
            at += 1
        chain = self._chain
        for i in range(_BLOCK):
            mac[i] ^= chain[i]
        view = self._view(self._mac_views, mac, at >> 4)
        self._cbc.encrypt(view, view)
        at -= _BLOCK
        for i in range(_BLOCK):
            chain[i] = mac[at + i]
        return at

    def _keystream(self, nonce: bytes, n: int) -> bytearray:
        """S0 and then the blocks that n bytes of message need."""
        stream = self._stream
        blocks = 1 + (n + 15 >> 4)
        at = 0
        for counter in range(blocks):
            stream[at] = _FLAGS_CTR
            for i in range(13):
                stream[at + 1 + i] = nonce[i]
            stream[at + 14] = counter >> 8
            stream[at + 15] = counter & 0xFF
            at += _BLOCK
        view = self._view(self._stream_views, stream, blocks)
        self._ecb.encrypt(view, view)
        return stream

    def _check(self, aad_len: int, buf: bytearray, start: int, n: int) -> None:
        if start + n + TAG_LEN > len(buf):
            raise UsageError("buffer_full")
        if aad_len > 46 or n > FRAME_MAX:
            raise UsageError("ccm_length")

    def seal(self, nonce: bytes, aad: bytearray, aad_len: int, buf: bytearray, start: int, n: int) -> None:
        self._check(aad_len, buf, start, n)
        at = self._authenticate(nonce, aad, aad_len, buf, start, n)
        stream = self._keystream(nonce, n)
        for i in range(n):
            buf[start] ^= stream[_BLOCK + i]
            start += 1
        mac = self._mac
        for i in range(TAG_LEN):
            buf[start + i] = mac[at + i] ^ stream[i]

    def unseal(self, nonce: bytes, aad: bytearray, aad_len: int, buf: bytearray, start: int, n: int) -> None:
        """Raises AuthError, and then leaves zeros where the plaintext would be."""
        self._check(aad_len, buf, start, n)
        stream = self._keystream(nonce, n)
        for i in range(n):
            buf[start + i] ^= stream[_BLOCK + i]
        at = self._authenticate(nonce, aad, aad_len, buf, start, n)
        mac = self._mac
        wrong = 0
        for i in range(TAG_LEN):
            wrong |= mac[at + i] ^ stream[i] ^ buf[start + n + i]
        if wrong:
            for i in range(n):
                buf[start + i] = 0
            raise AuthError("auth")
