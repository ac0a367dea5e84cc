"""What the protocol's tests draw from: numbers at their edges, messages of every kind, frames."""

import os
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

from wayside_protocol import record, session
from wayside_protocol.cbor import Writer
from wayside_protocol.frame import DOWNLINK, RECORD, SESSION, Sealer
from wayside_protocol.limits import (
    CHANNELS_MAX,
    FRAME_MAX,
    HELD_MAX,
    INTERVAL_MAX_S,
    PLAIN_MAX,
    RANGES_MAX,
    SAMPLES_MAX,
    TEXT_MAX,
    WINDOW_MAX,
)

U8, U16, U32 = 0xFF, 0xFFFF, 0xFFFFFFFF
DEPTH_VARIABLE = "WAYSIDE_TEST_DEPTH"
"""Multiplies the examples of every property: 1 in a plain run."""

# Where the length of a number's encoding changes (RFC 8949 §3).
EDGES = (0, 1, 23, 24, 255, 256, 65535, 65536, 2**31, U32 - 1, U32)


def examples(n: int) -> settings:
    """So many examples, times the depth that the environment asks for."""
    return settings(max_examples=n * int(os.environ.get(DEPTH_VARIABLE) or 1))


def uint(limit: int, low: int = 0) -> st.SearchStrategy[int]:
    """Numbers up to a limit, with its edges and those of CBOR's heads."""
    edges = sorted({edge for edge in (*EDGES, low, limit - 1, limit) if low <= edge <= limit})
    return st.sampled_from(edges) | st.integers(low, limit)


u8, u16, u32 = uint(U8), uint(U16), uint(U32)
unix_ms = uint(session.TIME_MAX_MS)
keys = st.binary(min_size=16, max_size=16)


def words(limit: int = TEXT_MAX) -> st.SearchStrategy[str]:
    """Text of at most `limit` bytes, not characters."""
    return st.text(max_size=40).map(lambda text: text.encode()[:limit].decode(errors="ignore")) | st.just("é" * 100)


scalars = st.integers(-(2**64), 2**64 - 1) | u32 | words(60)
times = u32 | st.tuples(u32, u32)

samples = st.builds(
    record.Samples,
    times,
    uint(INTERVAL_MAX_S, 1),
    u32,
    uint(SAMPLES_MAX, 1),
    st.binary(max_size=60) | st.just(b"\xff" * 900),
)
events = st.builds(record.Event, times, u16, st.lists(scalars, max_size=8).map(tuple))
healths = st.builds(record.Health, times, st.dictionaries(u16, scalars, max_size=10))
channels = st.builds(record.Channels, u32, st.lists(st.tuples(u16, u8), min_size=1, max_size=CHANNELS_MAX).map(tuple))
logs = st.builds(record.Log, times, uint(7), words())
records = samples | events | healths | channels | logs


@st.composite
def ranges(draw: st.DrawFn, limit: int = RANGES_MAX) -> tuple[tuple[int, int], ...]:
    """Ranges as the protocol has them: ascending, inclusive, not touching."""
    cuts = sorted(draw(st.sets(u32, max_size=2 * limit)))
    out: list[tuple[int, int]] = []
    for first, last in zip(cuts[::2], cuts[1::2], strict=False):
        if not out or first > out[-1][1] + 1:
            out.append((first, last))
    return tuple(out)


@st.composite
def hellos(draw: st.DrawFn) -> session.Hello:
    """A hello whose journal is possible: newest is at least oldest - 1."""
    oldest, newest = sorted((draw(u32), draw(u32)))
    if draw(st.booleans()) and newest:
        oldest, newest = newest, newest - 1
    clock = draw(st.none() | st.tuples(unix_ms, u32))
    return session.Hello(
        draw(u8),
        draw(unix_ms),
        clock,
        oldest,
        newest,
        draw(u32),
        draw(u32),
        draw(words()),
        draw(words()),
        draw(u32),
    )


answers = st.builds(session.Answer, u32, u8, words())
uplinks = hellos() | answers
welcomes = st.builds(session.Welcome, u32, st.none() | unix_ms, uint(WINDOW_MAX), ranges(HELD_MAX))
acks = st.builds(session.Ack, ranges())
commands = st.builds(session.Command, u32, u16, u32)
downlinks = welcomes | acks | commands


def encoded(message: Any) -> bytes:
    """The plaintext of any message, by the protocol's own encoders."""
    w = Writer(bytearray(2048))
    match message:
        case record.Samples():
            record.encode_samples(w, *message, length=len(message.columns))
        case record.Event():
            record.encode_event(w, *message)
        case record.Health():
            record.encode_health(w, *message)
        case record.Channels():
            record.encode_channels(w, *message)
        case record.Log():
            record.encode_log(w, *message)
        case session.Hello():
            session.encode_hello(w, message)
        case session.Answer():
            session.encode_answer(w, message)
        case session.Welcome():
            session.encode_welcome(w, message)
        case session.Ack():
            session.encode_ack(w, message.ranges)
        case session.Command():
            session.encode_command(w, message)
        case _:
            raise AssertionError(message)
    return w.done()


def sealed(key: bytes, kind: int, node: int, a: int, b: int, boot: int, plain: bytes) -> bytes:
    """A frame of any kind; boot counts for a downlink only, a for none but records."""
    out = bytearray(FRAME_MAX)
    sealer = Sealer(key)
    data = bytearray(plain)
    if kind == RECORD:
        n = sealer.record(out, node, b, data, len(data))
    elif kind == SESSION:
        n = sealer.session(out, node, a, b, data, len(data))
    else:
        n = sealer.downlink(out, node, a, b, boot, data, len(data))
    return bytes(out[:n])


plains = st.binary(min_size=1, max_size=64) | st.sampled_from([b"\0", b"\xff" * PLAIN_MAX, b"\x55" * 16])


@st.composite
def numbers(draw: st.DrawFn) -> tuple[int, int, int, int, int]:
    """kind, node, a, b and the node's boot, as they may stand in a frame."""
    kind = draw(st.sampled_from([RECORD, SESSION, DOWNLINK]))
    a = 0 if kind == RECORD else draw(u16 if kind == DOWNLINK else u32)
    return kind, draw(u32), a, draw(u32), draw(u32)
