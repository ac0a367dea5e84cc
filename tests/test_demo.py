"""`wayside demo` and `wayside sim node`: every reading accounted for, and an account that does not flatter."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from random import Random
from typing import Any

import pytest

from cli_runner import wayside
from wayside_tools.broker import mosquitto as running_mosquitto
from wayside_tools.demo.account import QUANTITIES, Account, Taken, account
from wayside_tools.demo.readings import Reading, resolved

COMMAND = [sys.executable, "-c", "from wayside_tools.cli import main; main()"]
START_UNIX = 1_767_300_000.0


def _demo(*arguments: str, timeout: float = 110) -> tuple[int, Any, str]:
    done = subprocess.run([*COMMAND, "demo", *arguments], capture_output=True, text=True, timeout=timeout, check=False)
    assert "Traceback" not in done.stderr
    lines = done.stdout.strip().splitlines()
    return done.returncode, json.loads(lines[-1]) if lines and lines[-1].startswith("{") else None, done.stderr


def _all_arrived_once(result: Any, nodes: int) -> None:
    print(result)
    assert result["nodes"] == nodes
    assert result["taken"] == result["delivered"] > 0
    assert (result["duplicates"], result["missing"], result["wrong"], result["untimely"]) == (0, 0, 0, 0)
    assert sum(result["time_quality"].values()) == result["delivered"]
    people = result["people"]
    assert abs(people["fed"] - people["counted"]) <= 2 * nodes + 0.1 * people["fed"]


@pytest.mark.micropython
@pytest.mark.usefixtures("micropython")
def test_all_that_was_taken_arrives_once() -> None:
    code, result, stderr = _demo("--seconds", "5", "--json")
    assert code == 0, stderr
    assert result["runtime"] == "micropython"
    _all_arrived_once(result, 3)


def test_the_same_firmware_on_cpython() -> None:
    code, result, stderr = _demo("--seconds", "5", "--json", "--nodes", "2", "--runtime", "cpython")
    assert code == 0, stderr
    assert result["runtime"] == "cpython"
    _all_arrived_once(result, 2)


@pytest.mark.micropython
@pytest.mark.usefixtures("micropython", "mosquitto")
def test_accounted_at_the_broker(tmp_path: Path) -> None:
    with running_mosquitto(tmp_path) as port:
        code, result, stderr = _demo(
            "--seconds", "5", "--json", "--mqtt", f"127.0.0.1:{port}", "--keep", f"{tmp_path}/d"
        )
    assert code == 0, stderr
    assert result["delivered_at"] == "broker"
    _all_arrived_once(result, 3)
    assert (tmp_path / "d" / "data" / "wayside.sqlite").exists()


@pytest.mark.slow
@pytest.mark.micropython
@pytest.mark.usefixtures("micropython")
def test_a_minute_with_clocks_that_drift() -> None:
    """After 20 s a clock that gained 2 % is not trusted until it was measured: times are reconstructed meanwhile."""
    code, result, stderr = _demo("--seconds", "60", "--json")
    assert code == 0, stderr
    _all_arrived_once(result, 3)
    assert set(result["time_quality"]) == {"synced", "reconstructed"}


@pytest.mark.micropython
@pytest.mark.usefixtures("micropython")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_stops_in_order_and_accounts(number: int) -> None:
    """Without --seconds it runs until Ctrl-C, which a terminal sends to the whole foreground group."""
    process = subprocess.Popen(
        [*COMMAND, "demo", "--json", "--nodes", "1"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    time.sleep(8)  # the demonstration's own pace: there is nothing to wait for from outside
    os.killpg(process.pid, number)
    stdout, stderr = process.communicate(timeout=90)
    assert process.returncode == 0, stderr
    _all_arrived_once(json.loads(stdout), 1)


def test_no_broker_is_one_line() -> None:
    code, _, stderr = _demo("--seconds", "5", "--mqtt", "127.0.0.1:1", "--nodes", "1")
    assert code == 1
    assert "127.0.0.1:1" in stderr


@pytest.mark.parametrize(
    "arguments", [["--mqtt", "nowhere"], ["--mqtt", ":1883"], ["--runtime", "lua"], ["--nodes", "0"]]
)
def test_misuse(arguments: list[str]) -> None:
    assert wayside("demo", "--seconds", "5", *arguments).code == 2


def test_a_board_by_itself(tmp_path: Path) -> None:
    ended = wayside("sim", "node", "--seconds", "2.5", "--interval", "1", "--json", "--workdir", tmp_path)
    assert ended.code == 0, ended.stderr
    told, end = (json.loads(line) for line in ended.stdout.strip().splitlines())
    assert (told["node"], len(told["key"]), end["boots"]) == (1001, 32, 1)
    assert end["conversions"] >= 1


# -- the account itself ------------------------------------------------------------------------------------------


def _truth(n: int, seed: int) -> list[Taken]:
    rng = Random(seed)
    return [
        Taken(quantity, value, START_UNIX + i + 0.01)
        for i in range(n)
        for quantity, value in zip(
            QUANTITIES, (rng.uniform(-10, 40), rng.uniform(20, 99), rng.uniform(950, 1050)), strict=True
        )
    ]


def _arrived(truth: list[Taken]) -> list[Reading]:
    steps = {"temperature": 100, "humidity": 10, "pressure": 10}
    return [
        Reading(
            1, i // 15, i // 3 % 5, t.quantity, round(t.value * steps[t.quantity]), float(int(t.unix_s)), "synced", 2.0
        )
        for i, t in enumerate(truth)
    ]


@pytest.fixture
def both(seed: int) -> tuple[list[Taken], list[Reading]]:
    truth = _truth(40, seed)
    return truth, _arrived(truth)


def _figures(one: Account) -> tuple[int, int, int, int, int]:
    return one.delivered, one.missing, one.duplicates, one.wrong, one.untimely


def test_a_perfect_run(both: tuple[list[Taken], list[Reading]], seed: int) -> None:
    truth, arrived = both
    Random(seed).shuffle(arrived)
    one = account(truth, arrived)
    assert one.good
    assert _figures(one) == (120, 0, 0, 0, 0)


def test_one_reading_lost(both: tuple[list[Taken], list[Reading]], seed: int) -> None:
    truth, arrived = both
    arrived.pop(Random(seed).randrange(len(arrived)))
    one = account(truth, arrived)
    assert not one.good
    assert _figures(one) == (119, 1, 0, 0, 0)


def test_one_record_twice(both: tuple[list[Taken], list[Reading]]) -> None:
    truth, arrived = both
    one = account(truth, arrived + [reading for reading in arrived if reading.seq == 3])
    assert not one.good
    assert _figures(one) == (120, 0, 15, 0, 0)


def test_one_sample_again_under_another_number(both: tuple[list[Taken], list[Reading]]) -> None:
    """As a node would that sealed its open batch twice."""
    truth, arrived = both
    again = [r._replace(seq=r.seq + 1, place=-1) for r in arrived if r.seq == 3 and r.place == 4]
    one = account(truth, arrived + again)
    assert not one.good
    assert one.duplicates == 3


def test_one_value_changed(both: tuple[list[Taken], list[Reading]], seed: int) -> None:
    truth, arrived = both
    at = Random(seed).randrange(len(arrived))
    arrived[at] = arrived[at]._replace(steps=arrived[at].steps + 2)
    one = account(truth, arrived)
    assert not one.good
    assert _figures(one)[:2] == (119, 1)


def test_a_time_beyond_its_bound(both: tuple[list[Taken], list[Reading]]) -> None:
    truth, arrived = both
    late = [reading._replace(unix_s=(reading.unix_s or 0) + 5) for reading in arrived]
    assert not account(truth, late).good
    admitted = [reading._replace(bound_s=5.0, quality="reconstructed") for reading in late]
    assert account(truth, admitted).good


def test_nothing_arrived(both: tuple[list[Taken], list[Reading]]) -> None:
    truth, _ = both
    assert _figures(account(truth, [])) == (0, 120, 0, 0, 0)


def test_senml_of_two_columns() -> None:
    pack = [
        {"bn": "wayside:7:temperature", "bt": 100, "bu": "Cel", "bid": "7:70", "btq": "synced", "btb": 2, "v": 24.8},
        {"t": 60, "v": 24.81},
        {"bn": "wayside:7:walkers_in", "bt": 100, "bu": "count", "bid": "7:70", "btq": "synced", "btb": 2, "v": 3},
    ]
    assert list(resolved(json.dumps(pack).encode())) == [
        Reading(7, 70, 0, "temperature", 2480, 100, "synced", 2),
        Reading(7, 70, 1, "temperature", 2481, 160, "synced", 2),
        Reading(7, 70, 0, "walkers_in", 3, 100, "synced", 2),
    ]
