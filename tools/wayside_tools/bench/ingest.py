"""`wayside bench ingest`: a backlog of real frames through a PTY into the gateway, and on to a broker of its own.

Four processes, as in the field: nodes (the feeder), the gateway, the broker, and a subscriber (this one) that counts
what arrives by its ids. The gateway's CPU is all that its process used, from the first byte fed until all arrived.
"""

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from wayside_gateway.keys import KeyFile
from wayside_gateway.store import open_store
from wayside_tools.bench.feeder import FIRST_NODE
from wayside_tools.bench.series import RECORDED, read
from wayside_tools.broker import mosquitto
from wayside_tools.children import GATEWAY_RUN, Process, gateway_ready, running
from wayside_tools.errors import Failure
from wayside_tools.subscriber import Subscriber

STALL_S = 30.0
"""Without any progress for so long the run is given up."""
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
            with running([*GATEWAY_RUN, str(settings)], here / "gateway.log") as gateway:
                gateway_ready(gateway, here / "data")
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
