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

    def seal(
        self, nonce: bytes | bytearray, aad: bytearray, aad_len: int, plain: bytearray, n: int, out: bytearray, at: int
    ) -> None:
        """The first n bytes of plain, sealed, to out from `at`; n + 8 bytes."""
        if at + n + TAG_LEN > len(out):
            raise UsageError("buffer_full")
        sealed = self._ccm.encrypt(bytes(nonce), bytes(plain[:n]), bytes(aad[:aad_len]))
        out[at : at + n + TAG_LEN] = sealed

    def unseal(
        self, nonce: bytes | bytearray, aad: bytes | bytearray, aad_len: int, sealed: bytes, n: int, out: bytearray
    ) -> None:
        """n bytes of ciphertext and the tag to n bytes of plaintext in out. Raises AuthError."""
        out[:n] = self.open(bytes(nonce), bytes(sealed[: n + TAG_LEN]), bytes(aad[:aad_len]))
