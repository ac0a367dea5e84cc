"""What the fuzzers call: bytes of any kind into the protocol. A target returns, or fails with what is wrong."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

from wayside_protocol import columns, record, session
from wayside_protocol.cbor import dumps, loads
from wayside_protocol.cobs import ENCODED_MAX, Deframer, NodeDeframer, encode
from wayside_protocol.errors import AuthError, CborError, ColumnsError, FrameError, MessageError
from wayside_protocol.frame import DOWNLINK, Opener, external_aad, parse
from wayside_protocol.limits import FRAME_MAX, SAMPLES_MAX, VALUE_LIMIT

VECTORS = Path(__file__).resolve().parent.parent / "vectors" / "protocol.json"
OPENER = Opener(bytes(16))
SETS = ([1], [5], [1, 2, 3, 4, 5, 6], [4] * 16)
REASONS = {
    FrameError: {"frame_long", "frame_form", "frame_kind", "frame_number", "frame_length"}
    | {"cbor_truncated", "cbor_form", "cbor_not_shortest"},
    CborError: {"cbor_truncated", "cbor_form", "cbor_not_shortest", "cbor_items", "cbor_depth", "cbor_utf8", "cbor_key"}
    | {"cbor_key_order", "cbor_type", "cbor_trailing"},
    MessageError: {"record_form", "record_kind", "session_form", "session_kind", "session_ranges"},
    ColumnsError: {"columns_shape", "columns_truncated", "columns_first", "columns_value", "columns_presence"}
    | {"columns_parameter", "columns_trailing", "quantity_unknown"},
    AuthError: {"auth"},
}


def known(error: FrameError | AuthError | CborError | MessageError | ColumnsError) -> None:
    """Its reason is one that the specification lists."""
    assert error.reason in REASONS[type(error)], error


def line(data: bytes) -> None:
    """A serial line; its first byte says where it is cut. Both deframers see the same frames."""
    step = data[0] + 1 if data else 1
    gateway, node = Deframer(), NodeDeframer()
    got = []
    for at in range(1, len(data), step):
        got += gateway.feed(data[at : at + step])
        assert len(gateway._held) <= ENCODED_MAX
    on_node = [bytes(node.frame[:n]) for byte in data[1:] if (n := node.push(byte))]
    assert got == on_node
    assert gateway.frames == node.frames == len(got)
    assert gateway.noise_bytes + sum(map(len, got)) <= len(data)
    for each in got:
        assert len(each) <= FRAME_MAX
        frame(each)


def frame(data: bytes) -> None:
    """A frame: parsed to what it was made of, and never opened without the key."""
    try:
        parsed = parse(data)
    except FrameError as error:
        known(error)
        return
    boot = 7 if parsed.kind == DOWNLINK else None
    head = external_aad(parsed._replace(kind=0 if parsed.kind == 0 else 1))
    body = dumps(parsed.ciphertext, FRAME_MAX)
    assert bytes([head[0] + 1]) + head[1:] + body == data
    assert parse(Deframer().feed(encode(data))[0]) == parsed
    try:
        OPENER.open(parsed, boot)
    except AuthError as error:
        known(error)
    else:
        raise AssertionError("a forged frame opened")


def message(data: bytes) -> None:
    """A plaintext that is authentic and wrong: a node with a fault, or a stolen key."""
    try:
        value = loads(data)
    except CborError as error:
        known(error)
        value = None
    else:
        assert dumps(value, len(data)) == data
    for decode in (record.decode, session.decode_uplink, session.decode_downlink):
        try:
            said = decode(data)
        except (CborError, MessageError) as error:
            known(error)
            continue
        assert value is not None
        if isinstance(said, record.Samples):
            read_columns(said.columns, said.n)


def coded(data: bytes) -> None:
    """Columns alone; the first byte says how many samples."""
    if data:
        read_columns(data[1:], data[0] % SAMPLES_MAX + 1)


def read_columns(data: bytes, n: int) -> None:
    """Columns of several sets."""
    for quantities in SETS:
        try:
            table = columns.decode(data, quantities, n)
        except ColumnsError as error:
            known(error)
            continue
        assert len(table) == len(quantities)
        for column in table:
            assert len(column) == n
            assert all(value is None or abs(value) < VALUE_LIMIT for value in column)


TARGETS: dict[str, Callable[[bytes], None]] = {"line": line, "frame": frame, "message": message, "columns": coded}


def seeds(target: str) -> Iterator[bytes]:
    """What a target understands, from the vectors."""
    vectors = json.loads(VECTORS.read_text())
    frames = [bytes.fromhex(case["frame"]) for case in vectors["frames"]]
    if target == "frame":
        yield from frames
    elif target == "line":
        for at in range(0, len(frames), 5):
            log = b"\x07rst:0x1 (POWERON_RESET)\r\n"
            yield log + b"".join(map(encode, frames[at : at + 5]))
    elif target == "message":
        yield from (bytes.fromhex(case["plain"]) for case in vectors["messages"])
    else:
        yield from (bytes([case["n"] - 1]) + bytes.fromhex(case["coded"]) for case in vectors["columns"])
