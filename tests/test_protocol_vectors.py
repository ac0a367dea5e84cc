"""The same vectors, byte for byte: from an independent generator, on CPython and in real MicroPython."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

import micropython_port

VECTORS = Path(__file__).parent / "vectors"
FILE = VECTORS / "protocol.json"


def script(name: str) -> Any:
    """A script beside the vectors, as a module."""
    spec = importlib.util.spec_from_file_location(name, VECTORS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def counts() -> dict[str, int]:
    """How many vectors of each sort the file has."""
    return {sort: len(cases) for sort, cases in json.loads(FILE.read_text()).items() if isinstance(cases, list)}


def test_the_file_is_what_the_generator_makes() -> None:
    assert FILE.read_text(encoding="utf-8") == script("make_vectors").text()


def test_every_kind_has_vectors(counts: dict[str, int]) -> None:
    vectors = json.loads(FILE.read_text())
    kinds = {case["kind"] for case in vectors["messages"]}
    assert kinds == {"samples", "event", "health", "channels", "log", "hello", "answer", "welcome", "ack", "command"}
    assert {case["kind"] for case in vectors["frames"]} == {0, 1, 2}
    assert min(counts.values()) >= 30


def test_on_cpython(counts: dict[str, int]) -> None:
    assert script("reproduce").differences(FILE) == {"counts": counts, "wrong": []}


@pytest.mark.micropython
@micropython_port.needs_micropython
@pytest.mark.parametrize("mpy", [False, True], ids=["source", "mpy"])
def test_in_micropython(counts: dict[str, int], mpy: bool) -> None:
    """The whole file of JSON is held while it is worked through: hence the heap."""
    said = micropython_port.run(VECTORS / "reproduce.py", str(FILE), heap="2M", mpy=mpy)
    assert said == {"counts": counts, "wrong": []}
