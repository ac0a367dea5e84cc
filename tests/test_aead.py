"""AES-CCM-16-64-128 against published vectors and against `cryptography`, both implementations, both runtimes."""

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESCCM
from hypothesis import given
from hypothesis import strategies as st

import micropython_port
from protocol_values import examples, keys
from wayside_protocol import aead, aead_cryptography
from wayside_protocol.errors import AuthError, UsageError
from wayside_protocol.limits import FRAME_MAX, TAG_LEN

PUBLISHED = Path(__file__).parent / "vectors" / "aes_ccm.json"
PARTS = ("key", "nonce", "aad", "plain", "sealed")
VECTORS: list[dict[str, str]] = json.loads(PUBLISHED.read_text())["vectors"]

nonces = st.binary(min_size=13, max_size=13)
aads = st.binary(min_size=1, max_size=46)
plains = st.binary(max_size=80) | st.sampled_from([bytes(n) for n in (15, 16, 17, 31, 32, 33, 996, FRAME_MAX)])


class Aes:
    """`cryptolib.aes` of MicroPython, with its ECB and CBC: the CBC object keeps its chain between calls."""

    def __init__(self, key: bytes, mode: int, iv: bytes | None = None) -> None:
        chosen = modes.ECB() if mode == 1 else modes.CBC(iv or bytes(16))
        self._encryptor = Cipher(algorithms.AES(bytes(key)), chosen).encryptor()

    def encrypt(self, data: memoryview, out: memoryview) -> memoryview:
        out[:] = self._encryptor.update(bytes(data))
        return out


@pytest.fixture(scope="module")
def from_blocks() -> Iterator[Any]:
    """The node's implementation, running here on a stand-in for MicroPython's `cryptolib`."""
    stand_in = ModuleType("cryptolib")
    stand_in.aes = Aes  # type: ignore[attr-defined]
    name = "wayside_protocol.aead_cryptolib"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "cryptolib", stand_in)
        patch.delitem(sys.modules, name, raising=False)
        yield importlib.import_module(name).Ccm
        del sys.modules[name]


@pytest.fixture(params=["cryptography", "blocks"])
def ccm(request: pytest.FixtureRequest) -> Any:
    """Each implementation in turn."""
    return aead_cryptography.Ccm if request.param == "cryptography" else request.getfixturevalue("from_blocks")


def seal(ccm: Any, key: bytes, nonce: bytes, aad: bytes, plain: bytes) -> bytes:
    """Sealed with either implementation, in a buffer with room on both sides that must stay as it is."""
    out = bytearray(b"\xee" * (len(plain) + TAG_LEN + 8))
    ccm(key).seal(nonce, bytearray(aad), len(aad), bytearray(plain), len(plain), out, 4)
    assert out[:4] == out[-4:] == b"\xee" * 4
    return bytes(out[4:-4])


def unseal(ccm: Any, key: bytes, nonce: bytes, aad: bytes, sealed: bytes) -> bytes:
    out = bytearray(len(sealed) - TAG_LEN)
    ccm(key).unseal(nonce, bytearray(aad), len(aad), sealed, len(out), out)
    return bytes(out)


def test_the_gateway_uses_cryptography() -> None:
    assert aead.Ccm.__module__ == aead_cryptography.__name__


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_published_vectors(ccm: Any, vector: dict[str, str]) -> None:
    key, nonce, aad, plain, sealed = (
        bytes.fromhex(vector[name]) for name in ("key", "nonce", "aad", "plain", "sealed")
    )
    assert seal(ccm, key, nonce, aad, plain) == sealed
    assert unseal(ccm, key, nonce, aad, sealed) == plain
    with pytest.raises(AuthError):
        unseal(ccm, key, nonce, aad, sealed[:-1] + bytes([sealed[-1] ^ 1]))


SCRIPT = """
import json, sys
from wayside_protocol.aead import Ccm
from wayside_protocol.errors import AuthError

with open(sys.argv[1]) as file:
    vectors = json.load(file)["vectors"]
wrong = []
for vector in vectors:
    key, nonce, aad, plain, sealed = (bytes.fromhex(vector[n]) for n in ("key", "nonce", "aad", "plain", "sealed"))
    ccm = Ccm(key)
    n = len(plain)
    for again in range(2):
        out = bytearray(n + 8 + again)
        ccm.seal(nonce, bytearray(aad), len(aad), bytearray(plain), n, out, again)
        opened = bytearray(n)
        ccm.unseal(nonce, bytearray(aad), len(aad), sealed, n, opened)
        if out[again:] != sealed or opened != plain:
            wrong.append(vector["name"])
    for at in (0, n, n + 7):
        forged = bytearray(sealed)
        forged[at] ^= 0x80
        try:
            ccm.unseal(nonce, bytearray(aad), len(aad), forged, n, opened)
            wrong.append("forged " + vector["name"])
        except AuthError:
            if opened != bytes(n):
                wrong.append("left " + vector["name"])
print(json.dumps({"vectors": len(vectors), "wrong": wrong}))
"""


@pytest.mark.micropython
@micropython_port.needs_micropython
def test_published_vectors_in_micropython() -> None:
    said = micropython_port.run(SCRIPT, str(PUBLISHED))
    assert (said["vectors"], said["wrong"]) == (len(VECTORS), [])


@examples(150)
@given(key=keys, nonce=nonces, aad=aads, plain=plains)
def test_agrees_with_cryptography(from_blocks: Any, key: bytes, nonce: bytes, aad: bytes, plain: bytes) -> None:
    expected = AESCCM(key, TAG_LEN).encrypt(nonce, plain, aad)
    for ccm in (aead_cryptography.Ccm, from_blocks):
        assert seal(ccm, key, nonce, aad, plain) == expected
        assert unseal(ccm, key, nonce, aad, expected) == plain


def test_one_object_serves_many_frames(from_blocks: Any, seed: int) -> None:
    """Its CBC object chains on from call to call: no frame may see the one before, also not a refused one."""

    rng = Random(seed)
    key = rng.randbytes(16)
    ccm, judge = from_blocks(key), AESCCM(key, TAG_LEN)
    for _ in range(200):
        nonce, aad, plain = rng.randbytes(13), rng.randbytes(rng.randint(1, 46)), rng.randbytes(rng.randint(0, 100))
        n = len(plain)
        expected = judge.encrypt(nonce, plain, aad)
        out = bytearray(n + TAG_LEN)
        if rng.random() < 0.5:
            with pytest.raises(AuthError):
                ccm.unseal(nonce, bytearray(aad), len(aad), bytes(n) + bytes(TAG_LEN), n, out)
            assert out[:n] == bytes(n)  # nothing of what was not authentic is left
        ccm.seal(nonce, bytearray(aad), len(aad), bytearray(plain), n, out, 0)
        assert out == expected


@examples(150)
@given(data=st.data(), key=keys, nonce=nonces, aad=aads, plain=plains)
def test_any_flipped_bit_is_refused(
    from_blocks: Any, data: st.DataObject, key: bytes, nonce: bytes, aad: bytes, plain: bytes
) -> None:
    sealed = AESCCM(key, TAG_LEN).encrypt(nonce, plain, aad)
    parts = [bytearray(part) for part in (key, nonce, aad, sealed)]
    part = data.draw(st.sampled_from(parts))
    part[data.draw(st.integers(0, len(part) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    for ccm in (aead_cryptography.Ccm, from_blocks):
        with pytest.raises(AuthError) as refused:
            unseal(ccm, *(bytes(part) for part in parts))
        assert refused.value.reason == "auth"


@pytest.mark.parametrize("size", [0, 15, 17, 32])
def test_a_key_has_16_bytes(ccm: Any, size: int) -> None:
    with pytest.raises(UsageError) as misused:
        ccm(bytes(size))
    assert misused.value.reason == "key_length"


def test_a_buffer_too_small_is_misuse(ccm: Any) -> None:
    with pytest.raises(UsageError) as misused:
        ccm(bytes(16)).seal(bytes(13), bytearray(1), 1, bytearray(9), 9, bytearray(9 + TAG_LEN), 1)
    assert misused.value.reason == "buffer_full"


@pytest.mark.parametrize(("aad", "n"), [(47, 1), (1, FRAME_MAX + 1)])
def test_the_scratch_has_room_for_a_frame_and_no_more(from_blocks: Any, aad: int, n: int) -> None:
    with pytest.raises(UsageError) as misused:
        seal(from_blocks, bytes(16), bytes(13), bytes(aad), bytes(n))
    assert misused.value.reason == "ccm_length"
    with pytest.raises(UsageError):
        unseal(from_blocks, bytes(16), bytes(13), bytes(aad), bytes(n + TAG_LEN))
