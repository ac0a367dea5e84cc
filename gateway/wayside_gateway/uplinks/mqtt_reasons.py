"""What a broker's reason codes mean for us: a stable word, and whether to try again soon or to ask for a person."""

from wayside_gateway.uplinks.mqtt_packets import MQTT_5
from wayside_gateway.uplinks.sink import Refused, Unavailable

PACKET_TOO_LARGE = 0x95
PACKET_ID_IN_USE = 0x91
QUOTA_EXCEEDED = 0x97

WORDS = {
    0x80: "unspecified",
    0x81: "malformed_packet",
    0x82: "protocol_error",
    0x83: "implementation_specific",
    0x84: "protocol_version",
    0x85: "client_id",
    0x86: "bad_user_or_password",
    0x87: "not_authorized",
    0x88: "server_unavailable",
    0x89: "server_busy",
    0x8A: "banned",
    0x8B: "server_shutting_down",
    0x8C: "authentication_method",
    0x8D: "keep_alive_timeout",
    0x8E: "session_taken_over",
    0x90: "topic_name",
    0x91: "packet_id_in_use",
    0x92: "packet_id_not_found",
    0x93: "receive_maximum_exceeded",
    0x95: "packet_too_large",
    0x96: "message_rate_too_high",
    0x97: "quota_exceeded",
    0x98: "administrative_action",
    0x99: "payload_format",
    0x9A: "retain_not_supported",
    0x9B: "qos_not_supported",
    0x9C: "use_another_server",
    0x9D: "server_moved",
    0x9F: "connection_rate_exceeded",
}
"""Reason codes of MQTT 5 [§2.4] that are failures."""

_FIXES = {
    0x85: "Give another `client_id` in [mqtt], or let the broker take this one.",
    0x86: "Check `user` and the password in [mqtt].",
    0x87: "Check `user` and the password in [mqtt], and the broker's access list: the gateway writes below its prefix.",
    0x8A: "Ask whoever runs the broker why this client is banned.",
    0x8C: "The broker wants an authentication that Wayside does not have: use a user and a password, or a certificate.",
    0x8E: "Another gateway has the same deployment and number at this broker: give one of them another number.",
    0x90: "The broker does not take this topic: choose another `prefix` in [mqtt].",
    0x97: "The broker's quota for this client is used up: ask whoever runs it.",
    0x9A: "The broker must allow retained messages: they say whether the gateway is online.",
    0x9C: "The broker names another server: change `host` in [mqtt].",
    0x9D: "The broker moved: change `host` in [mqtt].",
}
"""Codes that a person must do something about, and what."""

_FROM_311 = {1: 0x84, 2: 0x85, 3: 0x88, 4: 0x86, 5: 0x87}
"""CONNACK return codes of MQTT 3.1.1 [§3.2.2.3] as the reason codes of MQTT 5 that say the same."""


def reason_code(level: int, code: int) -> int:
    """A CONNACK's code as MQTT 5 says it. A broker that does not know 5 answers with 3.1.1's codes."""
    if level == MQTT_5 and code not in _FROM_311:
        return code
    return _FROM_311.get(code, 0x80 if code else 0)


def reason_word(code: int) -> str:
    """A stable word for a reason code."""
    return WORDS.get(code, f"code_{code:#04x}")


def refusal(code: int, where: str, text: str = "") -> Refused | Unavailable:
    """The error for a connection that the broker refused or ended with this code."""
    words = f"{where[0].upper()}{where[1:]} says {reason_word(code)}{f' ({text})' if text else ''}."
    if code in _FIXES:
        return Refused(reason_word(code), words, _FIXES[code])
    return Unavailable(reason_word(code) if code else "closed", words)


def publish_refusal(code: int, topic: str, text: str = "") -> Refused:
    """The error for a publish that the broker refused."""
    words = f"The broker refused a publish to {topic}: {reason_word(code)}{f' ({text})' if text else ''}."
    return Refused(reason_word(code), words, _FIXES.get(code, ""))
