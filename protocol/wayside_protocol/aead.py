"""AES-CCM-16-64-128 (RFC 3610; RFC 9053 §4.2): the one seam between the two runtimes.

`Ccm(key)` has `seal(nonce, aad, aad_len, plain, n, out, at)`, which puts the ciphertext of the first n bytes
of plain and the 8-byte tag into out from `at`, and `unseal(nonce, aad, aad_len, sealed, n, out)`, which checks
and undoes that and raises AuthError. MicroPython builds CCM from the AES blocks of `cryptolib`; CPython has
`cryptography`.
"""

try:
    from wayside_protocol.aead_cryptolib import Ccm
except ImportError:
    from wayside_protocol.aead_cryptography import Ccm  # type: ignore[assignment]

__all__ = ["Ccm"]
