"""`wayside nodes` and `wayside gaps`: keys are shown once, and what is missing is told with its reason."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli_runner import wayside
from wayside_gateway.keys import KeyFile
from wayside_gateway.rows import Anchor, Batch, Lost, NodeRow, Refusal
from wayside_gateway.store import open_store
from wayside_protocol import record
from wayside_protocol.cbor import Writer
from wayside_protocol.session import PAUSE

NOW_MS = 1_798_000_000_000
KEY = "000102030405060708090a0b0c0d0e0f"
SETTINGS = 'gateway = 1\ndeployment = "town"\ndata = "data"\n'


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    path = tmp_path / "wayside.toml"
    path.write_text(SETTINGS)
    return path


def _health(values: dict[int, int | str]) -> bytes:
    writer = Writer(bytearray(200))
    record.encode_health(writer, NOW_MS // 1000, values)
    return writer.done()


def _heard(settings: Path) -> None:
    """Node 1001 has said hello with 70..90 on flash; 70..79 and 85 are stored; 60..64 were evicted."""
    data = settings.parent / "data"
    data.mkdir(exist_ok=True)
    store = open_store(data)
    body = _health({1: 3600, 2: 90_000})
    row = NodeRow(1001, NOW_MS, NOW_MS, 3, 9, 4096, 70, 90, 5, 1, "0.1.0", "pico", 2, "/dev/ttyUSB0")
    store.commit(
        Batch(
            records=[(1001, seq, record.HEALTH, NOW_MS, body) for seq in (*range(65, 80), 85)],
            nodes={1001: row},
            anchors=[Anchor(1001, 3, 60_000, NOW_MS, 20, NOW_MS + 500, 800, 90)],
            lost=[Lost(1001, "", 60, 64, "evicted", NOW_MS)],
        )
    )
    store.save_refusals([Refusal(1002, "unknown_node", 4, NOW_MS, NOW_MS, "/dev/ttyUSB1")], 10)
    store.add_command(1001, PAUSE, 0, NOW_MS)
    store.close()


def test_a_node_is_added_with_a_fresh_key_that_is_shown_once(settings: Path) -> None:
    added = wayside("nodes", "add", "1001", "--name", "north gate", "--json", "-c", settings).json
    assert (added["node"], added["name"], added["deployment"], len(added["key"])) == (1001, "north gate", "town", 32)
    keys = settings.parent / "data" / "keys.toml"
    assert KeyFile(keys).load()[1001].key.hex() == added["key"]
    assert stat.S_IMODE(keys.stat().st_mode) == 0o600
    for arguments in (["list"], ["show", "1001"], ["list", "--json"], ["show", "1001", "--json"]):
        shown = wayside("nodes", *arguments, "-c", settings)
        assert shown.code == 0
        assert "north gate" in shown.stdout
        assert added["key"] not in shown.stdout + shown.stderr


def test_the_next_free_number_is_given(settings: Path) -> None:
    assert wayside("nodes", "add", "--json", "-c", settings).json["node"] == 1001
    wayside("nodes", "add", "1500", "-c", settings)
    assert wayside("nodes", "add", "--json", "-c", settings).json["node"] == 1501


def test_a_key_from_the_command_line_or_stdin(settings: Path) -> None:
    assert wayside("nodes", "add", "7", "--key", KEY, "--json", "-c", settings).json["key"] == KEY
    piped = wayside("nodes", "add", "8", "--key", "-", "--json", "-c", settings, stdin=KEY.encode() + b"\n")
    assert piped.json["key"] == KEY


def test_what_a_node_is_given_goes_to_a_private_file(settings: Path, tmp_path: Path) -> None:
    out = tmp_path / "node.json"
    added = wayside("nodes", "add", "7", "--key", KEY, "--out", out, "-c", settings)
    assert added.code == 0
    assert KEY not in added.stdout
    assert KEY in out.read_text()
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert wayside("nodes", "add", "8", "--out", out, "-c", settings).code == 2
    assert set(KeyFile(settings.parent / "data" / "keys.toml").load()) == {7}


def test_a_known_node_keeps_its_key_unless_told(settings: Path) -> None:
    wayside("nodes", "add", "7", "--key", KEY, "-c", settings)
    refused = wayside("nodes", "add", "7", "-c", settings)
    assert refused.code == 1
    assert "--replace" in refused.stderr
    assert wayside("nodes", "add", "7", "--replace", "-c", settings).code == 0


def test_a_number_with_records_is_not_for_another_board(settings: Path) -> None:
    """The gateway keeps out what an erased board sends under numbers that were used: said before it happens."""
    assert "never used" not in wayside("nodes", "add", "1001", "-c", settings).stdout
    _heard(settings)
    assert "never used" in wayside("nodes", "add", "1001", "--replace", "-c", settings).stdout
    assert "never used" not in wayside("nodes", "add", "-c", settings).stdout


@pytest.mark.parametrize("key", ["", "00", "xyz", KEY + "00"])
def test_a_bad_key_is_refused_and_not_repeated(settings: Path, key: str) -> None:
    ended = wayside("nodes", "add", "7", f"--key={key}", "-c", settings)
    assert ended.code == 1
    assert not key or key not in ended.stderr


@pytest.mark.parametrize("number", ["0", "-1", "4294967296", "x"])
def test_a_bad_number_is_misuse(settings: Path, number: str) -> None:
    assert wayside("nodes", "add", "-c", settings, "--", number).code == 2


def test_removing_asks(settings: Path) -> None:
    wayside("nodes", "add", "7", "-c", settings)
    assert wayside("nodes", "remove", "7", "-c", settings).code == 2
    assert wayside("nodes", "remove", "7", "--yes", "-c", settings).code == 0
    assert wayside("nodes", "list", "--json", "-c", settings).json == {"nodes": []}
    assert wayside("nodes", "remove", "7", "--yes", "-c", settings).code == 1


def test_a_node_that_is_not_heard_now_is_gone(settings: Path) -> None:
    """The store knows the last port; only the status file of a gateway that runs says who is there."""
    assert "wayside nodes add" in wayside("nodes", "list", "-c", settings).stdout
    _heard(settings)
    assert "/dev/ttyUSB0, gone" in wayside("nodes", "list", "-c", settings).stdout
    status = settings.parent / "data" / "status.json"
    status.write_text(json.dumps({"pid": os.getpid(), "nodes": {"1001": "/dev/ttyUSB0"}}))
    assert "gone" not in wayside("nodes", "list", "-c", settings).stdout
    status.write_text("not whole")
    assert wayside("nodes", "show", "1001", "--json", "-c", settings).json["connected"] is False


def test_show_tells_all_that_is_known(settings: Path) -> None:
    wayside("nodes", "add", "1001", "-c", settings)
    _heard(settings)
    known = wayside("nodes", "show", "1001", "--json", "-c", settings).json
    assert (known["boot"], known["firmware"], known["link"], known["records"]) == (3, "0.1.0", "/dev/ttyUSB0", 16)
    assert known["held"] == [[65, 79], [85, 85]]
    assert known["clock"] == {"quality": "synced", "bound_s": 0.8, "off_s": 0.5, "at": "2026-12-23T04:26:40Z"}
    assert known["journal"] == {"oldest": 70, "newest": 90, "evicted": 5}
    assert known["health"] == {"uptime_s": 3600, "heap_free_bytes": 90_000}
    assert known["commands"] == [{"id": 1, "name": "pause", "status": None, "result": None}]
    assert wayside("nodes", "show", "1001", "-c", settings).code == 0


def test_an_unknown_node_is_told(settings: Path) -> None:
    ended = wayside("nodes", "show", "9", "-c", settings)
    assert ended.code == 1
    assert "nodes list" in ended.stderr


def test_gaps_say_what_why_and_where(settings: Path) -> None:
    _heard(settings)
    report = wayside("gaps", "--json", "-c", settings).json
    assert (report["missing"], report["waiting"]) == (5, 10)
    gaps = [(gap["first"], gap["last"], gap["reason"]) for gap in report["nodes"][0]["gaps"]]
    assert gaps == [(60, 64, "evicted"), (80, 84, "waiting"), (86, 90, "waiting")]
    assert report["refused"][0]["node"] == 1002
    shown = wayside("gaps", "-c", settings).stdout
    for word in ("60…64", "evicted", "waiting", "unknown_node", "2026-12-23T"):
        assert word in shown


def test_gaps_of_one_node(settings: Path) -> None:
    _heard(settings)
    assert wayside("gaps", "--node", "1002", "--json", "-c", settings).json["missing"] == 0


def test_gaps_before_the_first_run(settings: Path) -> None:
    ended = wayside("gaps", "-c", settings)
    assert ended.code == 1
    assert "has not run" in ended.stderr


@pytest.mark.parametrize("command", [["gaps"], ["nodes", "list"], ["nodes", "show", "1001"]])
def test_a_store_that_is_no_store(settings: Path, command: list[str]) -> None:
    (settings.parent / "data").mkdir()
    (settings.parent / "data" / "wayside.sqlite").write_bytes(b"no database at all" * 100)
    ended = wayside(*command, "-c", settings)
    assert ended.code == 1
    assert ended.stderr.startswith("wayside: ")


@given(data=st.binary(max_size=300))
def test_any_settings_file(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.toml"
    path.write_bytes(data)
    assert wayside("nodes", "list", "-c", path).code == 1
    assert wayside("gaps", "-c", path).code == 1


@given(data=st.binary(max_size=300))
def test_any_key_file(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    folder = tmp_path_factory.getbasetemp() / "fuzz-keys"
    (folder / "data").mkdir(parents=True, exist_ok=True)
    (folder / "wayside.toml").write_text(SETTINGS)
    keys = folder / "data" / "keys.toml"
    keys.write_bytes(data)
    keys.chmod(0o600)
    assert wayside("nodes", "list", "-c", folder / "wayside.toml").code in (0, 1)


def test_a_terminal_without_utf_8(settings: Path) -> None:
    wayside("nodes", "add", "7", "--name", "Nordtor – Süd", "-c", settings)
    command = [sys.executable, "-c", "from wayside_tools.cli import main; main()", "nodes", "list", "-c", str(settings)]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "Nordtor ? S?d" in done.stdout
