"""Records and session messages: there and back by cbor2's eyes, limits from both sides, input of any kind."""

from collections.abc import Callable
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol_values import U16, U32, downlinks, encoded, examples, records, uplinks
from wayside_protocol import record, session
from wayside_protocol.cbor import Writer, dumps
from wayside_protocol.errors import CborError, MessageError, ProtocolError, UsageError
from wayside_protocol.limits import (
    CHANNELS_MAX,
    HELD_MAX,
    INTERVAL_MAX_S,
    ITEMS_MAX,
    PLAIN_MAX,
    RANGES_MAX,
    SAMPLES_MAX,
    TEXT_MAX,
    WINDOW_MAX,
)

DECODERS = {"record": record.decode, "uplink": session.decode_uplink, "downlink": session.decode_downlink}
REASONS = {
    "record": {"record_form", "record_kind"},
    "uplink": {"session_form", "session_kind"},
    "downlink": {"session_form", "session_kind", "session_ranges"},
}
LAST_MS = session.TIME_MAX_MS


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


SAMPLES = [0, 1_700_000_000, 60, 1, 12, b"\0"]
EVENT: list[Any] = [1, 5, 1, []]
HEALTH: list[Any] = [2, 5, {}]
CHANNELS = [3, 1, [[1, 0]]]
LOG = [4, 5, 3, "line"]
HELLO = [0, 1, 2, None, 3, 4, 5, 6, "firmware", "board", 7]
ANSWER = [1, 1, 0, "done"]
WELCOME: list[Any] = [0, 1, None, 16, []]
ACK: list[Any] = [1, []]
COMMAND = [2, 1, 2, 3]


def put(item: list[Any], at: int, value: object) -> list[Any]:
    """The same message with one element exchanged."""
    return [*item[:at], value, *item[at + 1 :]]


def ladder(n: int, step: int = 2) -> list[int]:
    """n ranges that do not touch."""
    return [number for i in range(n) for number in (i * step, i * step)]


# What is just within a limit and what is just beyond: decoder, a message with each, the reason of the second.
LIMITS: dict[str, tuple[str, object, object, str]] = {
    "t": ("record", put(SAMPLES, 1, U32), put(SAMPLES, 1, U32 + 1), "record_form"),
    "t is not negative": ("record", put(SAMPLES, 1, 0), put(SAMPLES, 1, -1), "record_form"),
    "boot of t": ("record", put(SAMPLES, 1, [U32, 0]), put(SAMPLES, 1, [U32 + 1, 0]), "record_form"),
    "uptime of t": ("record", put(SAMPLES, 1, [0, U32]), put(SAMPLES, 1, [0, U32 + 1]), "record_form"),
    "interval": ("record", put(SAMPLES, 2, INTERVAL_MAX_S), put(SAMPLES, 2, INTERVAL_MAX_S + 1), "record_form"),
    "least interval": ("record", put(SAMPLES, 2, 1), put(SAMPLES, 2, 0), "record_form"),
    "set": ("record", put(SAMPLES, 3, U32), put(SAMPLES, 3, U32 + 1), "record_form"),
    "samples": ("record", put(SAMPLES, 4, SAMPLES_MAX), put(SAMPLES, 4, SAMPLES_MAX + 1), "record_form"),
    "least samples": ("record", put(SAMPLES, 4, 1), put(SAMPLES, 4, 0), "record_form"),
    "code": ("record", put(EVENT, 2, U16), put(EVENT, 2, U16 + 1), "record_form"),
    "text of an event": ("record", put(EVENT, 3, ["é" * 100]), put(EVENT, 3, ["é" * 100 + "x"]), "record_form"),
    "health key": ("record", put(HEALTH, 2, {U16: 1}), put(HEALTH, 2, {U16 + 1: 1}), "record_form"),
    "health text": ("record", put(HEALTH, 2, {1: "x" * 200}), put(HEALTH, 2, {1: "x" * 201}), "record_form"),
    "channels": ("record", put(CHANNELS, 2, [[1, 0]] * CHANNELS_MAX), put(CHANNELS, 2, [[1, 0]] * 17), "record_form"),
    "least channels": ("record", CHANNELS, put(CHANNELS, 2, []), "record_form"),
    "quantity": ("record", put(CHANNELS, 2, [[U16, 0]]), put(CHANNELS, 2, [[U16 + 1, 0]]), "record_form"),
    "place": ("record", put(CHANNELS, 2, [[1, 255]]), put(CHANNELS, 2, [[1, 256]]), "record_form"),
    "level": ("record", put(LOG, 2, 7), put(LOG, 2, 8), "record_form"),
    "log line": ("record", put(LOG, 3, "x" * TEXT_MAX), put(LOG, 3, "x" * (TEXT_MAX + 1)), "record_form"),
    "kind of record": ("record", LOG, put(LOG, 0, 5), "record_kind"),
    "version": ("uplink", put(HELLO, 1, 255), put(HELLO, 1, 256), "session_form"),
    "uptime": ("uplink", put(HELLO, 2, LAST_MS), put(HELLO, 2, LAST_MS + 1), "session_form"),
    "clock": ("uplink", put(HELLO, 3, [LAST_MS, 0]), put(HELLO, 3, [LAST_MS + 1, 0]), "session_form"),
    "bound": ("uplink", put(HELLO, 3, [0, U32]), put(HELLO, 3, [0, U32 + 1]), "session_form"),
    "newest": ("uplink", put(HELLO, 5, U32), put(HELLO, 5, U32 + 1), "session_form"),
    "an empty journal": ("uplink", put(HELLO, 5, 2), put(HELLO, 5, 1), "session_form"),
    "evicted": ("uplink", put(HELLO, 6, U32), put(HELLO, 6, U32 + 1), "session_form"),
    "set in use": ("uplink", put(HELLO, 7, U32), put(HELLO, 7, U32 + 1), "session_form"),
    "firmware": ("uplink", put(HELLO, 8, "x" * TEXT_MAX), put(HELLO, 8, "x" * (TEXT_MAX + 1)), "session_form"),
    "board": ("uplink", put(HELLO, 9, "é" * 100), put(HELLO, 9, "é" * 100 + "x"), "session_form"),
    "configuration": ("uplink", put(HELLO, 10, U32), put(HELLO, 10, U32 + 1), "session_form"),
    "answer's id": ("uplink", put(ANSWER, 1, U32), put(ANSWER, 1, U32 + 1), "session_form"),
    "status": ("uplink", put(ANSWER, 2, 255), put(ANSWER, 2, 256), "session_form"),
    "result": ("uplink", put(ANSWER, 3, "x" * TEXT_MAX), put(ANSWER, 3, "x" * (TEXT_MAX + 1)), "session_form"),
    "kind of uplink": ("uplink", ANSWER, put(ANSWER, 0, 2), "session_kind"),
    "hello's n": ("downlink", put(WELCOME, 1, U32), put(WELCOME, 1, U32 + 1), "session_form"),
    "time": ("downlink", put(WELCOME, 2, LAST_MS), put(WELCOME, 2, LAST_MS + 1), "session_form"),
    "window": ("downlink", put(WELCOME, 3, WINDOW_MAX), put(WELCOME, 3, WINDOW_MAX + 1), "session_form"),
    "held": ("downlink", put(WELCOME, 4, ladder(HELD_MAX)), put(WELCOME, 4, ladder(HELD_MAX + 1)), "session_form"),
    "acked": ("downlink", put(ACK, 1, ladder(RANGES_MAX)), put(ACK, 1, ladder(RANGES_MAX + 1)), "session_form"),
    "pairs": ("downlink", put(ACK, 1, [1, 1]), put(ACK, 1, [1, 1, 3]), "session_form"),
    "seq": ("downlink", put(ACK, 1, [0, U32]), put(ACK, 1, [0, U32 + 1]), "session_form"),
    "one seq": ("downlink", put(ACK, 1, [5, 5]), put(ACK, 1, [5, 4]), "session_ranges"),
    "not touching": ("downlink", put(ACK, 1, [1, 4, 6, 9]), put(ACK, 1, [1, 4, 5, 9]), "session_ranges"),
    "not overlapping": ("downlink", put(ACK, 1, [1, 4, 6, 9]), put(ACK, 1, [1, 4, 4, 9]), "session_ranges"),
    "ascending": ("downlink", put(ACK, 1, [1, 4, 6, 9]), put(ACK, 1, [6, 9, 1, 4]), "session_ranges"),
    "command's id": ("downlink", put(COMMAND, 1, U32), put(COMMAND, 1, U32 + 1), "session_form"),
    "command": ("downlink", put(COMMAND, 2, U16), put(COMMAND, 2, U16 + 1), "session_form"),
    "argument": ("downlink", put(COMMAND, 3, U32), put(COMMAND, 3, U32 + 1), "session_form"),
    "kind of downlink": ("downlink", COMMAND, put(COMMAND, 0, 3), "session_kind"),
}


@pytest.mark.parametrize("limit", LIMITS)
def test_limits_from_both_sides(limit: str) -> None:
    decoder, within, beyond, why = LIMITS[limit]
    assert not isinstance(outcome(decoder, plain(within)), ProtocolError)
    assert reason(decoder, beyond) == why


EXAMPLES: dict[str, list[list[Any]]] = {
    "record": [SAMPLES, EVENT, HEALTH, CHANNELS, LOG],
    "uplink": [HELLO, ANSWER],
    "downlink": [WELCOME, ACK, COMMAND],
}
EVERY = [(decoder, item) for decoder, items in EXAMPLES.items() for item in items]
ODD: list[Any] = [
    None,
    True,
    False,
    -1,
    1 << 63,
    -(1 << 63),
    "",
    "text",
    b"",
    b"bytes",
    [],
    [[]],
    [1],
    [1, 2, 3],
    {},
    {1: 2},
]


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


ATOMS: list[Any] = [*ODD, *range(6), 60, 200, U32, U32 + 1, "x", [1, 2], [1, 2, 4, 4], [5, "x"], {7: "x"}, {0: None}]


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
