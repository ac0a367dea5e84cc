"""The gateway's own uplink in virtual time, and what it sends: SenML packs, resolved by the RFC's rules."""

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import NamedTuple

import pytest

from fakes.station import Station
from fakes.virtual_loop import VirtualLoop
from senml_rules import resolve
from wayside_gateway.settings import MqttSettings
from wayside_gateway.timeline import Timeline
from wayside_gateway.uplinks import base
from wayside_gateway.uplinks.base import Uplink
from wayside_gateway.uplinks.mqtt import MqttSink
from wayside_gateway.uplinks.sink import Advance, Block, Item, Part

UNDERSTOOD = frozenset({"boot_", "uptime_", "clock_"})


class Came(NamedTuple):
    """A temperature as it came: its number in the order of the readings, and what was said of its time."""

    number: int
    quality: str
    unix_s: float | None
    bound_s: float
    at: tuple[int, int] | None
    """(boot, uptime) where the time is unknown."""


class _Sink:
    """Renders as the MQTT uplink does, and keeps what it would have published."""

    window = 4

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self._real = MqttSink(MqttSettings(host="unused"), "test", 1)

    def render(self, items: Sequence[Item], whole: bool = False) -> list[Part]:
        return self._real.render(items, whole)

    async def connect(self, resume: bool) -> bool:
        return resume

    async def watch(self) -> None:
        await asyncio.Event().wait()

    async def deliver(self, block: Block, advance: Advance) -> None:
        await asyncio.sleep(0.05)
        self.parts.append(block.part)

    async def close(self, orderly: bool) -> None:
        pass


class Downstream:
    """`start` after the station's start; `came` is what was published."""

    def __init__(self, loop: VirtualLoop, monkeypatch: pytest.MonkeyPatch) -> None:
        clock = SimpleNamespace(monotonic=loop.time, time=loop.time)
        monkeypatch.setattr(base, "time", clock)
        self._loop = loop
        self._sink = _Sink()
        self._task: asyncio.Task[None] | None = None

    def start(self, station: Station) -> None:
        station.store.set_uplinks(["mqtt"])
        timeline = Timeline(station.store, station.clock)
        self._task = self._loop.create_task(Uplink("mqtt", station.store, timeline, self._sink).run())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None

    def came(self) -> list[Came]:
        """Every temperature that was published, once for each time that it was."""
        out = []
        for part in self._sink.parts:
            if part.form not in ("senml", "untimed"):
                continue
            for record in resolve(part.payload, UNDERSTOOD):
                if not str(record["n"]).endswith(":temperature"):
                    continue
                t, bound = record.get("t"), record.get("btb", 0)
                at = (int(str(record["boot_"])), int(str(record["uptime_"]))) if "boot_" in record else None
                number = round(100 * float(str(record["v"]))) - 2000
                unix_s = None if t is None else float(str(t))
                out.append(Came(number, str(record["btq"]), unix_s, float(str(bound)), at))
        return out
