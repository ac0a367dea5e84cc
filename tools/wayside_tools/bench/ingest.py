"""`wayside bench ingest`: a backlog of real frames through a PTY into the gateway, and on to a broker of its own.

Four processes, as in the field: nodes (the feeder), the gateway, the broker, and a subscriber (this one) that counts
what arrives by its ids. The gateway's CPU is all that its process used, from the first byte fed until all arrived.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wayside_gateway.keys import KeyFile
from wayside_gateway.store import open_store
from wayside_tools.bench.feeder import FIRST_NODE
from wayside_tools.bench.series import RECORDED, read
from wayside_tools.broker import mosquitto
from wayside_tools.errors import Failure
from wayside_tools.subscriber import Subscriber

STALL_S = 30.0
"""Without any progress for so long the run is given up."""
START_S = 30.0
STOP_S = 30.0
SETTLE_S = 3.0
"""Before idling is measured: what follows a backlog (checkpoints, acks) is over."""
LOOK_S = 0.05
_SETTINGS = """gateway = 7
deployment = "bench"
data = "data"
[[serial]]
path = "{tty}"
[mqtt]
host = "127.0.0.1"
port = {port}
[clock]
require_ntp = false
[log]
level = "warning"
"""


class Process:
    """A child, and what the kernel says of it (proc(5))."""

    def __init__(self, arguments: list[str], log: Path) -> None:
        with log.open("wb") as stderr:
            self.child = subprocess.Popen(
                [sys.executable, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True
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


def bench_ingest(frames: int, nodes: int, idle_s: float) -> dict[str, Any]:
    """The figures. Raises Failure if it does not run; fewer stored or delivered than fed shows in them."""
    if not sys.platform.startswith("linux"):
        raise Failure("this bench reads /proc: it needs Linux")
    key = os.urandom(16)
    with tempfile.TemporaryDirectory(prefix="wayside-bench-") as folder:
        here = Path(folder)
        feed = ["-m", "wayside_tools.bench.feeder", str(nodes), str(frames), key.hex(), str(here / "tty")]
        with (
            mosquitto(here) as port,
            running(feed, here / "feeder.log") as feeder,
            Subscriber("127.0.0.1", port, "wayside/bench/+/senml") as subscriber,
        ):
            line_bytes = feeder.told()["bytes"]
            settings = _prepare(here, nodes, key, port)
            run = ["-c", "from wayside_tools.cli import main; main()", "gateway", "run", "--settings", str(settings)]
            with running(run, here / "gateway.log") as gateway:
                _wait_for_gateway(gateway, here)
                figures = _feed(feeder, gateway, subscriber, here / "data", frames)
                figures |= _idle(gateway, idle_s)
                assert feeder.child.stdin is not None
                feeder.child.stdin.close()
                figures |= {"acked": feeder.told()["acked"], "stopped_in_order": gateway.end() == 0}
            return {"frames": frames, "nodes": nodes, "line_bytes": line_bytes} | figures | _counted(subscriber)


def _prepare(here: Path, nodes: int, key: bytes, port: int) -> Path:
    (here / "data").mkdir(mode=0o700)
    keys = KeyFile(here / "data" / "keys.toml")
    for i in range(nodes):
        keys.add(FIRST_NODE + i, key)
    path = here / "wayside.toml"
    path.write_text(_SETTINGS.format(tty=here / "tty", port=port))
    return path


def _wait_for_gateway(gateway: Process, here: Path) -> None:
    """Until it holds the port: its own status file says so."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if not gateway.alive():
            raise Failure(f"the gateway ended: {gateway.last_words()}")
        try:
            status = json.loads((here / "data" / "status.json").read_text())
        except (OSError, ValueError):
            status = {}
        if "open" in status.get("ports", {}).values():
            return
        time.sleep(LOOK_S)
    raise Failure(f"the gateway did not open its port within {START_S:.0f} s: {gateway.last_words()}")


def _feed(feeder: Process, gateway: Process, subscriber: Subscriber, data: Path, frames: int) -> dict[str, Any]:
    """Feed, and wait until all has arrived or nothing moves any more."""
    columns = frames * len(read(RECORDED).quantities)
    cpu = gateway.cpu_s()
    begun = moved = time.monotonic()
    seen = 0
    feeder.go()
    while gateway.alive() and (now := subscriber.columns) < columns and time.monotonic() - moved < STALL_S:
        if now > seen:
            seen, moved = now, time.monotonic()
        time.sleep(LOOK_S)
    seconds = time.monotonic() - begun
    if not gateway.alive():
        raise Failure(f"the gateway ended: {gateway.last_words()}")
    cpu = gateway.cpu_s() - cpu
    fed = feeder.told()
    store = open_store(data, read_only=True)
    stored = store.read("SELECT count(*) FROM record WHERE kind = 0")[0][0]
    store.close()
    return {
        "seconds": round(seconds, 3),
        "fed_seconds": round(fed["seconds"], 3),
        "frames_per_second": round(frames / seconds),
        "cpu_us_per_frame": round(cpu / frames * 1e6, 2),
        "stored": stored,
        "rss_mb": gateway.rss_mb(),
        "rss_peak_mb": gateway.rss_mb("VmHWM"),
    }


def _idle(gateway: Process, seconds: float) -> dict[str, Any]:
    """CPU and memory of a gateway that has a line, a broker and nothing to do."""
    if not seconds:
        return {}
    time.sleep(SETTLE_S)
    cpu = gateway.cpu_s()
    begun = time.monotonic()
    time.sleep(seconds)
    share = (gateway.cpu_s() - cpu) / (time.monotonic() - begun)
    return {"idle_cpu_percent": round(100 * share, 3), "idle_rss_mb": gateway.rss_mb()}


def _counted(subscriber: Subscriber) -> dict[str, Any]:
    """A record arrived once if each of its columns did."""
    width = len(read(RECORDED).quantities)
    records = subscriber.records().values()
    return {
        "delivered": sum(columns >= width for columns in records),
        "duplicates": sum(-(-columns // width) - 1 for columns in records),
        "publishes": subscriber.messages,
        "upstream_bytes": subscriber.bytes,
    }
