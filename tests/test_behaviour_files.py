"""Files that people write, with anything in them: the valid thing with some of it changed, cut, doubled or moved.

Each is taken, or refused by a clear error with the program's own exit code. Never a traceback, and never a key shown.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli_runner import wayside
from wayside_gateway.errors import KeyFileError, SettingsError
from wayside_gateway.keys import KeyFile
from wayside_gateway.settings import parse

KEY = "000102030405060708090a0b0c0d0e0f"
SETTINGS = """gateway = 3
deployment = "my-town"
data = "/var/lib/wayside"
keys = "keys.toml"
[[serial]]
path = "/dev/ttyUSB*"
baud = 115200
[[serial]]
usb = "10c4:ea60"
[mqtt]
host = "broker.example.org"
port = 8883
user = "wayside"
password = "secret"
qos = 2
[mqtt.tls]
ca = "ca.pem"
[store]
max_bytes = 4294967296
max_age_days = 400
[clock]
require_ntp = true
[log]
format = "json"
"""
KEYS = f"""# Keys
[1001]
key = "{KEY}"
name = "north gate"
[1002]
key = "{KEY[::-1]}"
"""
CSV = """time,temperature,humidity,pressure,pm2_5,walkers_in,walkers_out
1700000000,21.52,45.3,1013.2,8.1,3,0
1700000060,21.50,45.2,1013.2,8.4,0,1
1700000120,,45.2,1013.1,8.4,0,1
1700000180,21.44,45.0,1013.1,,2,2
"""
WORDS = [
    "[", "]", "[[", "]]", "=", '"', "'", '"""', ",", ".", "-", "\n", "\r", "\0", "\x1b", "é", "\U0001f6b2", "true",
    "nan", "inf", "-1", "0", "1e400", "9" * 400, "0x", "1979-05-27T07:32:00Z", "{}", "\\u0000", "#", "mqtt", "1001",
    "key", "time", " ", "\t", "\ufeff", "a" * 5000,
]  # fmt: skip

EDITS = st.lists(
    st.tuples(st.integers(0, 700), st.integers(0, 60), st.one_of(st.sampled_from(WORDS), st.text(max_size=8))),
    min_size=1,
    max_size=6,
)


def edited(text: str, edits: list[tuple[int, int, str]]) -> str:
    for at, gone, new in edits:
        at %= len(text) + 1
        text = text[:at] + new + text[at + gone :]
    return text


@given(EDITS)
def test_settings(edits: list[tuple[int, int, str]]) -> None:
    problems = ["none"]
    try:
        parse(edited(SETTINGS, edits))
    except SettingsError as error:
        problems = error.problems
    assert problems
    assert all(problem.strip() for problem in problems)


@given(EDITS)
def test_key_files(tmp_path_factory: pytest.TempPathFactory, edits: list[tuple[int, int, str]]) -> None:
    path = tmp_path_factory.getbasetemp() / "keys.toml"
    path.touch(mode=0o600)
    path.write_bytes(edited(KEYS, edits).encode(errors="surrogatepass"))
    said = ""
    try:
        KeyFile(path).load()
    except KeyFileError as error:
        said = str(error)
    assert not any(KEY[at : at + 8] in said for at in range(25)), "a key is in the message"


@given(EDITS)
def test_recordings(tmp_path_factory: pytest.TempPathFactory, edits: list[tuple[int, int, str]]) -> None:
    path = tmp_path_factory.getbasetemp() / "street.csv"
    path.write_bytes(edited(CSV, edits).encode(errors="surrogatepass"))
    ended = wayside("bench", "wire", path, "--batch", 3, "--json")
    assert ended.code in (0, 1, 2)
    if ended.code:
        assert ended.stderr.strip()
    else:
        assert ended.json["readings"] > 0
