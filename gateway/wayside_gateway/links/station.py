"""The serial station: keeps every port open that the settings ask for, through unplugging and renumbering."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence

from wayside_gateway import log
from wayside_gateway.backoff import STEADY_S, Backoff
from wayside_gateway.errors import LinkError
from wayside_gateway.links.base import Link
from wayside_gateway.links.ports import Device, Port, usb_devices, wanted_ports
from wayside_gateway.links.serial import open_serial
from wayside_gateway.metrics import Metrics
from wayside_gateway.settings import SerialRule

SCAN_S = 1.0
"""How often to look for ports: a board that is plugged in is heard within about a second."""
RESCAN_S = 30.0
"""How often to ask USB for identities although nothing changed in /dev: asking takes milliseconds."""


class SerialStation:
    """Runs `serve` on every port that is there; a port that fails is opened again after a while."""

    def __init__(self, rules: Sequence[SerialRule], serve: Callable[[Link], Awaitable[None]], metrics: Metrics) -> None:
        self._rules = rules
        self._serve = serve
        self._metrics = metrics
        self._log = log.get("serial")
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._ports: dict[str, Port] = {}
        self._devices: list[Device] = []
        self._seen_dev = 0
        self._seen_s = -RESCAN_S
        self.state: dict[str, str] = {}
        """What each port is doing, by path: "open", or why it is not."""

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`: then all ports are closed."""
        async with asyncio.TaskGroup() as group:
            while not stop.is_set():
                self._scan(group)
                try:
                    await asyncio.wait_for(stop.wait(), SCAN_S)
                except TimeoutError:
                    continue
            for task in self._tasks.values():
                task.cancel()

    def _scan(self, group: asyncio.TaskGroup) -> None:
        wanted = wanted_ports(self._rules, self._usb())
        for path, task in list(self._tasks.items()):
            if wanted.get(path) != self._ports[path]:  # unplugged, or another device under this name
                task.cancel()
            if task.done():
                del self._tasks[path], self._ports[path]
                self.state.pop(path, None)
        for path, port in wanted.items():
            if path not in self._tasks:
                self._ports[path] = port
                self._tasks[path] = group.create_task(self._keep(port), name=f"serial {path}")

    def _usb(self) -> list[Device]:
        """USB devices, asked for anew only when /dev changed or after a while."""
        now_s = asyncio.get_running_loop().time()
        changed = os.stat("/dev").st_mtime_ns
        if changed != self._seen_dev or now_s - self._seen_s >= RESCAN_S:
            self._seen_dev, self._seen_s = changed, now_s
            try:
                self._devices = usb_devices()
            except OSError as error:  # a device that left while it was asked: ask again at the next change
                self._log.warning("USB devices cannot be listed", why=str(error))
        return self._devices

    async def _keep(self, port: Port) -> None:
        """The one loop that opens this port, again and again."""
        backoff = Backoff()
        told = ""
        while True:
            started_s = asyncio.get_running_loop().time()
            try:
                await self._once(port)
            except LinkError as error:
                self.state[port.path] = error.reason
                self._metrics.count("links_ended", label=error.reason)
                if error.message != told:
                    self._log.warning("port ended", port=port.path, reason=error.reason, why=str(error))
                told = error.message
            if asyncio.get_running_loop().time() - started_s >= STEADY_S:
                backoff.reset()
                told = ""
            await asyncio.sleep(backoff.next())

    async def _once(self, port: Port) -> None:
        link = open_serial(port.path, port.baud, port.lines)
        self._metrics.count("links_opened")
        self._log.info("port open", port=port.path, device=port.real, baud=port.baud)
        self.state[port.path] = "open"
        try:
            await self._serve(link)
        finally:
            link.close()
