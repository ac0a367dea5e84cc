"""Records and session messages: there and back by cbor2's eyes, limits from both sides, input of any kind."""

from collections.abc import Callable
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol_limits import ATOMS, EVERY, LAST_MS, LIMITS, ODD, put
from protocol_values import U16, U32, downlinks, encoded, examples, records, uplinks
from wayside_protocol import record, session
from wayside_protocol.cbor import Writer, dumps
from wayside_protocol.errors import CborError, MessageError, ProtocolError, UsageError
from wayside_protocol.limits import (
    CHANNELS_MAX,
    HELD_MAX,
    ITEMS_MAX,
    PLAIN_MAX,
    RANGES_MAX,
    TEXT_MAX,
    WINDOW_MAX,
)

DECODERS = {"record": record.decode, "uplink": session.decode_uplink, "downlink": session.decode_downlink}
REASONS = {
    "record": {"record_form", "record_kind"},
    "uplink": {"session_form", "session_kind"},
    "downlink": {"session_form", "session_kind", "session_ranges"},
}


def plain(item: object) -> bytes:
    """Encoded by cbor2."""
    return cbor2.dumps(item, canonical=True)


def outcome(decoder: str, data: bytes) -> Any:
    """The message, or the error. Any other exception fails the test."""
    try:
        return DECODERS[decoder](data)
    except (CborError, MessageError) as refused:
        return refused


def reason(decoder: str, item: object) -> str:
    refused = outcome(decoder, plain(item))
    assert isinstance(refused, MessageError), (item, refused)
    assert refused.reason in REASONS[decoder]
    return refused.reason


@examples(200)
@given(records)
def test_records_there_and_back(message: Any) -> None:
    data = encoded(message)
    assert record.decode(data) == message
    assert type(record.decode(data)) is type(message)
    t = [list(message[0])] if isinstance(message[0], tuple) else [message[0]]
    match message:
        case record.Samples():
            item: Any = [0, *t, *message[1:]]
        case record.Event():
            item = [1, *t, message.code, list(message.detail)]
        case record.Health():
            item = [2, *t, message.values]
        case record.Channels():
            item = [3, message.set_id, [list(channel) for channel in message.channels]]
        case _:
            item = [4, *t, *message[1:]]
    assert data == plain(item)


@examples(150)
@given(uplinks)
def test_uplinks_there_and_back(message: Any) -> None:
    data = encoded(message)
    assert session.decode_uplink(data) == message
    if isinstance(message, session.Hello):
        fields = [list(part) if isinstance(part, tuple) else part for part in message]
        assert data == plain([0, *fields])
    else:
        assert data == plain([1, *message])


@examples(150)
@given(downlinks)
def test_downlinks_there_and_back(message: Any) -> None:
    data = encoded(message)
    assert session.decode_downlink(data) == message
    match message:
        case session.Welcome():
            held = [number for pair in message.held for number in pair]
            item: Any = [0, message.hello_n, message.unix_ms, message.window, held]
        case session.Ack():
            item = [1, [number for pair in message.ranges for number in pair]]
        case _:
            item = [2, *message]
    assert data == plain(item)


@pytest.mark.parametrize("limit", LIMITS)
def test_limits_from_both_sides(limit: str) -> None:
    decoder, within, beyond, why = LIMITS[limit]
    assert not isinstance(outcome(decoder, plain(within)), ProtocolError)
    assert reason(decoder, beyond) == why


@pytest.mark.parametrize(("decoder", "item"), EVERY, ids=str)
def test_every_element_by_every_type(decoder: str, item: list[Any]) -> None:
    """A wrong type in any place is refused; `true` is no 1 and `false` no 0."""
    for at, was in enumerate(item):
        for odd in ODD:
            if plain(odd) == plain(was):
                continue
            read = outcome(decoder, plain(put(item, at, odd)))
            if isinstance(read, ProtocolError):
                assert read.reason in REASONS[decoder]
            else:
                assert isinstance(odd, type(was)) or at == 1 or was is None
                assert encoded(read) == plain(put(item, at, odd))


@pytest.mark.parametrize(("decoder", "item"), EVERY, ids=str)
def test_too_few_and_too_many_elements(decoder: str, item: list[Any]) -> None:
    for length in range(len(item)):
        assert reason(decoder, item[:length]) in REASONS[decoder]
    for more in ODD:
        assert reason(decoder, [*item, more]) in REASONS[decoder]


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("odd", [odd for odd in ODD if not isinstance(odd, list) or not odd], ids=repr)
def test_a_message_is_an_array(decoder: str, odd: object) -> None:
    assert reason(decoder, odd) in ("record_form", "session_form")


@pytest.mark.parametrize("decoder", DECODERS)
@examples(300)
@given(data=st.binary(max_size=50))
def test_bytes_of_any_kind(decoder: str, data: bytes) -> None:
    read = outcome(decoder, data)
    if not isinstance(read, ProtocolError):
        assert encoded(read) == data


@pytest.mark.parametrize("decoder", DECODERS)
@examples(300)
@given(item=st.lists(st.sampled_from(ATOMS), max_size=11), kind=st.integers(0, 5))
def test_cbor_of_any_kind(decoder: str, item: list[Any], kind: int) -> None:
    """What is taken is what our encoders write; what is not has a reason that is known."""
    data = plain([kind, *item])
    read = outcome(decoder, data)
    if isinstance(read, MessageError):
        assert read.reason in REASONS[decoder]
    elif not isinstance(read, CborError):
        assert encoded(read) == data


@examples(300)
@given(st.data(), records | uplinks | downlinks)
def test_damaged_messages(data: st.DataObject, message: Any) -> None:
    damaged = bytearray(encoded(message))
    damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    for decoder in DECODERS:
        read = outcome(decoder, bytes(damaged))
        if isinstance(read, MessageError):
            assert read.reason in REASONS[decoder]
        elif not isinstance(read, CborError):
            assert encoded(read) == damaged


def test_a_message_of_as_many_items_as_may_be() -> None:
    detail = [0] * (ITEMS_MAX - 5)
    assert outcome("record", plain([1, 5, 1, detail])) == record.Event(5, 1, tuple(detail))
    refused = outcome("record", plain([1, 5, 1, [*detail, 0]]))
    assert isinstance(refused, CborError)
    assert refused.reason == "cbor_items"


def test_the_longest_log_line_is_cut_at_a_character() -> None:
    for text in ("x" * TEXT_MAX, "x" * (TEXT_MAX + 1), "é" * 200, "x" * 5000, "\U0001f300" * 60):
        w = Writer(bytearray(PLAIN_MAX))
        record.encode_log(w, (1, 2), 3, text)
        line = record.decode(w.done())
        assert isinstance(line, record.Log)
        assert text.startswith(line.text)
        assert len(line.text.encode()) <= TEXT_MAX
        assert line.text == text or len(line.text.encode()) > TEXT_MAX // 2


@pytest.mark.parametrize("encode", [record.encode_event, record.encode_health])
def test_text_beyond_the_limit_is_cut_where_it_is_written(encode: Any) -> None:
    """A node must not journal what its gateway will refuse: a long traceback, say."""
    w = Writer(bytearray(PLAIN_MAX))
    if encode is record.encode_event:
        record.encode_event(w, 5, 7, ["task", "é" * 300, 1])
        event = record.decode(w.done())
        assert isinstance(event, record.Event)
        assert event.detail[0::2] == ("task", 1)
        assert TEXT_MAX // 4 < len(str(event.detail[1])) <= TEXT_MAX // 2
    else:
        record.encode_health(w, 5, {1: "x" * 300, 2: 2})
        health = record.decode(w.done())
        assert isinstance(health, record.Health)
        assert health.values[2] == 2
        assert TEXT_MAX // 2 < len(str(health.values[1])) <= TEXT_MAX


def test_encoders_hold_to_the_limits_of_lists() -> None:
    w = Writer(bytearray(PLAIN_MAX))
    pair = (1, 0)
    pairs = [(3 * i, 3 * i + 1) for i in range(RANGES_MAX + 1)]
    uses: list[Callable[[], None]] = [
        lambda: record.encode_channels(w, 1, []),
        lambda: record.encode_channels(w, 1, [pair] * (CHANNELS_MAX + 1)),
        lambda: session.encode_ack(w, pairs),
        lambda: session.encode_welcome(w, session.Welcome(1, None, 1, tuple(pairs[: HELD_MAX + 1]))),
    ]
    for use in uses:
        with pytest.raises(UsageError):
            use()


def test_the_widest_messages_fit_a_frame() -> None:
    """All numbers at their longest, all lists full: nothing that our encoders may be asked for exceeds a frame."""
    many = tuple((U32 - 4 * (RANGES_MAX - i), U32 - 4 * (RANGES_MAX - i) + 1) for i in range(RANGES_MAX))
    wide = "x" * TEXT_MAX
    for message in (
        session.Ack(many),
        session.Welcome(U32, LAST_MS, WINDOW_MAX, many[:HELD_MAX]),
        session.Hello(255, LAST_MS, (LAST_MS, U32), U32, U32, U32, U32, wide, wide, U32),
        session.Answer(U32, 255, wide),
        record.Channels(U32, ((U16, 255),) * CHANNELS_MAX),
        record.Log((U32, U32), 7, wide),
        record.Health((U32, U32), dict.fromkeys(range(U16 - 40, U16), U32)),
    ):
        assert len(encoded(message)) <= PLAIN_MAX


def test_nothing_of_a_map_is_lost() -> None:
    """Unknown keys of health are kept (SPEC §4.3)."""
    read = outcome("record", dumps([2, 5, {1: 2, 9999: "new"}]))
    assert read == record.Health(5, {1: 2, 9999: "new"})
