"""`wayside gateway run` and `check`: every problem at once, each with its fix; an orderly stop."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from cli_runner import wayside
from wayside_tools.broker import mosquitto as running_mosquitto

COMMAND = [sys.executable, "-c", "from wayside_tools.cli import main; main()"]
START_S = 20.0


def _write(folder: Path, more: str = "") -> Path:
    path = folder / "wayside.toml"
    path.write_text(f'gateway = 1\ndeployment = "town"\ndata = "data"\n[clock]\nrequire_ntp = false\n{more}')
    return path


def _checks(settings: Path) -> tuple[int, dict[str, dict[str, Any]]]:
    ended = wayside("gateway", "check", "--json", "-c", settings)
    found = ended.json
    assert found["good"] == (ended.code == 0)
    return ended.code, {check["what"]: check for check in found["checks"]}


def test_all_is_well(tmp_path: Path, mosquitto: str) -> None:
    master, slave = os.openpty()
    with running_mosquitto(tmp_path) as port:
        more = f'[[serial]]\npath = "{os.ttyname(slave)}"\n[mqtt]\nhost = "127.0.0.1"\nport = {port}\n'
        more += "[store]\nmax_bytes = 16777216\n"
        code, checks = _checks(_write(tmp_path, more))
    os.close(master)
    os.close(slave)
    assert code == 0, checks
    assert set(checks) == {"settings", "keys", "port", "disk", "store", "broker", "clock"}
    assert "MQTT 5" in checks["broker"]["found"]
    assert not (tmp_path / "data").exists()


def test_all_problems_at_once_each_with_its_fix(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    keys = tmp_path / "data" / "keys.toml"
    keys.write_text("")
    keys.chmod(0o644)
    (tmp_path / "data" / "wayside.sqlite").write_bytes(b"no database" * 100)
    more = '[mqtt]\nhost = "127.0.0.1"\nport = 1\n[store]\nmax_bytes = 1000000000000000\n'
    code, checks = _checks(_write(tmp_path, more))
    assert code == 1
    bad = {what for what, check in checks.items() if not check["good"]}
    assert bad == {"keys", "ports", "disk", "store", "broker"}
    assert all(checks[what]["fix"] for what in bad), checks
    assert f"chmod 600 {keys}" in checks["keys"]["fix"]


def test_a_rule_that_matches_nothing_is_named(tmp_path: Path) -> None:
    more = '[[serial]]\npath = "/dev/ttyUSSB0"\n'
    _, checks = _checks(_write(tmp_path, more))
    assert checks["ports"]["found"] == 'nothing is there now for path = "/dev/ttyUSSB0"'
    assert checks["ports"]["good"]
    assert checks["ports"]["fix"]


def test_a_clock_that_nothing_keeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wayside_gateway.clock.GatewayClock.doubt", lambda self: "not_synchronised")
    code, checks = _checks(_write(tmp_path))
    assert code == 1
    assert "timedatectl" in checks["clock"]["fix"]


def test_bad_settings_are_told_whole(tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text('gateway = "x"\nfoo = 1\n')
    for command in ("check", "run"):
        ended = wayside("gateway", command, "-c", path)
        assert ended.code == 1
        for word in ("line 1", "line 2", "`foo`", "`deployment`", "`data`"):
            assert word in ended.stdout + ended.stderr


def test_no_settings_file(tmp_path: Path) -> None:
    for command in ("check", "run"):
        ended = wayside("gateway", command, "-c", tmp_path / "none.toml")
        assert ended.code == 1
        assert "no such file" in ended.stdout + ended.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_runs_and_stops_in_order(tmp_path: Path, number: int) -> None:
    process = _start(_write(tmp_path))
    try:
        status = _status(process, tmp_path)
        assert status["pid"] == process.pid
        second = subprocess.run(
            [*COMMAND, "gateway", "run", "-c", str(tmp_path / "wayside.toml")],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert second.returncode == 1
        assert "Another gateway runs" in second.stderr
    finally:
        process.send_signal(number)
        _, stderr = process.communicate(timeout=30)
    assert process.returncode == 0, stderr
    assert "stopped" in stderr
    assert "Traceback" not in stderr


def test_the_running_gateway_holds_its_port_and_check_knows(tmp_path: Path) -> None:
    master, slave = os.openpty()
    settings = _write(tmp_path, f'[[serial]]\npath = "{os.ttyname(slave)}"\n')
    process = _start(settings)
    try:
        deadline = time.monotonic() + START_S
        while "open" not in _status(process, tmp_path).get("ports", {}).values():
            assert time.monotonic() < deadline
            time.sleep(0.1)
        _, checks = _checks(settings)
        assert checks["port"]["good"]
        assert "running gateway" in checks["port"]["found"]
    finally:
        process.terminate()
        process.communicate(timeout=30)
        os.close(master)
        os.close(slave)
    assert process.returncode == 0


def _start(settings: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*COMMAND, "gateway", "run", "-c", str(settings)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def _status(process: "subprocess.Popen[str]", folder: Path) -> dict[str, Any]:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()[1]
        try:
            status: dict[str, Any] = json.loads((folder / "data" / "status.json").read_text())
        except FileNotFoundError:
            time.sleep(0.1)
        else:
            return status
    raise TimeoutError("no status")
