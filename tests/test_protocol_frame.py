"""Frames: what is refused, with which reason, and that nothing forged, damaged or replayed ever opens."""

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol_values import U16, U32, examples, keys, numbers, plains, sealed
from wayside_protocol.errors import AuthError, FrameError, ProtocolError, UsageError
from wayside_protocol.frame import DOWNLINK, RECORD, SESSION, Frame, Opener, Sealer, external_aad, parse
from wayside_protocol.limits import FRAME_MAX, HEAD_MAX, PLAIN_MAX, TAG_LEN

REASONS = {
    "frame_long",
    "frame_form",
    "frame_kind",
    "frame_number",
    "frame_length",
    "cbor_truncated",
    "cbor_form",
    "cbor_not_shortest",
}
KEY = bytes(range(16))
Numbers = tuple[int, int, int, int, int]


def outcome(key: bytes, data: bytes, boot: int) -> bytes | ProtocolError:
    """The plaintext, or the error."""
    try:
        return Opener(key).open(parse(data), boot)
    except (FrameError, AuthError) as refused:
        return refused


def reason(data: bytes) -> str:
    """Why a frame's clear part is refused."""
    with pytest.raises(FrameError) as refused:
        parse(data)
    return refused.value.reason


@examples(200)
@given(numbers(), plains)
def test_the_clear_part_says_who_and_which(identity: Numbers, plain: bytes) -> None:
    kind, node, a, b, boot = identity
    data = sealed(KEY, kind, node, a, b, boot, plain)
    frame = parse(data)
    assert (frame.kind, frame.node, frame.a, frame.b) == (kind, node, a, b)
    assert frame.ciphertext == data[-len(frame.ciphertext) :]
    assert len(frame.ciphertext) == len(plain) + TAG_LEN
    assert parse(bytearray(data)) == frame
    clear = [kind, node, b] if kind == RECORD else [kind, node, a, b]
    assert cbor2.loads(data) == [*clear, frame.ciphertext]


@examples(400)
@given(st.data(), keys, numbers(), plains)
def test_a_flipped_bit_never_opens(data: st.DataObject, key: bytes, identity: Numbers, plain: bytes) -> None:
    kind, node, a, b, boot = identity
    damaged = bytearray(sealed(key, kind, node, a, b, boot, plain))
    damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    refused = outcome(key, bytes(damaged), boot)
    assert isinstance(refused, ProtocolError)
    assert refused.reason in REASONS | {"auth"}


@pytest.mark.parametrize("identity", [(RECORD, 7, 0, 70000, 0), (SESSION, 256, 3, 24, 0), (DOWNLINK, 23, 9, 1, 4)])
def test_every_single_bit(identity: Numbers) -> None:
    """The ciphertext's bits end at the tag; the clear ones at the form or at the tag."""
    kind, node, a, b, boot = identity
    data = sealed(KEY, kind, node, a, b, boot, b"a reading")
    clear = len(data) - len(b"a reading") - TAG_LEN
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        refused = outcome(KEY, bytes(damaged), boot)
        assert isinstance(refused, ProtocolError)
        assert bit // 8 < clear or refused.reason == "auth"


@examples(100)
@given(keys, numbers(), plains)
def test_no_prefix_and_nothing_longer_is_a_frame(key: bytes, identity: Numbers, plain: bytes) -> None:
    kind, node, a, b, boot = identity
    data = sealed(key, kind, node, a, b, boot, plain)
    for end in {*range(min(len(data), 40)), len(data) - 1}:
        assert reason(data[:end]) in ("cbor_truncated", "frame_length")
    if len(data) < FRAME_MAX:
        assert reason(data + b"\0") == "frame_length"


@examples(200)
@given(keys, keys, numbers(), plains)
def test_another_key_opens_nothing(key: bytes, other: bytes, identity: Numbers, plain: bytes) -> None:
    kind, node, a, b, boot = identity
    data = sealed(key, kind, node, a, b, boot, plain)
    answer = outcome(other, data, boot)
    assert answer == plain if other == key else isinstance(answer, AuthError)


@examples(100)
@given(numbers(), plains, st.integers(0, U32))
def test_a_downlink_of_another_boot_does_not_open(identity: Numbers, plain: bytes, other: int) -> None:
    _, node, a, b, boot = identity
    frame = parse(sealed(KEY, DOWNLINK, node, a & U16, b, boot, plain))
    if other != boot:
        with pytest.raises(AuthError):
            Opener(KEY).open(frame, other)
    assert Opener(KEY).open(frame, boot) == plain


def test_a_downlink_opens_with_a_boot_only() -> None:
    frame = parse(sealed(KEY, DOWNLINK, 1, 2, 3, 4, b"x"))
    for use in (external_aad, Opener(KEY).open):
        with pytest.raises(UsageError, match="boot_needed"):
            use(frame)


@examples(100)
@given(numbers(), plains, st.integers(0, 4), st.integers(1, U32))
def test_no_number_can_be_exchanged(identity: Numbers, plain: bytes, place: int, change: int) -> None:
    """A sealed body under any other identity: the replay of one message as another."""
    kind, node, a, b, boot = identity
    frame = parse(sealed(KEY, kind, node, a, b, boot, plain))
    other = [kind, node, a, b, boot]
    if place == 0:
        other[0] = (kind + 1 + change % 2) % 3
    else:
        other[place] ^= change
    if other[0] != SESSION:
        other[2] = 0 if other[0] == RECORD else other[2] & U16
    forged = parse(sealed(KEY, other[0], other[1], other[2], other[3], other[4], plain))
    forged = forged._replace(ciphertext=frame.ciphertext)
    if forged != frame or (kind == DOWNLINK and other[4] != boot):
        with pytest.raises(AuthError):
            Opener(KEY).open(forged, other[4])


def form(*items: object) -> bytes:
    """An array by cbor2."""
    return cbor2.dumps(list(items), canonical=True)


BODY = bytes(9)
FORMS = {
    "nothing": (b"", "cbor_truncated"),
    "a map": (b"\xa4\x00\x01\x02\x03", "frame_form"),
    "text": (b"\x64boot", "frame_form"),
    "an array head of two bytes": (b"\x98\x04\x00\x01\x02\x49" + BODY, "cbor_not_shortest"),
    "an indefinite array": (b"\x9f\x00\x01\x02\x49" + BODY + b"\xff", "cbor_form"),
    "24 elements": (b"\x98\x18" + bytes(24), "frame_form"),
    "kind 3": (form(3, 1, 2, 3, BODY), "frame_kind"),
    "kind 255": (form(255, 1, 2, 3, BODY), "frame_kind"),
    "a negative kind": (form(-1, 1, 2, 3, BODY), "frame_kind"),
    "a kind of text": (form("", 1, 2, BODY), "frame_kind"),
    "a record of five": (form(0, 1, 2, 3, BODY), "frame_form"),
    "a session of four": (form(1, 1, 2, BODY), "frame_form"),
    "a downlink of six": (form(2, 1, 2, 3, 4, BODY), "frame_form"),
    "a node of 33 bits": (form(0, U32 + 1, 2, BODY), "frame_number"),
    "a seq of 33 bits": (form(0, 1, U32 + 1, BODY), "frame_number"),
    "a boot of 33 bits": (form(1, 1, U32 + 1, 2, BODY), "frame_number"),
    "a gateway of 17 bits": (form(2, 1, U16 + 1, 2, BODY), "frame_number"),
    "a negative node": (form(0, -1, 2, BODY), "frame_form"),
    "a negative seq": (form(0, 1, -2, BODY), "frame_form"),
    "a seq of text": (form(0, 1, "2", BODY), "frame_form"),
    "a float": (form(0, 1, 2.5, BODY), "cbor_form"),
    "true": (form(0, True, 2, BODY), "frame_form"),
    "a tag": (b"\x84\x00\xc1\x01\x49" + BODY, "frame_form"),
    "text for a body": (form(0, 1, 2, "123456789"), "frame_form"),
    "an array for a body": (form(0, 1, 2, [9]), "frame_form"),
    "null for a body": (form(0, 1, 2, None), "frame_form"),
    "an indefinite body": (b"\x84\x00\x01\x02\x5f\x49" + BODY + b"\xff", "cbor_form"),
    "a node in too many bytes": (b"\x84\x00\x18\x01\x02\x49" + BODY, "cbor_not_shortest"),
    "a body's length in too many": (b"\x84\x00\x01\x02\x58\x09" + BODY, "cbor_not_shortest"),
    "only a tag in it": (form(0, 1, 2, bytes(8)), "frame_length"),
    "an empty body": (form(0, 1, 2, b""), "frame_length"),
    "a body longer than the frame": (b"\x84\x00\x01\x02\x5b\x7f" + bytes(8), "frame_length"),
    "a body's length cut short": (b"\x84\x00\x01\x02\x5b\x7f", "cbor_truncated"),
    "a body of 4 GiB": (b"\x84\x00\x01\x02\x5a\xff\xff\xff\xff" + BODY, "frame_length"),
}


@pytest.mark.parametrize("case", FORMS)
def test_refused_forms(case: str) -> None:
    data, expected = FORMS[case]
    assert reason(data) == expected
    assert expected in REASONS


def test_every_reason_is_tried() -> None:
    assert {expected for _, expected in FORMS.values()} | {"frame_long"} == REASONS


def test_the_frame_limit_from_both_sides() -> None:
    """The largest plaintext in the widest frame is exactly the limit."""
    longest = sealed(KEY, SESSION, U32, U32, U32, 0, bytes(PLAIN_MAX))
    assert len(longest) == FRAME_MAX == PLAIN_MAX + HEAD_MAX + TAG_LEN
    assert Opener(KEY).open(parse(longest)) == bytes(PLAIN_MAX)
    assert reason(longest + b"\0") == "frame_long"
    with pytest.raises(UsageError, match="plain_length"):
        Sealer(KEY).session(bytearray(FRAME_MAX + 9), U32, U32, U32, bytearray(PLAIN_MAX + 1), PLAIN_MAX + 1)


def test_an_empty_message_is_misuse() -> None:
    """Its frame would be refused: nine bytes of ciphertext are the least."""
    with pytest.raises(UsageError, match="plain_length"):
        sealed(KEY, RECORD, 1, 0, 2, 0, b"")
    assert parse(sealed(KEY, RECORD, 1, 0, 2, 0, b"\0"))


@pytest.mark.parametrize(("place", "value"), [(at, value) for at in range(4) for value in (U32 + 1, -1)])
@pytest.mark.parametrize("kind", [RECORD, SESSION, DOWNLINK])
def test_numbers_beyond_their_range_are_misuse(kind: int, place: int, value: int) -> None:
    given_numbers = [1, 1, 1, 1]
    given_numbers[place] = value
    node, a, b, boot = given_numbers
    if (place == 1 and kind == RECORD) or (place == 3 and kind != DOWNLINK):
        return
    with pytest.raises(UsageError) as misused:
        sealed(KEY, kind, node, a, b, boot, b"x")
    assert misused.value.reason in ("number_range", "gateway_number")


def test_a_gateway_has_16_bits() -> None:
    assert parse(sealed(KEY, DOWNLINK, 1, U16, 2, 3, b"x")).a == U16
    with pytest.raises(UsageError, match="gateway_number"):
        sealed(KEY, DOWNLINK, 1, U16 + 1, 2, 3, b"x")


def test_a_buffer_of_just_the_size() -> None:
    size = len(sealed(KEY, SESSION, 1, 2, 3, 0, b"message"))
    sealer = Sealer(KEY)
    assert sealer.session(bytearray(size), 1, 2, 3, bytearray(b"message"), 7) == size
    for less in range(size):
        with pytest.raises(UsageError, match="buffer_full"):
            sealer.session(bytearray(less), 1, 2, 3, bytearray(b"message"), 7)


@examples(600)
@given(st.binary(max_size=64))
def test_bytes_of_any_kind(data: bytes) -> None:
    """Parsed as cbor2 reads them, or refused with a known reason."""
    try:
        frame = parse(data)
    except FrameError as refused:
        why = refused.reason
    else:
        why = ""
        kind, node, *rest = cbor2.loads(data)
        assert Frame(kind, node, 0 if kind == RECORD else rest[0], rest[-2], frame.elements, rest[-1]) == frame
    assert not why or why in REASONS
