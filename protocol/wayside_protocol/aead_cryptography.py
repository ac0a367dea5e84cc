"""AES-CCM on CPython, by `cryptography` (OpenSSL)."""

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESCCM

from wayside_protocol.errors import AuthError, UsageError
from wayside_protocol.limits import KEY_LEN, TAG_LEN


class Ccm:
    """One key. `open` serves the gateway's hot path: bytes in, bytes out."""

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_LEN:
            raise UsageError("key_length")
        self._ccm = AESCCM(bytes(key), TAG_LEN)
        self._decrypt = self._ccm.decrypt

    def open(self, nonce: bytes, ciphertext: bytes, aad: bytes) -> bytes:
        """The plaintext of ciphertext and tag. Raises AuthError."""
        try:
            return self._decrypt(nonce, ciphertext, aad)
        except (InvalidTag, ValueError):
            raise AuthError("auth") from None

    def seal(self, nonce: bytearray, aad: bytearray, aad_len: int, buf: bytearray, start: int, n: int) -> None:
        if start + n + TAG_LEN > len(buf):
            raise UsageError("buffer_full")
        sealed = self._ccm.encrypt(bytes(nonce), bytes(buf[start : start + n]), bytes(aad[:aad_len]))
        buf[start : start + n + TAG_LEN] = sealed

    def unseal(self, nonce: bytearray, aad: bytearray, aad_len: int, buf: bytearray, start: int, n: int) -> None:
        sealed = bytes(buf[start : start + n + TAG_LEN])
        buf[start : start + n] = self.open(bytes(nonce), sealed, bytes(aad[:aad_len]))
