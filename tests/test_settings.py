"""The settings file and the key file: everything wrong is told at once, with its line and what to do."""

import contextlib
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wayside_gateway import log
from wayside_gateway.errors import KeyFileError, SettingsError
from wayside_gateway.keys import KeyFile, NodeKey, new_key, parse_key
from wayside_gateway.settings import load, parse

LEAST = 'gateway = 1\ndeployment = "town"\ndata = "/var/lib/wayside"\n'

FULL = (
    LEAST
    + """
keys = "/etc/wayside/keys.toml"

[[serial]]
path = "/dev/ttyUSB*"
baud = 921600

[[serial]]
usb = "10C4:EA60"

[[serial]]
known = true

[mqtt]
host = "broker.example.org"
user = "gate"
password_file = "/etc/wayside/password"
version = "5"
prefix = "city/air"
keepalive_s = 30

[mqtt.tls]
ca = "/etc/wayside/ca.pem"

[store]
max_bytes = 1_000_000_000
max_age_days = 30.5
commit_interval_ms = 50

[clock]
require_ntp = false

[log]
format = "json"
level = "debug"
"""
)


def problems(text: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        parse(text)
    return caught.value.problems


def test_the_least_and_the_full_file() -> None:
    least = parse(LEAST)
    assert least.keys_path == Path("/var/lib/wayside/keys.toml")
    assert (least.mqtt, least.serial, least.clock.require_ntp) == (None, (), True)
    full = parse(FULL)
    assert full.mqtt is not None
    assert (full.mqtt.port_number, full.serial[0].baud, full.serial[1].usb_numbers()) == (
        8883,
        921_600,
        (0x10C4, 0xEA60),
    )
    assert (full.log.format, full.store.max_age_days) == ("json", 30.5)


def test_all_problems_at_once_each_with_its_line() -> None:
    text = """gateway = 70000
deployment = "My Town!"
dat = "/var/lib/wayside"

[[serial]]
path = "/dev/ttyUSB0"
usb = "10c4:ea60"

[[serial]]
baud = 12
known = true

[mqtt]
prot = 1883
password = "x"
[mqtt.tls]
cert = "a"

[lgo]
level = "info"
"""
    found = problems(text)
    lines = [problem.split(":")[0] for problem in found]
    assert lines == [
        "`data` is missing",
        "line 1",
        "line 2",
        "line 3",
        "line 5",
        "line 10",
        "line 13",
        "line 14",
        "line 15",
        "line 16",
        "line 19",
    ]
    told = "\n".join(found)
    assert "did you mean `data`?" in told
    assert "did you mean `port`?" in told
    assert "did you mean `log`?" in told
    assert "not path and usb" in told
    assert '`mqtt.host` is missing: write the broker\'s name, for example: host = "broker.example.org"' in told
    assert "`mqtt.password`: a password needs `user` too" in told
    assert "`cert` and `key` belong together" in told


@pytest.mark.parametrize(
    ("lines", "word"),
    [
        ("gateway = 1.5", "gateway"),
        ('gateway = "1"\ndata = ""', "gateway"),
        ("[store]\nmax_bytes = 10", "max_bytes"),
        ("[store]\ncommit_interval_ms = 0", "commit_interval_ms"),
        ("[serial]\nknown = true", "two brackets"),
        ("[[serial]]\nknown = false", "leave the table out"),
        ('[[serial]]\nusb = "10c4"', "usb"),
        ('[mqtt]\nhost = ""', "host"),
        ('[mqtt]\nhost = "h"\nprefix = "a/#"', "prefix"),
        ('[mqtt]\nhost = "h"\nversion = "4"', "version"),
        ('[mqtt]\nhost = "h"\npassword = "secret-word"', "needs `user`"),
        ('[mqtt]\nhost = "h"\nuser = "u"\npassword = "secret-word"\npassword_file = "f"', "not both"),
        ('[log]\nformat = "xml"', "format"),
        ('[clock]\nrequire_ntp = "perhaps"', "require_ntp"),
    ],
)
def test_a_wrong_value_is_named(lines: str, word: str) -> None:
    text = (LEAST if not lines.startswith("gateway") else 'deployment = "town"\n') + lines
    told = "\n".join(problems(text))
    assert word in told
    assert "secret-word" not in told


def test_what_is_no_toml_is_told_with_its_place() -> None:
    assert "line 2" in problems("gateway = 1\ndeployment = town\n")[0]


@given(st.text(max_size=300))
def test_no_text_makes_a_traceback(text: str) -> None:
    with contextlib.suppress(SettingsError):
        parse(text)


_LINES = st.sampled_from(
    [*FULL.splitlines(), "[[serial]]", "[mqtt]", "x = 1", "data = [1]", "serial = 3", "mqtt = 'a'"]
)


@given(st.lists(_LINES, max_size=25))
def test_no_mixture_of_lines_makes_a_traceback(lines: list[str]) -> None:
    with contextlib.suppress(SettingsError):
        parse("\n".join(lines))


def test_a_file_that_is_not_there_or_no_text(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no such file"):
        load(tmp_path / "none.toml")
    (tmp_path / "bin.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match="not UTF-8"):
        load(tmp_path / "bin.toml")
    with pytest.raises(SettingsError, match="cannot be read"):
        load(tmp_path)


def test_relative_paths_count_from_the_file(tmp_path: Path) -> None:
    text = 'gateway = 1\ndeployment = "town"\ndata = "here"\nkeys = "k.toml"\n[mqtt]\nhost = "h"\nuser = "u"\n'
    (tmp_path / "w.toml").write_text(text + 'password_file = "pw"\n[mqtt.tls]\nca = "ca.pem"\n')
    settings = load(tmp_path / "w.toml")
    assert settings.data == tmp_path / "here"
    assert settings.keys_path == tmp_path / "k.toml"
    assert settings.mqtt is not None
    assert settings.mqtt.tls is not None
    assert settings.mqtt.password_file == tmp_path / "pw"
    assert settings.mqtt.tls.ca == tmp_path / "ca.pem"
    assert settings.mqtt.tls.cert is None


def test_no_password_shows_in_what_is_printed() -> None:
    settings = parse(LEAST + '[mqtt]\nhost = "h"\nuser = "u"\npassword = "secret-word"\n')
    assert "secret-word" not in repr(settings)
    assert settings.mqtt is not None
    assert settings.mqtt.password == "secret-word"


def test_every_setting_has_its_line_in_the_docs() -> None:
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, root / "tools" / "checks" / "settings_page.py", "--check"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_the_example_of_the_docs_is_right() -> None:
    page = (Path(__file__).parents[1] / "docs" / "settings.md").read_text()
    example = page.split("```toml\n")[1].split("```")[0]
    assert parse(example).gateway == 1


# -- keys ------------------------------------------------------------------------------------------------

KEY = bytes(range(16))


@pytest.fixture
def keys(tmp_path: Path) -> KeyFile:
    return KeyFile(tmp_path / "keys.toml")


def test_keys_are_added_listed_and_removed(keys: KeyFile) -> None:
    assert keys.load() == {}
    assert keys.stamp() == (0, 0, 0)
    keys.add(1002, KEY, 'gate "north" \\ 1')
    keys.add(7, new_key())
    assert list(keys.load()) == [7, 1002]
    assert keys.load()[1002] == NodeKey(KEY, 'gate "north" \\ 1')
    before = keys.stamp()
    with pytest.raises(KeyFileError, match="has a key already"):
        keys.add(1002, new_key())
    keys.add(1002, bytes(16), replace=True)
    assert keys.stamp() != before
    assert keys.load()[1002].key == bytes(16)
    keys.remove(7)
    with pytest.raises(KeyFileError, match="no key here"):
        keys.remove(7)
    assert list(keys.load()) == [1002]


def test_the_file_is_private_from_the_first_byte(keys: KeyFile) -> None:
    old = os.umask(0)
    try:
        keys.add(1, KEY)
    finally:
        os.umask(old)
    assert stat.S_IMODE(keys.path.stat().st_mode) == 0o600
    assert [path.name for path in keys.path.parent.iterdir()] == ["keys.toml"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660, 0o610])
def test_a_file_that_others_may_read_is_refused_with_the_command_to_run(keys: KeyFile, mode: int) -> None:
    keys.add(1, KEY)
    keys.path.chmod(mode)
    with pytest.raises(KeyFileError, match=f"chmod 600 {keys.path}") as caught:
        keys.load()
    assert caught.value.reason == "not_private"
    with pytest.raises(KeyFileError):
        keys.add(2, KEY)


@pytest.mark.parametrize(
    "text",
    [
        "not toml",
        "[1]\nkey = 5",
        "[1]\n",
        "[x]\nkey = ''",
        "[01]\nkey = ''",
        "1 = 2",
        "[1]\nkey = 'zz'",
        "[1]\nkey = '0011'",
        "[4294967296]\nkey = '000102030405060708090a0b0c0d0e0f'",
        "[1]\nkey = '000102030405060708090a0b0c0d0e0f'\nextra = 1",
        "key = '000102030405060708090a0b0c0d0e0f'\n[",
    ],
)
def test_a_broken_file_is_named_and_never_quoted(keys: KeyFile, text: str) -> None:
    keys.path.write_text(text)
    keys.path.chmod(0o600)
    with pytest.raises(KeyFileError) as caught:
        keys.load()
    assert caught.value.reason == "form"
    assert "00010203" not in str(caught.value)


@pytest.mark.parametrize(
    ("node", "key", "name"), [(0, KEY, ""), (1 << 32, KEY, ""), (1, b"short", ""), (1, KEY, "a\nb"), (1, KEY, "x" * 65)]
)
def test_what_cannot_be_added(keys: KeyFile, node: int, key: bytes, name: str) -> None:
    with pytest.raises(KeyFileError):
        keys.add(node, key, name)
    assert not keys.path.exists()


@given(st.text(alphabet=st.characters(categories=["L", "N", "P", "S", "Zs"]), max_size=64))
def test_any_printable_name_comes_back(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    keys = KeyFile(tmp_path_factory.mktemp("k") / "keys.toml")
    if not name.isprintable():
        return
    keys.add(1, KEY, name)
    assert keys.load()[1].name == name


def test_a_key_is_never_shown() -> None:
    assert KEY.hex() not in repr(NodeKey(KEY, "gate"))
    for text in (KEY.hex()[:-1], KEY.hex() + "z", "kaboom"):
        with pytest.raises(KeyFileError) as caught:
            parse_key(text)
        assert text not in str(caught.value)
    assert parse_key(KEY.hex()) == KEY


def test_an_interrupted_change_leaves_the_old_file(keys: KeyFile, monkeypatch: pytest.MonkeyPatch) -> None:
    keys.add(1, KEY)

    def fails(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("wayside_gateway.atomic.os.fsync", fails)
    with pytest.raises(KeyFileError, match="cannot be written"):
        keys.add(2, KEY)
    monkeypatch.undo()
    assert list(keys.load()) == [1]
    assert [path.name for path in keys.path.parent.iterdir()] == ["keys.toml"]


# -- log -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["json", "console"])
def test_no_secret_leaves_by_the_log(form: str) -> None:
    code = (
        f"from wayside_gateway import log; log.configure({form!r}, 'info'); "
        "log.get('keys').info('added', key='SECRET1', password='SECRET2', broker_password='SECRET3', node=5); "
        "log.get('x').debug('not shown')\n"
        "try:\n key = 'SECRET' + '4'; 1 / 0\nexcept ZeroDivisionError: log.get('x').exception('failed')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "SECRET" not in done.stderr
    assert "not shown" not in done.stderr
    assert done.stdout == ""
    if form == "json":
        line, failed = map(json.loads, done.stderr.splitlines())
        assert "ZeroDivisionError" in failed["exception"]
        assert (line["event"], line["station"], line["node"], line["level"]) == ("added", "keys", 5, "info")


def test_the_levels_are_those_of_the_settings() -> None:
    assert set(log.LEVELS) == {"debug", "info", "warning", "error"}


def test_rules_between_values_are_told_beside_values_that_are_wrong(tmp_path: Path) -> None:
    path = tmp_path / "wayside.toml"
    path.write_text(
        'gateway = 0\ndeployment = "town"\ndata = "d"\n[[serial]]\nbaud = 5\n'
        '[mqtt]\nhost = "h"\npassword = "p"\nkeepalive_s = 1\n[mqtt.tls]\ncert = "c"\ninsecure = 3\n'
    )
    with pytest.raises(SettingsError) as caught:
        load(path)
    told = str(caught.value)
    for part in ("line 1:", "exactly one of", "line 5:", "needs `user`", "line 9:", "belong together", "line 12:"):
        assert part in told
