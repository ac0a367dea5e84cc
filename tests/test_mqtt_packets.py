"""MQTT packets, byte for byte by the OASIS texts, and a parser that takes anything without a surprise."""

import contextlib
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wayside_gateway.uplinks import mqtt_packets as packets
from wayside_gateway.uplinks.mqtt_packets import (
    MQTT_5,
    MQTT_311,
    Ack,
    Connack,
    Disconnect,
    MqttError,
    Parser,
    Pong,
    Will,
)
from wayside_gateway.uplinks.mqtt_reasons import WORDS, publish_refusal, reason_code, reason_word, refusal
from wayside_gateway.uplinks.sink import Refused, Unavailable


@pytest.mark.parametrize(
    ("value", "data"),
    [(0, "00"), (127, "7f"), (128, "8001"), (16_383, "ff7f"), (16_384, "808001"), (268_435_455, "ffffff7f")],
)
def test_variable_byte_integers(value: int, data: str) -> None:
    """MQTT 5 §1.5.5, table 1-1."""
    assert packets.varint(value) == bytes.fromhex(data)


def test_connect_3_1_1() -> None:
    """MQTT 3.1.1 §3.1: fixed header, protocol name, level, flags, keep alive, then the payload in its fixed order."""
    got = packets.connect(MQTT_311, "id", True, 60, Will("t", b"x"), "u", "p")
    flags = 0x80 | 0x40 | 0x20 | 0x08 | 0x04 | 0x02
    payload = b"\0\x02id" + b"\0\x01t" + b"\0\x01x" + b"\0\x01u" + b"\0\x01p"
    body = b"\0\x04MQTT\x04" + bytes([flags]) + b"\0\x3c" + payload
    assert got == b"\x10" + bytes([len(body)]) + body


def test_connect_5() -> None:
    """MQTT 5 §3.1.2.11: properties after the keep alive, and those of the will before its topic."""
    got = packets.connect(MQTT_5, "id", False, 5, Will("t", b""), session_expiry_s=10)
    properties = b"\x11\0\0\0\x0a" + b"\x27" + packets.INCOMING_MAX.to_bytes(4, "big")
    body = (
        b"\0\x04MQTT\x05\x2c\0\x05" + bytes([len(properties)]) + properties + b"\0\x02id" + b"\0" + b"\0\x01t" + b"\0\0"
    )
    assert got == b"\x10" + bytes([len(body)]) + body


def test_publish_and_the_rest() -> None:
    assert packets.publish_head("a/b", 3, 10, 1) + b"xyz" == bytes.fromhex("320a 0003 612f62 000a") + b"xyz"
    assert packets.publish_head("a", 0, 10, 2, retain=True, dup=True) == bytes.fromhex("3d05 0001 61 000a")
    assert packets.publish_head("a", 1, 1, 0) == bytes.fromhex("3004 0001 61")
    own = packets.properties({packets.Property.PAYLOAD_FORMAT: 1}, (("k", "v"),))
    assert own == bytes.fromhex("09 0101 26 0001 6b 0001 76")
    assert packets.publish_head("a", 0, 10, 1, own=own) == bytes.fromhex("320f 0001 61 000a") + own
    assert packets.pubrel(0x0102) == bytes.fromhex("62020102")
    with pytest.raises(ValueError, match="65,535"):
        packets.text("x" * 65_536)


INCOMING = [
    (MQTT_311, "20020100", Connack(True, 0)),
    (MQTT_311, "20020005", Connack(False, 5)),
    (MQTT_5, "20020001", Connack(False, 1)),
    (MQTT_5, "20080000 05 21 0014 24 01", Connack(False, 0, {0x21: 20, 0x24: 1})),
    (MQTT_5, "200d0087 0a 1f 0007 6e6f207761792e".replace(" ", ""), Connack(False, 0x87, {0x1F: b"no way."})),
    (MQTT_311, "40020102", Ack(4, 0x0102)),
    (MQTT_5, "4003010287", Ack(4, 0x0102, 0x87)),
    (MQTT_5, "40080102 87 04 1f 0001 61", Ack(4, 0x0102, 0x87, "a")),
    (MQTT_5, "50020102", Ack(5, 0x0102)),
    (MQTT_5, "7004010292 00", Ack(7, 0x0102, 0x92)),
    (MQTT_5, "d000", Pong()),
    (MQTT_5, "e000", Disconnect(0)),
    (MQTT_5, "e0018e", Disconnect(0x8E)),
    (MQTT_5, "e0068e 04 1f 0001 62", Disconnect(0x8E, "b")),
]


@pytest.mark.parametrize(("level", "data", "packet"), INCOMING)
def test_what_a_broker_says(level: int, data: str, packet: packets.Packet) -> None:
    assert list(Parser(level).feed(bytes.fromhex(data))) == [packet]


@given(st.lists(st.sampled_from([case for case in INCOMING if case[0] == MQTT_5]), max_size=6), st.randoms())
def test_any_cutting_gives_the_same_packets(cases: list[tuple[int, str, packets.Packet]], rng: "object") -> None:
    data = b"".join(bytes.fromhex(case[1]) for case in cases)
    parser = Parser(MQTT_5)
    got: list[packets.Packet] = []
    while data:
        n = rng.randint(1, 4)  # type: ignore[attr-defined]
        got += parser.feed(data[:n])
        data = data[n:]
    assert got == [case[2] for case in cases]


@given(st.integers(4, 5), st.lists(st.binary(max_size=40), max_size=4))
def test_anything_is_packets_or_one_error(level: int, chunks: list[bytes]) -> None:
    parser = Parser(level)

    def feed() -> Iterator[packets.Packet]:
        for chunk in chunks:
            yield from parser.feed(chunk)

    with contextlib.suppress(MqttError):
        for packet in feed():
            assert isinstance(packet, (Connack, Ack, Disconnect, Pong))


@pytest.mark.parametrize(
    "data",
    [
        "ffffffffff",  # a length of five bytes
        "20ffffff7f",  # more than we said we take
        "3003000161",  # a PUBLISH: we subscribe to nothing
        "2100",  # reserved flags
        "20020200",  # reserved bits of the acknowledge flags
        "4001 01",
        "20050000 02 21 00",
        "20060000 03 ff 0001",
        "20050000 09 21 00",
    ],
)
def test_what_no_broker_may_say(data: str) -> None:
    with pytest.raises(MqttError):
        list(Parser(MQTT_5).feed(bytes.fromhex(data)))


def test_codes_of_both_versions_become_the_same_words() -> None:
    words = {code: reason_word(reason_code(MQTT_311, code)) for code in range(1, 6)}
    assert words == {
        1: "protocol_version",
        2: "client_id",
        3: "server_unavailable",
        4: "bad_user_or_password",
        5: "not_authorized",
    }
    assert reason_code(MQTT_5, 1) == packets.VERSION_REFUSED, "a broker that has only 3.1.1 answers in 3.1.1"
    assert reason_code(MQTT_5, 0x87) == 0x87
    assert reason_code(MQTT_311, 77) == 0x80
    assert reason_word(0xB0) == "code_0xb0"


@pytest.mark.parametrize("code", sorted(WORDS))
def test_every_refusal_has_a_word_and_says_who(code: int) -> None:
    error = refusal(code, "the broker b:1", "because")
    assert isinstance(error, (Refused, Unavailable))
    assert str(error).startswith("The broker b:1 says ")
    assert "because" in str(error)
    assert isinstance(error, Refused) == bool(error.fix)
    assert publish_refusal(code, "a/b").reason == WORDS[code]
