"""Stations: the gateway's long-running parts. One that fails starts again after a while; the others go on."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from wayside_gateway import log
from wayside_gateway.backoff import STEADY_S, Backoff
from wayside_gateway.metrics import Metrics


class Station:
    """A named part. `work(stop)` runs until the event is set; ending before is a failure like an exception."""

    def __init__(self, name: str, work: Callable[[asyncio.Event], Awaitable[None]], metrics: Metrics) -> None:
        self.name = name
        self.state = "starting"
        """starting, running, degraded (it failed, and is tried again) or stopped."""
        self.error = ""
        """Why it is degraded, in words."""
        self.failures = 0
        self.stop = asyncio.Event()
        self._work = work
        self._metrics = metrics
        self._log = log.get(name)

    async def keep(self) -> None:
        """Run the work, again and again, until `stop` is set."""
        backoff = Backoff()
        while not self.stop.is_set():
            started_s = time.monotonic()
            try:
                if self.state == "starting":
                    self.state = "running"
                await self._work(self.stop)
                if self.stop.is_set():
                    break
                self._failed("ended")
            except Exception as error:  # noqa: BLE001 whatever a station dies of is its own and must not end the others
                self._failed(str(error) or repr(error), error)
            if time.monotonic() - started_s >= STEADY_S:
                backoff.reset()
            await self._pause(backoff.next())
            self.state = "starting"
        self.state = "stopped"

    def _failed(self, why: str, error: Exception | None = None) -> None:
        again = self.error == why
        self.state, self.error = "degraded", why
        self.failures += 1
        self._metrics.count("station_failures", label=self.name)
        if not again:
            expected = error is None or hasattr(error, "reason")
            self._log.error("station failed", station=self.name, why=why, exc_info=None if expected else error)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self.stop.wait()
        except TimeoutError:
            return
