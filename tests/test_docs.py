"""The commands that README and docs/ show after a `runs` mark do what is shown, in a clone after set-up."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cli_runner import wayside

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"<!-- runs(?:: (?P<needs>[\w.]+))? -->\n```sh\n(?P<lines>.*?)```", re.S)
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SETTINGS = 'gateway = 1\ndeployment = "my-town"\ndata = "data"\n'


def blocks() -> list[tuple[str, str, list[str]]]:
    """Page, what a block needs beforehand, and its commands."""
    out = []
    for page in PAGES:
        for found in BLOCK.finditer(page.read_text()):
            lines = [line for line in found["lines"].split("\n") if line and not line.startswith("#")]
            out.append((page.name, found["needs"] or "", lines))
    return out


BLOCKS = blocks()


def test_every_mark_is_before_a_block() -> None:
    assert sum(page.read_text().count("<!-- runs") for page in PAGES) == len(BLOCKS) > 4


@pytest.mark.parametrize(
    ("page", "needs", "lines"), BLOCKS, ids=[f"{page}-{i}" for i, (page, _, _) in enumerate(BLOCKS)]
)
def test_it_runs_as_shown(page: str, needs: str, lines: list[str], tmp_path: Path) -> None:
    for name in ("tests", "tools"):
        (tmp_path / name).symlink_to(ROOT / name)
    if needs == "node.json":
        (tmp_path / "wayside.toml").write_text(SETTINGS)
        added = wayside(
            "nodes", "add", "--settings", tmp_path / "wayside.toml", "--name", "north gate", "--out", tmp_path / needs
        )
        assert added.code == 0
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    for line in lines:
        ended = subprocess.run(
            ["bash", "-c", line], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert ended.returncode == 0, f"{page}: {line}\n{ended.stdout}{ended.stderr}"


def test_the_simulators_example_runs(tmp_path: Path) -> None:
    found = re.search(r"```python\n(.*?)```", (ROOT / "docs" / "simulator.md").read_text(), re.S)
    assert found is not None
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    ended = subprocess.run([sys.executable, "-c", found[1]], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


def test_what_a_board_gets_makes_it_that_node(tmp_path: Path, micropython: str) -> None:
    """The files that docs/technician.md lays out, read back by the firmware in them, under real MicroPython."""
    settings = tmp_path / "wayside.toml"
    settings.write_text(SETTINGS)
    given = wayside("nodes", "add", "1007", "--settings", settings, "--json").json
    (tmp_path / "node.json").write_text(f'{{"node": 1007, "key": "{given["key"]}"}}')
    command = f"{sys.executable} {ROOT}/tools/board_files.py board --node node.json --set sample_interval_s=30"
    subprocess.run(shlex.split(command), cwd=tmp_path, check=True)
    program = (
        "import sys; sys.path[:] = ['board']\n"
        "from wayside_node import identity, settings\n"
        "node, key = identity.load('board/data')\n"
        "print(node, key.hex(), settings.Settings('board/data').sample_interval_s)"
    )
    shown = subprocess.run([micropython, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert shown.stdout.split() == ["1007", given["key"], "30"]
    modes = {path.stat().st_mode & 0o77 for path in (tmp_path / "board" / "data").iterdir()}
    assert modes == {0}


@pytest.mark.parametrize(
    "arguments", ["--set sample_interval=30 --node node.json", "--set sample_interval_s=30", "--node wayside.toml"]
)
def test_a_mistake_makes_no_files(arguments: str, tmp_path: Path) -> None:
    (tmp_path / "wayside.toml").write_text(SETTINGS)
    (tmp_path / "node.json").write_text('{"node": 1, "key": "000102030405060708090a0b0c0d0e0f"}')
    command = [sys.executable, str(ROOT / "tools" / "board_files.py"), "board", *shlex.split(arguments)]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr.startswith("board_files: ")
    assert ended.stderr.count("\n") == 1
    assert not (tmp_path / "board").exists()


def check(folder: Path) -> str:
    """What `make check` says of the pages in this copy of the repository."""
    ended = subprocess.run(
        [sys.executable, str(folder / "tools" / "checks" / "docs.py")], capture_output=True, text=True, check=False
    )
    assert ended.returncode == bool(ended.stdout), ended.stderr
    return ended.stdout


def test_the_pages_tell_of_what_there_is() -> None:
    assert check(ROOT) == ""


@pytest.mark.parametrize(
    ("page", "before", "after", "told"),
    [
        ("README.md", "wayside gaps\n", "wayside gasp\n", "there is no `wayside gasp`"),
        ("README.md", "wayside demo --seconds", "wayside demo --minutes", "has no option --minutes"),
        ("docs/technician.md", "| `batch` | 12 |", "| `batch` | 13 |", "begins with: | `batch` | 12"),
        ("docs/operator.md", "require_ntp = true", "# ntp = true", "does not show require_ntp"),
        ("docs/operator.md", "gateway = 1 ", "gateway = 0 ", "`gateway`"),
        ("docs/operator.md", "(commands.md)", "(developer.md#no-such)", "has no heading #no-such"),
        ("docs/developer.md", "tests/test_bench.py", "tests/test_branch.py", "no such file: tests/test_branch.py"),
        ("docs/settings.md", "| `user` |", "| `usr` |", "settings_page.py"),
    ],
)
def test_a_page_that_is_wrong_is_told(page: str, before: str, after: str, told: str, tmp_path: Path) -> None:
    for name in ("docs", "protocol", "tools/checks"):
        shutil.copytree(ROOT / name, tmp_path / name)
    for source in ROOT.glob("*.md"):
        shutil.copy(source, tmp_path)
    (tmp_path / "gateway" / "wayside_gateway").mkdir(parents=True)
    shutil.copy(ROOT / "gateway" / "wayside_gateway" / "settings.py", tmp_path / "gateway" / "wayside_gateway")
    for name in ("firmware", "tests", "requirements"):
        (tmp_path / name).symlink_to(ROOT / name)
    text = (tmp_path / page).read_text()
    assert before in text
    (tmp_path / page).write_text(text.replace(before, after, 1))
    assert told in check(tmp_path)
