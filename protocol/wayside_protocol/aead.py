"""AES-CCM-16-64-128 (RFC 3610; RFC 9053 §4.2): the one seam between the two runtimes.

`Ccm(key)` has `seal(nonce, aad, aad_len, buf, start, n)` and `unseal(...)`, both in place: `seal` turns
buf[start : start + n] into ciphertext and puts the 8-byte tag behind it; `unseal` checks and undoes that
and raises AuthError. MicroPython builds CCM from the AES blocks of `cryptolib`; CPython has `cryptography`.
"""

try:
    from wayside_protocol.aead_cryptolib import Ccm
except ImportError:
    from wayside_protocol.aead_cryptography import Ccm

__all__ = ["Ccm"]
