"""MQTT 5 and 3.1.1 as a publisher needs them: packets to bytes, bytes to packets. No I/O.

[5] is the OASIS standard MQTT 5.0, [3] MQTT 3.1.1. There is no subscribing here. The libraries at hand send PUBREL by
themselves and keep packet identifiers in memory; to deliver once across a crash, both must wait for our disk.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum

from wayside_protocol.errors import WaysideError

MQTT_5 = 5
MQTT_311 = 4
"""Protocol levels, as CONNECT carries them."""

INCOMING_MAX = 64 << 10
"""Bytes of a packet from the broker, told to it in CONNECT; a publisher gets a few dozen."""

CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP, PINGRESP, DISCONNECT = 2, 3, 4, 5, 6, 7, 13, 14
VERSION_REFUSED = 0x84
REFUSED_FROM = 0x80
"""Reason codes from here on are failures [5, §2.4]."""


class MqttError(WaysideError):
    """The broker sent what MQTT does not allow."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Property(IntEnum):
    """Identifiers of properties [5, §2.2.2.2]."""

    PAYLOAD_FORMAT = 0x01
    CONTENT_TYPE = 0x03
    SESSION_EXPIRY = 0x11
    ASSIGNED_CLIENT = 0x12
    SERVER_KEEP_ALIVE = 0x13
    REASON_STRING = 0x1F
    RECEIVE_MAXIMUM = 0x21
    TOPIC_ALIAS_MAXIMUM = 0x22
    MAXIMUM_QOS = 0x24
    RETAIN_AVAILABLE = 0x25
    USER = 0x26
    MAXIMUM_PACKET = 0x27


_BYTE, _TWO, _FOUR, _VARINT, _TEXT, _PAIR = range(6)
_KINDS = {0x01: _BYTE, 0x02: _FOUR, 0x03: _TEXT, 0x08: _TEXT, 0x09: _TEXT, 0x0B: _VARINT, 0x11: _FOUR, 0x12: _TEXT}
_KINDS |= {0x13: _TWO, 0x15: _TEXT, 0x16: _TEXT, 0x17: _BYTE, 0x18: _FOUR, 0x19: _BYTE, 0x1A: _TEXT, 0x1C: _TEXT}
_KINDS |= {0x1F: _TEXT, 0x21: _TWO, 0x22: _TWO, 0x23: _TWO, 0x24: _BYTE, 0x25: _BYTE, 0x26: _PAIR, 0x27: _FOUR}
_KINDS |= {0x28: _BYTE, 0x29: _BYTE, 0x2A: _BYTE}
_SIZES = {_BYTE: 1, _TWO: 2, _FOUR: 4}

Value = int | bytes
Properties = dict[int, Value]
"""Of one packet. User properties are skipped when read: nothing here acts on them."""


@dataclass(frozen=True, slots=True)
class Connack:
    """The answer to CONNECT. `code` is as it came: `mqtt_reasons` has one vocabulary for both versions."""

    session_present: bool
    code: int
    properties: Properties = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ack:
    """PUBACK, PUBREC or PUBCOMP for a packet identifier."""

    kind: int
    packet_id: int
    code: int = 0
    text: str = ""


@dataclass(frozen=True, slots=True)
class Disconnect:
    """The broker says why it ends the connection [5, §3.14]."""

    code: int
    text: str = ""


@dataclass(frozen=True, slots=True)
class Pong:
    """PINGRESP."""


Packet = Connack | Ack | Disconnect | Pong


def varint(value: int) -> bytes:
    """A variable byte integer [5, §1.5.5]."""
    out = bytearray()
    while True:
        value, part = divmod(value, 128)
        out.append(part | (0x80 if value else 0))
        if not value:
            return bytes(out)


def text(value: str | bytes) -> bytes:
    """A string or binary data with its two-byte length. Raises ValueError beyond 65,535 bytes."""
    data = value.encode() if isinstance(value, str) else value
    if len(data) > 0xFFFF:
        raise ValueError("an MQTT string has at most 65,535 bytes")
    return struct.pack(">H", len(data)) + data


def properties(values: Properties, user: tuple[tuple[str, str], ...] = ()) -> bytes:
    """The properties with their length."""
    out = bytearray()
    for key, value in values.items():
        out.append(key)
        kind = _KINDS[key]
        out += text(value) if isinstance(value, bytes) else value.to_bytes(_SIZES[kind], "big")
    for name, value_text in user:
        out += bytes((Property.USER,)) + text(name) + text(value_text)
    return varint(len(out)) + bytes(out)


@dataclass(frozen=True, slots=True)
class Will:
    """What the broker publishes, retained and with QoS 1, when the connection ends without DISCONNECT."""

    topic: str
    payload: bytes


def connect(
    level: int,
    client_id: str,
    clean: bool,
    keepalive_s: int,
    will: Will | None = None,
    user: str | None = None,
    password: str | None = None,
    session_expiry_s: int = 0,
) -> bytes:
    """CONNECT [5, §3.1]. `clean` is Clean Start, in [3] Clean Session."""
    flags = 0x02 * clean | (0x80 if user is not None else 0) | (0x40 if password is not None else 0)
    own = {Property.SESSION_EXPIRY: session_expiry_s, Property.MAXIMUM_PACKET: INCOMING_MAX}
    body = text(client_id)
    if will is not None:
        flags |= 0x04 | 1 << 3 | 0x20  # will, QoS 1, retained
        body += (b"\0" if level == MQTT_5 else b"") + text(will.topic) + text(will.payload)
    for secret in (user, password):
        if secret is not None:
            body += text(secret)
    head = text("MQTT") + bytes((level, flags)) + struct.pack(">H", keepalive_s)
    if level == MQTT_5:
        head += properties({int(key): value for key, value in own.items()})
    return _packet(0x10, head + body)


def publish_head(
    topic: str,
    payload_size: int,
    packet_id: int,
    qos: int,
    retain: bool = False,
    dup: bool = False,
    own: bytes | None = None,
) -> bytes:
    """PUBLISH up to its payload [5, §3.3]. `own`: encoded properties, None in [3]."""
    head = text(topic) + (struct.pack(">H", packet_id) if qos else b"") + (own or b"")
    return bytes((0x30 | dup << 3 | qos << 1 | retain,)) + varint(len(head) + payload_size) + head


def pubrel(packet_id: int) -> bytes:
    """PUBREL [5, §3.6], success."""
    return struct.pack(">BBH", 0x62, 2, packet_id)


PINGREQ = b"\xc0\0"
GOODBYE = b"\xe0\0"
"""DISCONNECT: an orderly end, after which the broker drops the will."""


def _packet(first: int, body: bytes) -> bytes:
    return bytes((first,)) + varint(len(body)) + body


class Parser:
    """Bytes from the broker to packets. After an MqttError the connection is of no more use."""

    def __init__(self, level: int) -> None:
        self.level = level
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Packet]:
        """Every packet that is complete with this data. Raises MqttError."""
        self._buffer += data
        while (found := self._cut()) is not None:
            packet = self._read(*found)
            if packet is not None:
                yield packet

    def _cut(self) -> tuple[int, bytes] | None:
        """The next packet's first byte and body, None if it is not complete."""
        buffer = self._buffer
        size = 0
        for at in range(1, 5):
            if at >= len(buffer):
                return None
            size |= (buffer[at] & 0x7F) << 7 * (at - 1)
            if not buffer[at] & 0x80:
                break
        else:
            raise MqttError("length")
        if size > INCOMING_MAX:
            raise MqttError("too_large")
        end = at + 1 + size
        if end > len(buffer):
            return None
        first, body = buffer[0], bytes(buffer[at + 1 : end])
        del buffer[:end]
        return first, body

    def _read(self, first: int, body: bytes) -> Packet | None:
        kind = first >> 4
        if first & 0x0F or kind not in (CONNACK, PUBACK, PUBREC, PUBCOMP, PINGRESP, DISCONNECT):
            raise MqttError("unexpected_packet")
        if kind == PINGRESP:
            return Pong()
        if kind == CONNACK:
            if len(body) < 2 or body[0] > 1:
                raise MqttError("connack")
            values = _properties(body, 2)[0] if self.level == MQTT_5 and len(body) > 2 else {}
            return Connack(bool(body[0]), body[1], values)
        if kind == DISCONNECT:
            return Disconnect(body[0] if body else 0, _reason_string(body, 1))
        if len(body) < 2:
            raise MqttError("ack")
        return Ack(kind, body[0] << 8 | body[1], body[2] if len(body) > 2 else 0, _reason_string(body, 3))


def _reason_string(body: bytes, pos: int) -> str:
    if len(body) <= pos:
        return ""
    value = _properties(body, pos)[0].get(Property.REASON_STRING, b"")
    return value.decode(errors="replace") if isinstance(value, bytes) else ""


def _varint(body: bytes, pos: int) -> tuple[int, int]:
    value = 0
    for shift in (0, 7, 14, 21):
        if pos >= len(body):
            raise MqttError("properties")
        part = body[pos]
        pos += 1
        value |= (part & 0x7F) << shift
        if not part & 0x80:
            return value, pos
    raise MqttError("properties")


def _properties(body: bytes, pos: int) -> tuple[Properties, int]:
    """The properties at `pos`, and the position after them."""
    size, pos = _varint(body, pos)
    end = pos + size
    if end > len(body):
        raise MqttError("properties")
    values: Properties = {}
    while pos < end:
        key, pos = _varint(body, pos)
        kind = _KINDS.get(key)
        if kind is None:
            raise MqttError("property_unknown")
        if kind in _SIZES:
            values[key] = int.from_bytes(body[pos : pos + _SIZES[kind]], "big")
            pos += _SIZES[kind]
        elif kind == _VARINT:
            values[key], pos = _varint(body, pos)
        else:
            for _ in range(2 if kind == _PAIR else 1):
                length = int.from_bytes(body[pos : pos + 2], "big")
                if kind == _TEXT:
                    values[key] = body[pos + 2 : pos + 2 + length]
                pos += 2 + length
    if pos != end:
        raise MqttError("properties")
    return values, pos
