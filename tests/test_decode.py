"""`wayside decode`: every layer of what real frames have, and no traceback on any bytes."""

import base64
import json
from array import array
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli_runner import wayside
from wayside_gateway.keys import KeyFile
from wayside_protocol import cobs, columns, event, record, session
from wayside_protocol.cbor import Writer
from wayside_protocol.frame import Sealer
from wayside_protocol.limits import FRAME_MAX, PLAIN_MAX
from wayside_tools.capture import pieces
from wayside_tools.decode import Context, Decoder

KEY = bytes(range(16))
NODE, BOOT, GATEWAY = 1001, 3, 7


def _plain(encode: Callable[..., None], *arguments: object) -> tuple[bytearray, int]:
    writer = Writer(bytearray(PLAIN_MAX))
    encode(writer, *arguments)
    return writer.buf, writer.pos


def _record(seq: int, encode: Callable[..., None], *arguments: object) -> bytes:
    out = bytearray(FRAME_MAX)
    return bytes(out[: Sealer(KEY).record(out, NODE, seq, *_plain(encode, *arguments))])


def _samples(seq: int) -> bytes:
    rows = array("i", [2480, 953, columns.MISSING, 16, 2481, 950, 9860, 10, 2481, 940, 9861, 0])
    coded = bytearray(100)
    end = columns.encode(coded, 0, (1, 2, 3, 5), rows, 3)
    return _record(seq, record.encode_samples, 1700000000, 60, 1, 3, coded, end)


def _hello() -> bytes:
    out = bytearray(FRAME_MAX)
    hello = session.Hello(1, 5000, None, 70000, 70001, 0, 1, "0.1.0", "sim", 1)
    return bytes(out[: Sealer(KEY).session(out, NODE, BOOT, 1, *_plain(session.encode_hello, hello))])


def _welcome() -> bytes:
    out = bytearray(FRAME_MAX)
    welcome = session.Welcome(1, 1700000000000, 16, ((70000, 70000),))
    return bytes(out[: Sealer(KEY).downlink(out, NODE, GATEWAY, 9, BOOT, *_plain(session.encode_welcome, welcome))])


CHANNELS = _record(70000, record.encode_channels, 1, [(1, 0), (2, 0), (3, 0), (5, 1)])
SAMPLES = _samples(70001)
EVENT = _record(70002, record.encode_event, (BOOT, 120), event.BOOT, [3, 1, "0.1.0"])
HEALTH = _record(70003, record.encode_health, (BOOT, 120), {event.UPTIME_S: 120, event.HEAP_FREE: 100000})
LOG = _record(70004, record.encode_log, 1700000000, 3, "a line")
FRAMES = [_hello(), _welcome(), CHANNELS, SAMPLES, EVENT, HEALTH, LOG]
CAPTURE = (
    b"MPY: soft reboot\r\n"
    + cobs.encode(FRAMES[0])
    + b"Traceback (most recent call last):\r\n"
    + b"".join(map(cobs.encode, FRAMES[1:]))
    + b"tail"
)
READINGS = [
    ["2023-11-14T22:13:20Z", 24.8, 95.3, None, 16],
    ["2023-11-14T22:14:20Z", 24.81, 95.0, 986.0, 10],
    ["2023-11-14T22:15:20Z", 24.81, 94.0, 986.1, 0],
]
WITH_KEY = ["--key", KEY.hex()]


def test_a_capture_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "line.bin"
    path.write_bytes(CAPTURE)
    ended = wayside("decode", path, *WITH_KEY, "--json")
    assert ended.code == 0
    frames = ended.json["frames"]
    assert [frame["kind"] for frame in frames] == ["session", "downlink", *["record"] * 5]
    assert [frame["frame"] for frame in frames] == [frame.hex() for frame in FRAMES]
    says = [frame["message"]["says"] for frame in frames]
    assert says == ["hello", "welcome", "channels", "samples", "event", "health", "log"]
    assert frames[3]["message"]["readings"] == READINGS
    assert frames[3]["message"]["channels"][3] == {"quantity": "walkers_in", "unit": "count", "place": 1}
    assert frames[4]["message"]["name"] == "boot"
    assert frames[4]["message"]["time"] == "boot 3 + 120 s"
    assert frames[5]["message"]["values"] == {"uptime_s": 120, "heap_free_bytes": 100000}
    noise = [piece["noise"] for piece in ended.json["noise"]]
    assert noise == ["MPY: soft reboot\r\n", "Traceback (most recent call last):\r\n", "tail"]


def test_for_people_every_layer_is_a_line(tmp_path: Path) -> None:
    path = tmp_path / "line.bin"
    path.write_bytes(CAPTURE)
    shown = wayside("decode", path, *WITH_KEY).stdout
    for word in ("COBS", "nonce", "external_aad", "tag", "cose_encrypt0", "plaintext", "24.80", "MPY: soft reboot"):
        assert word in shown


@pytest.mark.parametrize(
    "spell",
    [
        bytes.hex,
        lambda frame: frame.hex().upper(),
        lambda frame: frame.hex(" "),
        lambda frame: "0x" + frame.hex(),
        lambda frame: base64.b64encode(frame).decode(),
        lambda frame: base64.urlsafe_b64encode(frame).decode().rstrip("="),
        lambda frame: cobs.encode(frame).hex(),
        lambda frame: cobs.encode(frame).strip(b"\0").hex(),
        lambda frame: base64.b64encode(cobs.encode(frame)).decode(),
    ],
)
@pytest.mark.parametrize("how", ["argument", "stdin"])
def test_a_frame_in_any_spelling(spell: Callable[[bytes], str], how: str) -> None:
    text = spell(SAMPLES)
    arguments, stdin = ([text], b"") if how == "argument" else (["-"], text.encode() + b"\n")
    ended = wayside("decode", *arguments, "--json", *WITH_KEY, stdin=stdin)
    assert ended.code == 0, ended.stderr
    assert [frame["frame"] for frame in ended.json["frames"]] == [SAMPLES.hex()]


def test_without_the_key_what_is_in_clear_is_shown() -> None:
    """The nonce and the external AAD by hand: kind ‖ node ‖ 0 ‖ seq, and [0, node, seq]."""
    frame = wayside("decode", SAMPLES.hex(), "--json").json["frames"][0]
    assert (frame["node"], frame["seq"], frame["opened"]) == (1001, 70001, False)
    assert frame["nonce"] == "00" + "000003e9" + "00000000" + "00011171"
    assert frame["external_aad"] == "8300" + "1903e9" + "1a00011171"
    assert frame["cose_encrypt0"].startswith("d08343a1010aa1054d" + frame["nonce"])
    assert frame["cose_encrypt0"].endswith(frame["ciphertext"] + frame["tag"])


def test_channels_from_the_command_line_or_not_at_all() -> None:
    bare = wayside("decode", SAMPLES.hex(), "--json", *WITH_KEY).json["frames"][0]["message"]
    assert bare["readings"] is None
    names = "temperature,humidity,pressure,walkers_in"
    told = wayside("decode", SAMPLES.hex(), "--json", *WITH_KEY, "--channels", names).json["frames"][0]["message"]
    assert told["readings"] == READINGS


def test_the_definition_in_force_is_the_latest_before() -> None:
    later = _record(70002, record.encode_channels, 1, [(5, 0), (6, 0)])
    line = b"".join(map(cobs.encode, [later, SAMPLES, CHANNELS]))
    found = list(Decoder(Context(keys={None: KEY})).all(pieces(line)))
    assert found[1]["message"]["readings"] == READINGS


def test_a_downlink_needs_the_boot() -> None:
    welcome = _welcome().hex()
    ended = wayside("decode", welcome, "--json", *WITH_KEY)
    assert (ended.code, ended.json["frames"][0]["error"]) == (1, "boot_needed")
    assert wayside("decode", welcome, "--json", *WITH_KEY, "--boot", 4).json["frames"][0]["error"] == "auth"
    opened = wayside("decode", welcome, "--json", *WITH_KEY, "--boot", BOOT)
    assert opened.code == 0
    assert opened.json["frames"][0]["message"]["held"] == [[70000, 70000]]


def test_keys_from_the_gateways_file(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    KeyFile(path).add(NODE, KEY, "north gate")
    assert wayside("decode", HEALTH.hex(), "--json", "--keys", path).json["frames"][0]["opened"] is True
    path.chmod(0o644)
    refused = wayside("decode", HEALTH.hex(), "--keys", path)
    assert refused.code == 1
    assert KEY.hex() not in refused.stderr


def test_the_wrong_key_is_said() -> None:
    ended = wayside("decode", SAMPLES.hex(), "--json", "--key", "00" * 16)
    assert (ended.code, ended.json["frames"][0]["error"]) == (1, "auth")


@pytest.mark.parametrize("key", ["", "00", "zz" * 16, "0" * 33])
def test_a_bad_key_is_one_line_that_does_not_repeat_it(key: str) -> None:
    ended = wayside("decode", SAMPLES.hex(), "--key", key or "-")
    assert ended.code == 1
    assert ended.stderr.count("\n") == 1
    assert not key or key not in ended.stderr


@pytest.mark.parametrize("what", ["", "  ", "hello world!", "00", "no_such_file.bin", "84" * 2000])
def test_what_is_no_frame_ends_with_1(what: str) -> None:
    ended = wayside("decode", "--", what)
    assert ended.code == 1
    assert ended.stderr.startswith("wayside: ")


def test_an_unknown_channel_is_misuse() -> None:
    assert wayside("decode", SAMPLES.hex(), "--channels", "temprature").code == 2


@given(st.binary(max_size=600))
def test_any_bytes(data: bytes) -> None:
    for result in Decoder(Context({None: KEY}, (1, 2), 3)).all(pieces(data)):
        json.dumps(result)
    assert wayside("decode", "-", *WITH_KEY, stdin=data).code in (0, 1)


@given(st.binary(min_size=1, max_size=100), st.sampled_from([(0, 70005), (1, BOOT), (2, GATEWAY)]))
def test_any_plaintext(plain: bytes, where: tuple[int, int]) -> None:
    """Frames that open and say anything at all."""
    out = bytearray(FRAME_MAX)
    sealer, (kind, a) = Sealer(KEY), where
    buf, n = bytearray(plain), len(plain)
    if kind == 0:
        size = sealer.record(out, NODE, a, buf, n)
    elif kind == 1:
        size = sealer.session(out, NODE, a, 1, buf, n)
    else:
        size = sealer.downlink(out, NODE, a, 1, BOOT, buf, n)
    line = cobs.encode(CHANNELS) + cobs.encode(bytes(out[:size]))
    results = list(Decoder(Context({None: KEY}, (1, 2), BOOT)).all(pieces(line)))
    assert results[1]["opened"] is True
    json.dumps(results)


@given(st.integers(0, len(CAPTURE) - 1), st.integers(0, 255))
def test_a_damaged_capture(at: int, byte: int) -> None:
    data = bytearray(CAPTURE)
    data[at] = byte
    results = list(Decoder(Context({None: KEY})).all(pieces(bytes(data))))
    good = sum("kind" in result and "error" not in result for result in results)
    assert good >= len(FRAMES) - 2
