"""Every frame, written out as a COSE_Encrypt0, opens with pycose: an implementation that has never seen ours."""

import cbor2
import pytest
from cryptography.exceptions import InvalidTag
from hypothesis import example, given
from pycose.algorithms import AESCCM1664128
from pycose.headers import IV, Algorithm
from pycose.keys.symmetric import SymmetricKey
from pycose.messages.cosemessage import CoseMessage
from pycose.messages.enc0message import Enc0Message

from protocol_values import EDGES, U16, examples, keys, numbers, plains, sealed
from wayside_protocol.frame import DOWNLINK, RECORD, SESSION, Opener, parse, written_out
from wayside_protocol.limits import FRAME_MAX, PLAIN_MAX

KEY = bytes(range(16))
Numbers = tuple[int, int, int, int, int]


def opened(key: bytes, cose: bytes, external_aad: bytes) -> bytes:
    """The plaintext by pycose, which takes all but the key and the external AAD from the message itself."""
    message = CoseMessage.decode(cose)
    assert isinstance(message, Enc0Message)
    message.key = SymmetricKey(k=key)
    message.external_aad = external_aad  # type: ignore[misc] # it has a setter
    return bytes(message.decrypt())


def expected_aad(kind: int, node: int, a: int, b: int, boot: int) -> bytes:
    """SPEC §3.2: the elements before the ciphertext, for a downlink with the node's boot; encoded by cbor2."""
    elements = {RECORD: [kind, node, b], SESSION: [kind, node, a, b], DOWNLINK: [kind, node, a, b, boot]}[kind]
    return cbor2.dumps(elements, canonical=True)


def judge(key: bytes, identity: Numbers, plain: bytes) -> None:
    kind, node, a, b, boot = identity
    frame = parse(sealed(key, kind, node, a, b, boot, plain))
    cose, aad, nonce = written_out(frame, boot)
    assert opened(key, cose, aad) == plain
    assert aad == expected_aad(kind, node, a, b, boot)
    assert nonce == b"".join(part.to_bytes(size, "big") for part, size in ((kind, 1), (node, 4), (a, 4), (b, 4)))
    tag = cbor2.loads(cose)
    assert tag.tag == 16
    assert tag.value == [bytes.fromhex("a1010a"), {5: nonce}, frame.ciphertext]
    assert Opener(key).open(frame, boot) == plain


@examples(300)
@given(keys, numbers(), plains)
@example(KEY, (RECORD, 0, 0, 0, 0), b"\0")
@example(bytes(16), (SESSION, 2**32 - 1, 2**32 - 1, 2**32 - 1, 0), b"\xff" * PLAIN_MAX)
@example(b"\xff" * 16, (DOWNLINK, 2**32 - 1, 65535, 2**32 - 1, 2**32 - 1), b"\0" * PLAIN_MAX)
def test_opens_with_pycose(key: bytes, identity: Numbers, plain: bytes) -> None:
    judge(key, identity, plain)


@pytest.mark.parametrize("edge", EDGES)
@pytest.mark.parametrize("kind", [RECORD, SESSION, DOWNLINK])
def test_every_number_at_every_edge(kind: int, edge: int) -> None:
    for place in range(4):
        node, a, b, boot = (edge if place == at else 7 for at in range(4))
        a = 0 if kind == RECORD else min(a, U16) if kind == DOWNLINK else a
        judge(KEY, (kind, node, a, b, boot), b"plain")


@examples(60)
@given(keys, numbers(), plains)
def test_what_pycose_seals_is_our_frame(key: bytes, identity: Numbers, plain: bytes) -> None:
    kind, node, a, b, boot = identity
    frame = sealed(key, kind, node, a, b, boot, plain)
    nonce = b"".join(part.to_bytes(size, "big") for part, size in ((kind, 1), (node, 4), (a, 4), (b, 4)))
    message = Enc0Message(
        phdr={Algorithm: AESCCM1664128},
        uhdr={IV: nonce},
        payload=plain,
        external_aad=expected_aad(kind, node, a, b, boot),
        key=SymmetricKey(k=key),
    )
    parts = [kind, node, b] if kind == RECORD else [kind, node, a, b]
    assert cbor2.dumps([*parts, message.encrypt()], canonical=True) == frame
    assert len(frame) <= FRAME_MAX


def test_the_algorithm_is_coses_number_10() -> None:
    assert AESCCM1664128.identifier == 10


@examples(60)
@given(keys, numbers(), plains)
def test_pycose_refuses_another_boot(key: bytes, identity: Numbers, plain: bytes) -> None:
    _, node, a, b, boot = identity
    cose, _, _ = written_out(parse(sealed(key, DOWNLINK, node, a & U16, b, boot, plain)), boot)
    with pytest.raises(InvalidTag):
        opened(key, cose, expected_aad(DOWNLINK, node, a & U16, b, boot ^ 1))
