"""The fuzzers' targets: on their seeds, on drawn bytes, and for a bounded while under atheris."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz import targets
from protocol_values import DEPTH_VARIABLE, examples

RUN = Path(__file__).parent / "fuzz" / "run.py"
# Runs that take each target about ten seconds.
RUNS = {"line": 3000, "frame": 30_000, "message": 15_000, "columns": 2500}


@pytest.mark.parametrize("target", targets.TARGETS)
def test_seeds(target: str) -> None:
    seeds = list(targets.seeds(target))
    assert len(seeds) > 10
    for seed in seeds:
        targets.TARGETS[target](seed)
        targets.TARGETS[target](seed[: len(seed) // 2])


@pytest.mark.parametrize("target", targets.TARGETS)
@examples(200)
@given(data=st.data())
def test_damaged_seeds(target: str, data: st.DataObject) -> None:
    """Seeds with bytes exchanged, cut out and put in."""
    damaged = bytearray(data.draw(st.sampled_from(list(targets.seeds(target)))))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(damaged)))
        damaged[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    targets.TARGETS[target](bytes(damaged))


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("target", targets.TARGETS)
def test_under_atheris(target: str, seed: int, tmp_path: Path) -> None:
    """Guided by coverage. `tests/fuzz/run.py TARGET` runs for as long as one likes."""
    pytest.importorskip("atheris", reason="no atheris here: it has no wheel for this platform and Python")
    options = [f"-runs={RUNS[target]}", f"-seed={seed}", "-timeout=10", "-rss_limit_mb=1024"]
    done = subprocess.run(
        [sys.executable, str(RUN), target, *options],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-6000:]
    assert f"Done {RUNS[target]} runs" in done.stderr


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "name", ["aead", "cbor", "cddl", "cobs", "columns", "cose", "protocol_frame", "protocol_messages"]
)
def test_properties_in_depth(name: str, seed: int, tmp_path: Path) -> None:
    """The other protocol tests once more, with three times the examples and other ones than in every run."""
    arguments = ["-q", "-m", "not micropython", "--hypothesis-profile=explore", f"--hypothesis-seed={seed}"]
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            *arguments,
            "-p",
            "no:cacheprovider",
            str(Path(__file__).parent / f"test_{name}.py"),
        ],
        cwd=tmp_path,
        env={**os.environ, DEPTH_VARIABLE: "3"},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:]
