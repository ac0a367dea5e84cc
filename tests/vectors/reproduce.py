"""Reproduces `protocol.json` with `wayside_protocol`, under CPython or MicroPython, and prints what differs.

micropython tests/vectors/reproduce.py tests/vectors/protocol.json
"""

import json
import sys
from array import array

from wayside_protocol import columns, record, session
from wayside_protocol.cbor import Writer
from wayside_protocol.frame import Opener, Sealer, parse
from wayside_protocol.limits import FRAME_MAX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

BUFFER = bytearray(2048)


def tuples(value: "Any") -> "Any":
    """JSON's lists as the protocol's tuples."""
    return tuple(tuples(part) for part in value) if isinstance(value, list) else value


def code_columns(case: "Any") -> "list[str]":
    """Coded and read back."""
    rows = array("i", [columns.MISSING if cell is None else cell for cell in case["rows"]])
    end = columns.encode(BUFFER, 5, case["quantities"], rows, case["n"])
    coded = bytes(BUFFER[5:end])
    wrong = [] if coded.hex() == case["coded"] else ["encode"]
    width = len(case["quantities"])
    read = columns.decode(bytes.fromhex(case["coded"]), case["quantities"], case["n"])
    if [read[i % width][i // width] for i in range(width * case["n"])] != case["rows"]:
        wrong.append("decode")
    return wrong


def build(kind: str, fields: "Any") -> "Any":
    """The message as the protocol's own value."""
    if kind == "samples":
        t, interval, set_id, n, coded = fields
        return record.Samples(t, interval, set_id, n, bytes.fromhex(coded))
    if kind == "health":
        return record.Health(fields[0], dict(fields[1]))
    for module, name in (
        (record, "Event"),
        (record, "Channels"),
        (record, "Log"),
        (session, "Hello"),
        (session, "Answer"),
        (session, "Welcome"),
        (session, "Ack"),
        (session, "Command"),
    ):
        if name.lower() == kind:
            return getattr(module, name)(*fields)
    raise ValueError(kind)


def read(kind: str, plain: bytes) -> object:
    """The protocol's own value of a plaintext."""
    if kind in ("hello", "answer"):
        return session.decode_uplink(plain)
    if kind in ("welcome", "ack", "command"):
        return session.decode_downlink(plain)
    return record.decode(plain)


def write(kind: str, message: "Any") -> bytes:
    """Its plaintext."""
    w = Writer(BUFFER)
    if kind == "samples":
        record.encode_samples(
            w, message.t, message.interval_s, message.set_id, message.n, message.columns, len(message.columns)
        )
    elif kind == "ack":
        session.encode_ack(w, message.ranges)
    elif kind in ("event", "health", "channels", "log"):
        getattr(record, "encode_" + kind)(w, *message)
    else:
        getattr(session, "encode_" + kind)(w, message)
    return w.done()


def code_message(case: "Any") -> "list[str]":
    """Encoded and read back."""
    kind = case["kind"]
    message = build(kind, tuples(case["fields"]))
    wrong = [] if write(kind, message).hex() == case["plain"] else ["encode"]
    if read(kind, bytes.fromhex(case["plain"])) != message:
        wrong.append("decode")
    return wrong


def seal_frame(key: bytes, case: "Any") -> "list[str]":
    """Sealed, parsed and opened."""
    out = bytearray(FRAME_MAX)
    plain = bytearray(bytes.fromhex(case["plain"]))
    node, a, b, boot = (case[name] for name in ("node", "a", "b", "boot"))
    sealer = Sealer(key)
    if case["kind"] == 0:
        n = sealer.record(out, node, b, plain, len(plain))
    elif case["kind"] == 1:
        n = sealer.session(out, node, a, b, plain, len(plain))
    else:
        n = sealer.downlink(out, node, a, b, boot, plain, len(plain))
    wrong = [] if bytes(out[:n]).hex() == case["frame"] else ["seal"]
    frame = parse(bytes.fromhex(case["frame"]))
    if (frame.kind, frame.node, frame.a, frame.b) != (case["kind"], node, a, b):
        wrong.append("parse")
    if Opener(key).open(frame, boot) != plain:
        wrong.append("open")
    return wrong


def differences(path: str) -> "dict[str, Any]":
    """How many vectors of each sort, and the wrong ones: sort, place in the list, step."""
    with open(path) as file:
        vectors = json.load(file)
    key = bytes.fromhex(vectors["key"])
    wrong: list[list[Any]] = []
    counts = {}
    for sort in ("columns", "messages", "frames"):
        counts[sort] = len(vectors[sort])
        for i, case in enumerate(vectors[sort]):
            if sort == "frames":
                steps = seal_frame(key, case)
            else:
                steps = code_columns(case) if sort == "columns" else code_message(case)
            wrong.extend([sort, i, step] for step in steps)
    return {"counts": counts, "wrong": wrong}


if __name__ == "__main__":
    print(json.dumps(differences(sys.argv[1])))
