"""Processes that a bench or a demonstration starts: a gateway as it is run, and what the kernel says of it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wayside_tools.errors import Failure

START_S = 30.0
STOP_S = 30.0
LOOK_S = 0.05
_UNTIL_PARENT_ENDS = "import ctypes, signal; getattr(ctypes.CDLL(None), 'prctl', print)(1, signal.SIGTERM)"
"""prctl(PR_SET_PDEATHSIG): Ctrl-C in the terminal does not reach the child, but it does not outlive a killed parent."""
GATEWAY_RUN = (
    "-c",
    f"{_UNTIL_PARENT_ENDS}; from wayside_tools.cli import main; main()",
    "gateway",
    "run",
    "--settings",
)


class Process:
    """A child, and what the kernel says of it (proc(5))."""

    def __init__(self, arguments: list[str], log: Path) -> None:
        with log.open("wb") as stderr:
            self.child = subprocess.Popen(
                [sys.executable, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                start_new_session=True,
            )
        self._log = log

    def told(self) -> dict[str, Any]:
        """The next line that it prints, as JSON."""
        assert self.child.stdout is not None
        line = self.child.stdout.readline()
        if not line:
            raise Failure(f"{self._log.stem} ended: {self.last_words()}")
        value: dict[str, Any] = json.loads(line)
        return value

    def go(self) -> None:
        assert self.child.stdin is not None
        self.child.stdin.write("\n")
        self.child.stdin.flush()

    def last_words(self) -> str:
        return self._log.read_text(errors="replace").strip()[-500:] or "it said nothing"

    def cpu_s(self) -> float:
        """Seconds of CPU that it has used, user and system, all threads."""
        fields = Path(f"/proc/{self.child.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss_mb(self, which: str = "VmRSS") -> float:
        for line in Path(f"/proc/{self.child.pid}/status").read_text().splitlines():
            if line.startswith(which + ":"):
                return round(int(line.split()[1]) / 1024, 1)
        return 0.0

    def alive(self) -> bool:
        return self.child.poll() is None

    def end(self) -> int:
        """Ask it to stop; kill it if it does not. Returns its exit code."""
        if self.child.stdin is not None and not self.child.stdin.closed:
            self.child.stdin.close()
        self.child.terminate()
        try:
            self.child.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
        if self.child.stdout is not None:
            self.child.stdout.close()
        return self.child.returncode


@contextmanager
def running(arguments: list[str], log: Path) -> Iterator[Process]:
    process = Process(arguments, log)
    try:
        yield process
    finally:
        process.end()


def gateway_ready(gateway: Process, data: Path, ports: int = 1) -> None:
    """Wait until it holds so many ports, by its own status file. Raises Failure."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if not gateway.alive():
            raise Failure(f"the gateway ended: {gateway.last_words()}")
        try:
            status = json.loads((data / "status.json").read_text())
        except (OSError, ValueError):
            status = {}
        if list(status.get("ports", {}).values()).count("open") >= ports:
            return
        time.sleep(LOOK_S)
    raise Failure(f"the gateway did not open its ports within {START_S:.0f} s: {gateway.last_words()}")
