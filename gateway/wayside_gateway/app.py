"""The gateway: one process, one TaskGroup of stations, and an orderly stop."""

import asyncio
import contextlib
import fcntl
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from wayside_gateway import log
from wayside_gateway.clock import GatewayClock
from wayside_gateway.errors import StoreError
from wayside_gateway.ingest import Ingest
from wayside_gateway.keeper import Keeper
from wayside_gateway.keys import KeyFile
from wayside_gateway.links.station import SerialStation
from wayside_gateway.metrics import Metrics
from wayside_gateway.retention import Limits
from wayside_gateway.settings import Settings
from wayside_gateway.stations import Station
from wayside_gateway.store import Store, open_store
from wayside_gateway.timeline import Timeline
from wayside_gateway.uplinks.base import Uplink
from wayside_gateway.uplinks.mqtt import MqttSink

DAY_MS = 86_400_000
UPLINK_STOP_S = 10.0
"""How long the uplinks may take to end in order; what they did not confirm goes again at the next start."""

MakeUplinks = Callable[[Settings, Store, Timeline, Metrics], Sequence[Uplink]]


@contextlib.contextmanager
def only_one(directory: Path) -> Iterator[None]:
    """Hold the data directory for this process. Raises StoreError if another gateway has it, or it cannot be made."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(directory / "gateway.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        fix = "Make it, writable for the gateway's user, or name another one as `data` in the settings."
        raise StoreError(
            "missing", f"The data directory {directory} cannot be used ({error.strerror}).", fix
        ) from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            fix = "Stop that one, or give this one a data directory of its own."
            raise StoreError("locked", f"Another gateway runs on {directory}.", fix) from error
        yield
    finally:
        os.close(handle)


def uplinks_of(settings: Settings, store: Store, timeline: Timeline, metrics: Metrics) -> list[Uplink]:
    """The uplinks that the settings switch on."""
    if settings.mqtt is None:
        return []
    sink = MqttSink(settings.mqtt, settings.deployment, settings.gateway)
    return [Uplink("mqtt", store, timeline, sink, metrics)]


class Gateway:
    """All parts, wired. Raises StoreError and KeyFileError when made; `run` does the work."""

    def __init__(self, settings: Settings, store: Store, make_uplinks: MakeUplinks = uplinks_of) -> None:
        self.settings = settings
        self.store = store
        self.metrics = Metrics()
        self.clock = GatewayClock(settings.clock.require_ntp)
        self.timeline = Timeline(store, self.clock)
        keys = KeyFile(settings.keys_path)
        self.ingest = Ingest(
            store, keys.load(), settings.gateway, self.clock, self.metrics, settings.store.commit_interval_ms
        )
        self.serial = SerialStation(settings.serial, self.ingest.serve, self.metrics)
        self.uplinks = list(make_uplinks(settings, store, self.timeline, self.metrics))
        store.set_uplinks([uplink.name for uplink in self.uplinks])
        limits = Limits(settings.store.max_bytes, int(settings.store.max_age_days * DAY_MS))
        self.keeper = Keeper(
            store, self.ingest, keys, self.clock, self.metrics, limits, settings.data / "status.json", self.describe
        )
        self._ingest = Station("ingest", self.ingest.run, self.metrics)
        self._serial = Station("serial", self.serial.run, self.metrics)
        self._keeper = Station("keeper", self.keeper.run, self.metrics)
        self._uplinks = [Station(f"uplink {u.name}", _running(u), self.metrics) for u in self.uplinks]
        self._log = log.get("gateway")

    @property
    def stations(self) -> list[Station]:
        """All stations, in the order of a reading's way."""
        return [self._serial, self._ingest, *self._uplinks, self._keeper]

    def describe(self) -> dict[str, object]:
        """How it is, for the status file and for whoever runs the gateway in its own process."""
        return {
            "gateway": self.settings.gateway,
            "deployment": self.settings.deployment,
            "clock": self.clock.doubt() or "believed",
            "stations": {s.name: {"state": s.state, "error": s.error, "failures": s.failures} for s in self.stations},
            "ports": dict(self.serial.state),
            "uplinks": {u.name: {"state": u.state, "error": str(u.error or "")} for u in self.uplinks},
            "nodes": {
                str(node): peer.link.name for node, peer in sorted(self.ingest.peers.items()) if peer.link is not None
            },
        }

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`; then what was read is committed and acked, and the uplinks end in order."""
        if doubt := self.clock.doubt():
            self._log.warning("this machine's clock is not believed: nodes get no time", why=doubt)
        async with asyncio.TaskGroup() as group:
            tasks = {s: group.create_task(s.keep(), name=s.name) for s in self.stations}
            self._log.info("running", gateway=self.settings.gateway, nodes=len(self.ingest.peers))
            await stop.wait()
            self._log.info("stopping")
            for station in (self._ingest, self._serial):  # acks still go out, then the ports close
                station.stop.set()
                await tasks[station]
            await self._last_words()
            for uplink, station in zip(self.uplinks, self._uplinks, strict=True):
                uplink.stop()
                station.stop.set()
            waiting = [tasks[station] for station in self._uplinks]
            if waiting:
                await asyncio.wait(waiting, timeout=UPLINK_STOP_S)
            self._keeper.stop.set()
            for task in waiting:
                task.cancel()
        self.keeper.write_status(self.describe())
        self._log.info("stopped")

    async def _last_words(self) -> None:
        """What came while the ports closed: committed, and acked when the nodes send it again."""
        try:
            await self.ingest.flush()
            await self.keeper.save_refusals()
        except StoreError as error:
            self._log.error("the last records were not stored; the nodes still have them", why=str(error))


def _running(uplink: Uplink) -> Callable[[asyncio.Event], "asyncio.Future[None]"]:
    def work(_stop: asyncio.Event) -> "asyncio.Future[None]":
        return asyncio.ensure_future(uplink.run())

    return work


async def run(settings: Settings, stop: asyncio.Event, make_uplinks: MakeUplinks = uplinks_of) -> None:
    """Run a gateway until `stop`. Raises StoreError and KeyFileError if it cannot start."""
    with only_one(settings.data), contextlib.closing(open_store(settings.data)) as store:
        await Gateway(settings, store, make_uplinks).run(stop)


def main(settings: Settings) -> None:
    """Run a gateway until SIGTERM or SIGINT. Raises StoreError and KeyFileError if it cannot start."""
    log.configure(settings.log.format, settings.log.level)

    async def until_signalled() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await run(settings, stop)

    asyncio.run(until_signalled())
