"""Messages at each of the protocol's limits, and with every element of a wrong type: what a reader must refuse."""

from typing import Any

from protocol_values import U16, U32
from wayside_protocol.limits import (
    CHANNELS_MAX,
    HELD_MAX,
    INTERVAL_MAX_S,
    RANGES_MAX,
    SAMPLES_MAX,
    TEXT_MAX,
    WINDOW_MAX,
)
from wayside_protocol.session import TIME_MAX_MS

LAST_MS = TIME_MAX_MS

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
ATOMS: list[Any] = [*ODD, *range(6), 60, 200, U32, U32 + 1, "x", [1, 2], [1, 2, 4, 4], [5, "x"], {7: "x"}, {0: None}]
