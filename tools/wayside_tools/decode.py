"""Frames taken apart layer by layer, as values: COBS, the clear part, COSE, the plaintext, what it says."""

import datetime
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from wayside_protocol import columns, event, record, session
from wayside_protocol.errors import ProtocolError
from wayside_protocol.frame import DOWNLINK, RECORD, Frame, Opener, written_out
from wayside_protocol.limits import TAG_LEN
from wayside_protocol.quantity import BY_NUMBER
from wayside_tools.capture import Piece

NOISE_SHOWN = 200  # bytes of one stretch of noise
KINDS = ("record", "session", "downlink")

Channel = tuple[int, int]


@dataclass
class Context:
    """What is known besides the frames: keys by node (None: for every node), a set of channels, a boot."""

    keys: Mapping[int | None, bytes] = field(default_factory=dict)
    channels: Sequence[int] = ()
    boot: int | None = None

    def key(self, node: int) -> bytes | None:
        return self.keys.get(node, self.keys.get(None))


class Decoder:
    """Takes pieces apart. A set's channels and a node's boot are taken from the same input where it has them."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self._definitions: dict[tuple[int, int], list[tuple[int, Sequence[Channel]]]] = {}
        self._boots: dict[int, int] = {}

    def all(self, pieces: Iterable[Piece]) -> Iterator[dict[str, Any]]:
        """One dictionary a piece, in order; nothing in the input raises."""
        listed = list(pieces)
        for piece in listed:
            self._learn(piece)
        for piece in listed:
            yield self._piece(piece)

    def _learn(self, piece: Piece) -> None:
        frame = piece.parsed
        key = frame and self.context.key(frame.node)
        if not frame or not key or frame.kind != RECORD:
            return
        try:
            said = record.decode(Opener(key).open(frame))
        except ProtocolError:
            return
        if isinstance(said, record.Channels):
            self._definitions.setdefault((frame.node, said.set_id), []).append((frame.b, said.channels))

    def _piece(self, piece: Piece) -> dict[str, Any]:
        out: dict[str, Any] = {"offset": piece.offset, "line_bytes": len(piece.raw), "cobs": piece.cobs}
        if piece.parsed is None:
            text = piece.raw[:NOISE_SHOWN].decode("utf-8", "replace")
            return out | {"error": piece.reason, "noise": text, "hex": piece.raw[:NOISE_SHOWN].hex()}
        frame = piece.parsed
        out |= {"frame": (piece.frame or b"").hex()} | _clear(frame)
        boot = self._boot(frame)
        out |= _cose(frame, boot)
        key = self.context.key(frame.node)
        if key is None:
            return out | {"opened": False}
        if frame.kind == DOWNLINK and boot is None:
            return out | {"opened": False, "error": "boot_needed"}
        try:
            plain = Opener(key).open(frame, boot)
        except ProtocolError as error:
            return out | {"opened": False, "error": error.reason}
        out |= {"opened": True, "plaintext": plain.hex()}
        try:
            return out | {"message": self._message(frame, plain)}
        except ProtocolError as error:
            return out | {"error": error.reason}

    def _boot(self, frame: Frame) -> int | None:
        if frame.kind == DOWNLINK:
            return self.context.boot if self.context.boot is not None else self._boots.get(frame.node)
        if frame.kind != RECORD:
            self._boots[frame.node] = frame.a
        return None

    def _message(self, frame: Frame, plain: bytes) -> dict[str, Any]:
        if frame.kind == RECORD:
            said = record.decode(plain)
            if isinstance(said, record.Samples):
                return self._samples(frame, said)
            return _said(said)
        if frame.kind == DOWNLINK:
            return _said(session.decode_downlink(plain))
        return _said(session.decode_uplink(plain))

    def _samples(self, frame: Frame, said: record.Samples) -> dict[str, Any]:
        out = {"says": "samples", "time": time_text(said.t)} | said._asdict() | {"columns": said.columns.hex()}
        channels = self._channels(frame, said.set_id)
        if not channels:
            return out | {"readings": None, "note": "channels unknown: give --channels"}
        numbers = [number for number, _ in channels]
        decoded = columns.decode(said.columns, numbers, said.n)
        readings = []
        for i in range(said.n):
            values = [_value(column[i], number) for number, column in zip(numbers, decoded, strict=True)]
            readings.append([time_text(_later(said.t, i * said.interval_s)), *values])
        return out | {"channels": [_channel(channel) for channel in channels], "readings": readings}

    def _channels(self, frame: Frame, set_id: int) -> Sequence[Channel]:
        """The definition in force: of that node's set, the latest one before the record."""
        before = [entry for entry in self._definitions.get((frame.node, set_id), ()) if entry[0] < frame.b]
        if before:
            return max(before)[1]
        return [(number, 0) for number in self.context.channels]


def _clear(frame: Frame) -> dict[str, Any]:
    names = {0: ("", "seq"), 1: ("boot", "n"), 2: ("gateway", "n")}[frame.kind]
    out: dict[str, Any] = {"kind": KINDS[frame.kind], "node": frame.node}
    if names[0]:
        out[names[0]] = frame.a
    return out | {names[1]: frame.b}


def _cose(frame: Frame, boot: int | None) -> dict[str, Any]:
    needs_boot = frame.kind == DOWNLINK and boot is None
    cose, aad, nonce = written_out(frame, 0 if needs_boot else boot)
    return {
        "nonce": nonce.hex(),
        "external_aad": None if needs_boot else aad.hex(),
        "ciphertext": frame.ciphertext[:-TAG_LEN].hex(),
        "tag": frame.ciphertext[-TAG_LEN:].hex(),
        "cose_encrypt0": cose.hex(),
    }


def _said(said: Any) -> dict[str, Any]:
    """A message with its codes named."""
    out: dict[str, Any] = {"says": type(said).__name__.lower()} | said._asdict()
    if "t" in out:
        out["time"] = time_text(said.t)
    if isinstance(said, record.Event):
        out["name"] = event.NAMES.get(said.code)
    elif isinstance(said, record.Health):
        out["values"] = {event.HEALTH_NAMES.get(key, str(key)): value for key, value in said.values.items()}
    elif isinstance(said, record.Channels):
        out["channels"] = [_channel(channel) for channel in said.channels]
    elif isinstance(said, session.Command):
        out["name"] = session.COMMANDS.get(said.name, said.name)
    elif isinstance(said, session.Welcome):
        out["time"] = None if said.unix_ms is None else time_text(said.unix_ms // 1000)
    return out


def _channel(channel: Channel) -> dict[str, Any]:
    quantity = BY_NUMBER.get(channel[0])
    return {
        "quantity": quantity.name if quantity else channel[0],
        "unit": quantity.unit if quantity else None,
        "place": channel[1],
    }


def _value(steps: int | None, number: int) -> float | int | None:
    decimals = BY_NUMBER[number].decimals
    return steps if steps is None or not decimals else steps / 10**decimals


def _later(t: "record.Time", seconds: int) -> "record.Time":
    return t + seconds if isinstance(t, int) else (t[0], t[1] + seconds)


def time_text(t: "record.Time") -> str:
    """A record's time for people: UTC, or where it stands in its boot."""
    if isinstance(t, int):
        return datetime.datetime.fromtimestamp(t, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return f"boot {t[0]} + {t[1]} s"
