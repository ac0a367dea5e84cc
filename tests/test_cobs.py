"""COBS against published examples and another implementation; both deframers on lines of any kind, however cut."""

import json
import tracemalloc
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

import micropython_port
from protocol_values import examples
from wayside_protocol.cobs import ENCODED_MAX, FRAME_MIN, LINE_MAX, Deframer, NodeDeframer, decode, encode, encode_into
from wayside_protocol.errors import UsageError
from wayside_protocol.limits import FRAME_MAX

# Cheshire and Baker, "Consistent Overhead Byte Stuffing", figure 3: the start of an IP header.
# The others: Wikipedia, "Consistent Overhead Byte Stuffing", encoding examples.
PUBLISHED = [
    ("4500002c4c79000040064f37", "02450104" + "2c4c790105" + "40064f37"),
    ("00", "0101"),
    ("0000", "010101"),
    ("001100", "01021101"),
    ("11220033", "0311220233"),
    ("11223344", "0511223344"),
    ("11000000", "0211010101"),
    (bytes(range(1, 255)).hex(), "ff" + bytes(range(1, 255)).hex()),
    (bytes(range(255)).hex(), "01ff" + bytes(range(1, 255)).hex()),
    (bytes(range(1, 256)).hex(), "ff" + bytes(range(1, 255)).hex() + "02ff"),
    (bytes([*range(2, 256), 0]).hex(), "ff" + bytes(range(2, 256)).hex() + "0101"),
    (bytes([*range(3, 256), 0, 1]).hex(), "fe" + bytes(range(3, 256)).hex() + "0201"),
]
ENCODED = json.loads((Path(__file__).parent / "vectors" / "cobs.json").read_text())["cases"]

LENGTHS = (FRAME_MIN, 253, 254, 255, 508, 509, FRAME_MAX - 1, FRAME_MAX)


@st.composite
def frames(draw: st.DrawFn) -> bytes:
    """What a link may carry as a frame: short and long, with and without zeros."""
    if draw(st.booleans()):
        return draw(st.binary(min_size=FRAME_MIN, max_size=60))
    n = draw(st.sampled_from(LENGTHS))
    low = draw(st.sampled_from([0, 1]))
    rng = Random(draw(st.integers(0, 99)))
    return bytes(rng.randint(low, 255) for _ in range(n))


noises = (
    st.binary(max_size=60)
    | st.sampled_from(
        [b"Traceback (most recent call last):\r\n", b">>> ", b"\0\0\0", b"ets Jul 29 2019 12:21:46\r\n\0"]
    )
    | st.integers(ENCODED_MAX - 3, 3 * ENCODED_MAX).map(lambda n: b"\xff" * n)
)
lines = st.lists(frames().map(encode) | noises, max_size=6).map(b"".join)


def reference(chunk: bytes) -> bytes | None:
    """COBS decoded as the paper tells it, block by block; None where a block runs over the end."""
    out = bytearray()
    while chunk:
        code, block, chunk = chunk[0], chunk[1 : chunk[0]], chunk[chunk[0] :]
        if not code or len(block) != code - 1 or 0 in block:
            return None
        out += block
        if code < 0xFF and chunk:
            out.append(0)
    return bytes(out)


def expected(line: bytes) -> list[bytes]:
    """The frames on a line."""
    chunks = (reference(chunk) for chunk in line.split(b"\0")[:-1] if FRAME_MIN < len(chunk) <= ENCODED_MAX)
    return [frame for frame in chunks if frame is not None and len(frame) <= FRAME_MAX]


def on_a_node(line: bytes) -> tuple[list[bytes], NodeDeframer]:
    deframer = NodeDeframer()
    out = []
    for byte in line:
        n = deframer.push(byte)
        if n:
            out.append(bytes(deframer.frame[:n]))
    return out, deframer


def pieces(line: bytes, cuts: list[int]) -> list[bytes]:
    """The line cut at these places."""
    places = sorted({0, len(line), *(cut % (len(line) + 1) for cut in cuts)})
    return [line[a:b] for a, b in pairwise(places)]


@pytest.mark.parametrize(("plain", "coded"), PUBLISHED, ids=lambda text: text[:16])
def test_published_examples(plain: str, coded: str) -> None:
    assert encode(bytes.fromhex(plain)) == b"\0" + bytes.fromhex(coded) + b"\0"
    assert decode(bytes.fromhex(coded)) == bytes.fromhex(plain)


@pytest.mark.parametrize(
    ("plain", "coded"), ENCODED, ids=[f"{len(plain) // 2}-{i}" for i, (plain, _) in enumerate(ENCODED)]
)
def test_encodes_as_another_implementation(plain: str, coded: str) -> None:
    assert encode(bytes.fromhex(plain)) == b"\0" + bytes.fromhex(coded) + b"\0"
    assert decode(bytes.fromhex(coded)) == bytes.fromhex(plain)


@examples(200)
@given(st.binary(min_size=1, max_size=40) | frames())
def test_round_trip(data: bytes) -> None:
    line = encode(data)
    assert 0 not in line[1:-1]
    assert line[0] == line[-1] == 0
    assert len(line) <= len(data) + len(data) // 254 + 3
    assert reference(line[1:-1]) == decode(line[1:-1]) == data
    out = bytearray(LINE_MAX)
    assert out[: encode_into(out, data, len(data))] == line


def test_the_longest_line() -> None:
    """A frame of the limit without a zero takes the most."""
    out = bytearray(LINE_MAX)
    assert encode_into(out, b"\x01" * FRAME_MAX, FRAME_MAX) == LINE_MAX
    with pytest.raises(UsageError, match="buffer_full"):
        encode_into(bytearray(LINE_MAX - 1), b"\x01" * FRAME_MAX, FRAME_MAX)


@examples(300)
@given(lines, st.lists(st.integers(0, 5000), max_size=8))
def test_both_deframers_give_the_frames_however_cut(line: bytes, cuts: list[int]) -> None:
    wanted = expected(line)
    deframer = Deframer()
    got = [frame for piece in pieces(line, cuts) for frame in deframer.feed(piece)]
    on_node, node = on_a_node(line)
    assert got == on_node == wanted
    assert deframer.frames == node.frames == len(wanted)


@examples(60)
@given(lines)
def test_cuts_change_no_counter(line: bytes) -> None:
    whole, bytewise = Deframer(), Deframer()
    assert whole.feed(line) == [frame for byte in line for frame in bytewise.feed(bytes([byte]))]
    assert counters(whole) == counters(bytewise)


def counters(deframer: Deframer | NodeDeframer) -> tuple[int, int, int]:
    return deframer.frames, deframer.noise_bytes, deframer.oversize


@examples(200)
@given(st.lists(frames() | noises.filter(lambda noise: len(noise) < ENCODED_MAX - 3), max_size=6), st.randoms())
def test_every_byte_is_a_frames_or_noise(parts: list[bytes], rng: Random) -> None:
    """Nothing but frames and noise: what is between zeros is one or the other, on both ends alike."""
    line = b"\0".join(encode(part) if rng.random() < 0.5 and len(part) >= FRAME_MIN else part for part in parts) + b"\0"
    deframer = Deframer()
    deframer.feed(line)
    _, node = on_a_node(line)
    chunks = line.split(b"\0")
    in_frames = sum(len(chunk) for chunk in chunks if expected(chunk + b"\0"))
    if not deframer.oversize and not node.oversize:
        assert deframer.noise_bytes == node.noise_bytes == sum(map(len, chunks)) - in_frames


@pytest.mark.parametrize("cls", [Deframer, NodeDeframer])
def test_a_boot_log_before_a_frame_costs_nothing(cls: type[Deframer] | type[NodeDeframer]) -> None:
    frame = bytes(range(40))
    log = b"ets Jul 29 2019 12:21:46\r\nrst:0x1 (POWERON_RESET)\r\nTraceback (most recent call last):\r\n"
    line = log + encode(frame) + b">>> " + encode(frame)
    deframer = cls()
    if isinstance(deframer, Deframer):
        got = deframer.feed(line)
    else:
        got = [bytes(deframer.frame[:n]) for byte in line if (n := deframer.push(byte))]
    assert got == [frame, frame]
    assert counters(deframer) == (2, len(log) + 4, 0)


def test_a_cut_frame_spoils_no_other() -> None:
    """Bytes lost in the middle: that frame is noise or damaged, the next one is whole."""
    first, second = bytes(range(1, 61)), bytes(range(61, 121))
    for at in range(1, len(encode(first)) - 1):
        line = encode(first)[:at] + encode(second)
        assert Deframer().feed(line)[-1] == on_a_node(line)[0][-1] == second


@pytest.mark.parametrize("n", [FRAME_MAX, FRAME_MAX + 1, FRAME_MAX + 5, 3 * FRAME_MAX])
@pytest.mark.parametrize("fill", [b"\1", b"\0", b"\1" * 100 + b"\0"])
def test_the_frame_limit_from_both_sides(n: int, fill: bytes) -> None:
    """One that decodes to more than a frame may be is dropped whole and counted, on both ends; the next one comes."""
    data = (fill * n)[:n]
    after = bytes(range(50))
    deframer = Deframer()
    line = encode(data) + encode(after)
    got, (on_node, node) = deframer.feed(line), on_a_node(line)
    assert got == on_node == ([data, after] if n <= FRAME_MAX else [after])
    assert deframer.oversize == node.oversize == (n > FRAME_MAX)
    assert deframer.noise_bytes == node.noise_bytes == 0


@pytest.mark.parametrize("n", [FRAME_MIN - 1, FRAME_MIN])
def test_the_least_frame(n: int) -> None:
    line = encode(b"\1" * n)
    deframer = Deframer()
    assert len(deframer.feed(line)) == len(on_a_node(line)[0]) == (n >= FRAME_MIN)
    assert deframer.noise_bytes == on_a_node(line)[1].noise_bytes == (0 if n >= FRAME_MIN else n + 1)


def test_memory_is_bounded_on_a_line_without_zeros(seed: int) -> None:
    """A cable that babbles: nothing is kept beyond one frame, and it is counted once."""
    rng = Random(seed)
    babble = [bytes(rng.randint(1, 255) for _ in range(500)) for _ in range(20)]
    deframer = Deframer()
    deframer.feed(babble[0])
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(50):
            for piece in babble:
                assert deframer.feed(piece) == []
        now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert now - before < 2 * ENCODED_MAX
    assert peak - before < 8 * ENCODED_MAX
    assert counters(deframer) == (0, 0, 1)
    assert deframer.feed(b"\0" + encode(bytes(20))) == [bytes(20)]
    assert counters(deframer) == (1, 0, 1)


SCRIPT = """
import gc, json, sys
from wayside_protocol.cobs import LINE_MAX, NodeDeframer, encode_into

with open(sys.argv[1]) as file:
    cases = json.load(file)["cases"]
wrong = []
out = bytearray(LINE_MAX)
deframer = NodeDeframer()

def used(plain, coded):
    # bytes of heap that one frame takes, there and back
    before = gc.mem_alloc()
    n = encode_into(out, plain, len(plain))
    same = n == len(coded) + 2
    for k in range(len(coded)):
        same = same and out[k + 1] == coded[k]
    got = 0
    for k in range(n):
        got = deframer.push(out[k]) or got
    if len(plain) >= 14:
        same = same and got == len(plain)
        for k in range(got):
            same = same and deframer.frame[k] == plain[k]
    after = gc.mem_alloc()
    if not same:
        wrong.append(len(plain))
    return after - before

total = 0
for plain, coded in cases:
    plain = bytes.fromhex(plain)
    coded = bytes.fromhex(coded)
    gc.collect()
    total += used(plain, coded)
print(json.dumps({"cases": len(cases), "wrong": wrong, "used": total}))
"""


@pytest.mark.micropython
@micropython_port.needs_micropython
def test_in_micropython_the_same_and_nothing_allocated() -> None:
    path = Path(__file__).parent / "vectors" / "cobs.json"
    said = micropython_port.run(SCRIPT, str(path), heap="2M")
    assert said == {"cases": len(ENCODED), "wrong": [], "used": 0}
