"""The node's runtime beside the gateway's: the same refusals of the same bytes, and a steady state without garbage."""

import json
from array import array
from pathlib import Path
from random import Random
from typing import Any

import pytest

import micropython_port
from wayside_protocol import record, session
from wayside_protocol.errors import ProtocolError
from wayside_protocol.frame import parse

VECTORS = Path(__file__).parent / "vectors" / "protocol.json"
pytestmark = [pytest.mark.micropython, micropython_port.needs_micropython]

REFUSALS = """
import json, sys
from wayside_protocol import record, session
from wayside_protocol.errors import ProtocolError
from wayside_protocol.frame import parse

with open(sys.argv[1]) as file:
    inputs = json.load(file)
out = []
for data in inputs:
    data = bytes.fromhex(data)
    said = []
    for read in (parse, record.decode, session.decode_uplink, session.decode_downlink):
        try:
            read(data)
            said.append("")
        except ProtocolError as error:
            said.append(error.reason)
    out.append(said)
print(json.dumps(out))
"""


def outcomes(data: bytes) -> list[str]:
    """What each reader says here: nothing, or the reason of its refusal."""
    said = []
    for read in (parse, record.decode, session.decode_uplink, session.decode_downlink):
        try:
            read(data)
            said.append("")
        except ProtocolError as error:
            said.append(error.reason)
    return said


def damaged(rng: Random) -> bytes:
    """A frame or message of the vectors with a few bytes changed, cut out or put in; now and then none."""
    data = bytearray(rng.choice(SOURCES))
    for _ in range(rng.randint(0, 3)):
        at = rng.randint(0, min(len(data), 24))
        data[at : at + rng.randint(0, 2)] = rng.randbytes(rng.randint(0, 2))
    return bytes(data)


def sources() -> list[bytes]:
    vectors: dict[str, Any] = json.loads(VECTORS.read_text())
    short = [bytes.fromhex(case["plain"]) for case in vectors["messages"]]
    return [data for data in short + [bytes.fromhex(case["frame"]) for case in vectors["frames"]] if len(data) < 200]


SOURCES = sources()


def test_both_runtimes_refuse_the_same_for_the_same_reason(seed: int, tmp_path: Path) -> None:
    """But for text: MicroPython takes some that is no UTF-8, and a node reads no text from anyone."""
    rng = Random(seed)
    inputs = [damaged(rng) for _ in range(3000)] + [rng.randbytes(rng.randint(0, 20)) for _ in range(500)]
    file = tmp_path / "inputs.json"
    file.write_text(json.dumps([data.hex() for data in inputs]))
    said = micropython_port.run(REFUSALS, str(file), heap="32M")
    wrong = [
        (data.hex(), here, there)
        for data, here, there in zip(inputs, map(outcomes, inputs), said, strict=True)
        if here != there and "cbor_utf8" not in here
    ]
    assert wrong == []
    assert sum(not all(here) for here in map(outcomes, inputs)) > 300  # and enough was taken


GARBAGE = """
import gc, json, sys
from array import array
from wayside_protocol import columns, record
from wayside_protocol.cbor import Writer
from wayside_protocol.cobs import LINE_MAX, encode_into
from wayside_protocol.frame import Sealer
from wayside_protocol.limits import FRAME_MAX, PLAIN_MAX

QUANTITIES = (1, 2, 3, 4, 5, 6)
with open(sys.argv[1]) as file:
    batches = [array("i", rows) for rows in json.load(file)]
coded, out, line = bytearray(FRAME_MAX), bytearray(FRAME_MAX), bytearray(LINE_MAX)
w = Writer(bytearray(PLAIN_MAX))
sealer = Sealer(bytes(16))

def seal(rows, seq):
    end = columns.encode(coded, 0, QUANTITIES, rows, len(rows) // 6)
    w.pos = 0
    record.encode_samples(w, 1700000000 + seq, 60, 1, len(rows) // 6, coded, end)
    n = sealer.record(out, 1001, seq, w.buf, w.pos)
    return encode_into(line, out, n)

def used():
    gc.collect()
    before = gc.mem_alloc()
    for seq in range(len(batches)):
        seal(batches[seq], 70000 + seq)
    return gc.mem_alloc() - before

used()
print(json.dumps({"bytes": used(), "batches": len(batches)}))
"""


def test_a_batch_is_sealed_without_garbage(seed: int, tmp_path: Path) -> None:
    """Columns, CBOR, AES-CCM and COBS of 40 batches: on the unix port, whose small integers hold all of it."""
    rng = Random(seed)
    batches = []
    for _ in range(40):
        values = array("i", [2100, 500, 10132, 80, 3, 4])
        rows = []
        for _ in range(12):
            for c in range(6):
                values[c] = max(0, values[c] + rng.randint(-3, 3))
            rows += [-(1 << 29) if rng.random() < 0.02 else value for value in values]
        batches.append(rows)
    file = tmp_path / "batches.json"
    file.write_text(json.dumps(batches))
    said = micropython_port.run(GARBAGE, str(file), heap="1M")
    assert said == {"bytes": 0, "batches": 40}
