"""Deterministic CBOR: byte for byte as cbor2's canonical encoder, and strict about every other form."""

from collections.abc import Callable
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol_values import EDGES, examples
from wayside_protocol.cbor import Writer, dumps, head_len, loads
from wayside_protocol.errors import CborError, UsageError
from wayside_protocol.limits import DEPTH_MAX, ITEMS_MAX

REASONS = {
    "cbor_truncated",
    "cbor_form",
    "cbor_not_shortest",
    "cbor_items",
    "cbor_depth",
    "cbor_utf8",
    "cbor_key",
    "cbor_key_order",
    "cbor_type",
    "cbor_trailing",
}

integers = st.integers(-(2**64), 2**64 - 1) | st.sampled_from([*EDGES, -1, -24, -25, -256, -257, 2**64 - 1, -(2**64)])
texts = st.text(max_size=30)
leaves = st.none() | st.booleans() | integers | st.binary(max_size=30) | texts


def containers(parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(parts, max_size=6) | st.dictionaries(integers | texts, parts, max_size=6)


@st.composite
def values(draw: st.DrawFn) -> Any:
    """Values of the subset, up to the depth that is allowed."""
    some: st.SearchStrategy[Any] = leaves
    for _ in range(draw(st.integers(0, DEPTH_MAX))):
        some = leaves | containers(some)
    return draw(some)


def encode(value: Any) -> bytes:
    return dumps(value, 1 << 16)


def rfc8949(value: Any) -> bytes:
    """cbor2's canonical encoding, its maps in the order of RFC 8949 §4.2.1.

    cbor2 sorts keys as RFC 7049 §3.9 did, shorter first. The two orders differ where an integer key's encoding is
    longer than a text key's, so cbor2 is given each map's pairs as it encodes them, and this puts them in order.
    """
    if isinstance(value, list):
        return cbor_head(4, len(value)) + b"".join(rfc8949(part) for part in value)
    if isinstance(value, dict):
        pairs = sorted((cbor2.dumps(key, canonical=True), rfc8949(part)) for key, part in value.items())
        return cbor_head(5, len(pairs)) + b"".join(key + part for key, part in pairs)
    return cbor2.dumps(value, canonical=True)


def cbor_head(major: int, n: int) -> bytes:
    """A head with cbor2's own choice of length."""
    head = bytearray(cbor2.dumps(n, canonical=True))
    head[0] |= major << 5
    return bytes(head)


@examples(300)
@given(values())
def test_encodes_as_cbor2(value: Any) -> None:
    coded = encode(value)
    assert coded == rfc8949(value)
    assert cbor2.loads(coded) == value
    assert count(value) > ITEMS_MAX or loads(coded) == value


def count(value: Any) -> int:
    """Items in a value, keys included."""
    if isinstance(value, list):
        return 1 + sum(map(count, value))
    if isinstance(value, dict):
        return 1 + sum(1 + count(part) for part in value.values())
    return 1


@examples(100)
@given(st.dictionaries(st.integers(0, 2**64 - 1), leaves, max_size=8) | st.dictionaries(texts, leaves, max_size=8))
def test_maps_of_one_kind_of_key_are_cbor2s_own(value: dict[Any, Any]) -> None:
    assert encode(value) == cbor2.dumps(value, canonical=True)
    assert loads(encode(value)) == value


@pytest.mark.parametrize("number", [*EDGES, 2**32, 2**63, 2**64 - 1])
def test_heads_at_their_edges(number: int) -> None:
    for value in (number, -1 - number):
        assert encode(value) == cbor2.dumps(value, canonical=True)
        assert len(encode(value)) == head_len(number)
        assert loads(encode(value)) == value


# Every form that RFC 8949 §4.2.1 rules out, or that version 1 does not have.
REFUSED = {
    "nothing": ("", "cbor_truncated"),
    "0 in two bytes": ("1800", "cbor_not_shortest"),
    "23 in two bytes": ("1817", "cbor_not_shortest"),
    "24 in three": ("190018", "cbor_not_shortest"),
    "255 in three": ("1900ff", "cbor_not_shortest"),
    "256 in five": ("1a00000100", "cbor_not_shortest"),
    "65535 in five": ("1a0000ffff", "cbor_not_shortest"),
    "2^32 - 1 in nine": ("1b00000000ffffffff", "cbor_not_shortest"),
    "-1 in two bytes": ("3800", "cbor_not_shortest"),
    "length in two bytes: bytes": ("5801aa", "cbor_not_shortest"),
    "length in two bytes: text": ("780161", "cbor_not_shortest"),
    "length in two bytes: array": ("980100", "cbor_not_shortest"),
    "length in two bytes: map": ("b8010000", "cbor_not_shortest"),
    "indefinite bytes": ("5f41aaff", "cbor_form"),
    "indefinite text": ("7f6161ff", "cbor_form"),
    "indefinite array": ("9f00ff", "cbor_form"),
    "indefinite map": ("bf0000ff", "cbor_form"),
    "a break alone": ("ff", "cbor_form"),
    "reserved 28": ("1c", "cbor_form"),
    "reserved 29": ("5d", "cbor_form"),
    "reserved 30": ("9e", "cbor_form"),
    "half float": ("f93c00", "cbor_form"),
    "float": ("fa3f800000", "cbor_form"),
    "double": ("fb3ff0000000000000", "cbor_form"),
    "simple in two bytes": ("f8ff", "cbor_form"),
    "undefined": ("f7", "cbor_type"),
    "simple 0": ("e0", "cbor_type"),
    "simple 19": ("f3", "cbor_type"),
    "a tag": ("c000", "cbor_type"),
    "a bignum": ("c24101", "cbor_type"),
    "self-described": ("d9d9f700", "cbor_type"),
    "keys in the wrong order": ("a202000100", "cbor_key_order"),
    "keys by length first": ("a2617a0019010000", "cbor_key_order"),
    "negative before positive": ("a220000000", "cbor_key_order"),
    "a key twice": ("a201000100", "cbor_key_order"),
    "a text key twice": ("a2616100616100", "cbor_key_order"),
    "bytes as key": ("a1416100", "cbor_key"),
    "true as key": ("a1f500", "cbor_key"),
    "null as key": ("a1f600", "cbor_key"),
    "an array as key": ("a18000", "cbor_key"),
    "no UTF-8": ("61ff", "cbor_utf8"),
    "overlong UTF-8": ("62c080", "cbor_utf8"),
    "a surrogate": ("63eda080", "cbor_utf8"),
    "UTF-8 cut short": ("61c3", "cbor_utf8"),
    "a byte after it": ("0000", "cbor_trailing"),
    "a break after it": ("00ff", "cbor_trailing"),
    "head cut short": ("19ff", "cbor_truncated"),
    "bytes cut short": ("42aa", "cbor_truncated"),
    "text cut short": ("6261", "cbor_truncated"),
    "array cut short": ("820000"[:4], "cbor_truncated"),
    "map cut short": ("a100", "cbor_truncated"),
    "4 GiB of bytes": ("5affffffff00", "cbor_truncated"),
    "2^64 - 1 items": ("9bffffffffffffffff00", "cbor_truncated"),
    "2^64 - 1 pairs": ("bbffffffffffffffff00", "cbor_truncated"),
}


@pytest.mark.parametrize("form", REFUSED)
def test_refuses(form: str) -> None:
    data, reason = REFUSED[form]
    with pytest.raises(CborError) as refused:
        loads(bytes.fromhex(data))
    assert refused.value.reason == reason
    assert reason in REASONS


def test_every_reason_is_tried() -> None:
    tried = {reason for _, reason in REFUSED.values()} | {"cbor_items", "cbor_depth"}
    assert tried == REASONS


def nested(depth: int, wrap: Callable[[Any], Any]) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = wrap(value)
    return value


@pytest.mark.parametrize("wrap", [lambda value: [value], lambda value: {0: value}], ids=["array", "map"])
def test_the_depth_limit(wrap: Callable[[Any], Any]) -> None:
    deepest = nested(DEPTH_MAX, wrap)
    assert loads(encode(deepest)) == deepest
    with pytest.raises(CborError) as refused:
        loads(encode(nested(DEPTH_MAX + 1, wrap)))
    assert refused.value.reason == "cbor_depth"


def test_a_bomb_of_heads_ends_at_the_depth_limit() -> None:
    with pytest.raises(CborError) as refused:
        loads(b"\x81" * 100_000)
    assert refused.value.reason == "cbor_depth"


def test_the_items_limit() -> None:
    most = [0] * (ITEMS_MAX - 1)
    assert loads(encode(most)) == most
    with pytest.raises(CborError) as refused:
        loads(encode([*most, 0]))
    assert refused.value.reason == "cbor_items"
    pairs = {i: i for i in range((ITEMS_MAX - 1) // 2)}
    assert loads(encode(pairs)) == pairs
    with pytest.raises(CborError):
        loads(encode({**pairs, 9999: 0}))


def outcome(data: bytes) -> Any:
    """The value, or the reason of the refusal."""
    try:
        return loads(data)
    except CborError as refused:
        return refused


@examples(1000)
@given(st.binary(max_size=40))
def test_bytes_of_any_kind(data: bytes) -> None:
    """What is taken is exactly what the encoder writes; nothing but CborError comes out."""
    value = outcome(data)
    if isinstance(value, CborError):
        assert value.reason in REASONS
    else:
        assert encode(value) == data == rfc8949(value)


@examples(300)
@given(st.data(), values())
def test_damaged_values(data: st.DataObject, value: Any) -> None:
    coded = bytearray(encode(value))
    coded[data.draw(st.integers(0, len(coded) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    read = outcome(bytes(coded))
    if not isinstance(read, CborError):
        assert encode(read) == coded


@examples(100)
@given(values())
def test_every_prefix_is_refused(value: Any) -> None:
    coded = encode(value)
    for end in range(len(coded)):
        assert isinstance(outcome(coded[:end]), CborError)


@examples(100)
@given(values())
def test_a_buffer_of_just_the_size(value: Any) -> None:
    size = len(encode(value))
    assert len(dumps(value, size)) == size
    with pytest.raises(UsageError) as misused:
        dumps(value, size - 1)
    assert misused.value.reason == "buffer_full"


def test_the_writer_goes_on_where_it_stands() -> None:
    w = Writer(bytearray(32))
    w.array(4)
    w.map(1)
    w.integer(-500)
    w.boolean(True)
    w.blob(bytearray(b"abcdef"), 3)
    w.null()
    w.text("é")
    assert cbor2.loads(w.done()) == [{-500: True}, b"abc", None, "é"]
    assert w.pos == len(w.done())


def test_what_the_subset_has_not_is_misuse() -> None:
    for value in (1.5, {1}, object()):
        with pytest.raises(UsageError, match="cbor_type"):
            dumps([value])
