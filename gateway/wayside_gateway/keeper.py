"""The keeper: what has to be looked after now and then while the gateway runs."""

import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from wayside_gateway import log, memory
from wayside_gateway.atomic import write_private
from wayside_gateway.clock import GatewayClock
from wayside_gateway.errors import KeyFileError, StoreError
from wayside_gateway.ingest import Ingest
from wayside_gateway.keys import KeyFile
from wayside_gateway.metrics import Metrics
from wayside_gateway.refusals import REFUSALS_MAX
from wayside_gateway.retention import Limits, Removed, sweep, thin_anchors
from wayside_gateway.store import Store

PULSE_S = 1.0
"""The clock's pulse and due commands."""
LOOK_PULSES = 2
"""How often to look for new keys and commands, in pulses."""
TIDY_S = 30.0
"""How often what was refused is put on disk; the other tidying comes every so many turns of this."""
RETAIN_TURNS = 2
THIN_TURNS = 6 * 120
STATUS_PULSES = 60
"""The status is written at least so often, and within a few pulses of a change: it lies on an SD card."""
STATUS_SOON_PULSES = 5

BUSY_S = 0.1
"""CPU time within a pulse from which on the gateway is working off a backlog, or was just started."""

REFUSALS_LOGGED = 8
"""Lines of the log that one turn of tidying may give to nodes newly refused: anybody can claim numbers."""
REFUSAL_FIXES = {
    "unknown_node": "There is no key of this node here: `wayside nodes add` it, if it is yours.",
    "auth": "The node has another key than the one here, or its frames are forged: compare the two.",
    "boot_fell": "The board was erased or replaced: give it a new number. Once only: an old frame sent again.",
}

Described = Callable[[], dict[str, object]]


class Keeper:
    """One loop with a pulse a second."""

    def __init__(
        self,
        store: Store,
        ingest: Ingest,
        keys: KeyFile,
        clock: GatewayClock,
        metrics: Metrics,
        limits: Limits,
        status_path: Path,
        describe: Described,
    ) -> None:
        self._store = store
        self._ingest = ingest
        self._keys = keys
        self._keys_stamp = keys.stamp()
        self._clock = clock
        self._metrics = metrics
        self._limits = limits
        self._status_path = status_path
        self._describe = describe
        self._told: dict[str, object] = {}
        self._told_pulse = -STATUS_PULSES
        self._tidy_error = ""
        self._refused: set[tuple[int, str]] = set()
        self._cpu_s = 0.0
        self._busy = False
        self._log = log.get("keeper")

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`. Tidying waits for the disk, so it has a loop of its own: the pulse must not."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._every(PULSE_S, self._pulse, stop), name="pulse")
            group.create_task(self._every(TIDY_S, self._tidy, stop), name="tidy")

    @staticmethod
    async def _every(period_s: float, work: Callable[[int], Awaitable[None]], stop: asyncio.Event) -> None:
        turn = 0
        while not stop.is_set():
            await work(turn)
            turn += 1
            try:
                async with asyncio.timeout(period_s):
                    await stop.wait()
            except TimeoutError:
                continue

    async def _pulse(self, turn: int) -> None:
        jump_ms = self._clock.pulse()
        if jump_ms:
            self._metrics.count("clock_steps")
            self._log.warning("this machine's clock was set", by_s=round(jump_ms / 1000, 1))
        self._ingest.pulse()
        self._rest()
        if turn % LOOK_PULSES == 0:
            self._look_for_keys()
            self._ingest.offer_commands()
        self._tell(turn)

    async def _tidy(self, turn: int) -> None:
        try:
            await self.save_refusals()
            if turn % RETAIN_TURNS == 0:
                await self._retain()
            if turn % THIN_TURNS == THIN_TURNS - 1 and self._clock.believed():
                await self._store.run(thin_anchors, self._store, self._limits, self._clock.wall_ms())
            self._tidy_error = ""
        except StoreError as error:  # ingest says so too, and stops acking; nothing else may stop for it
            self._metrics.count("tidying_failed", label=error.reason)
            if error.reason != self._tidy_error:
                self._log.error("the store cannot be tidied", why=str(error))
            self._tidy_error = error.reason

    def _rest(self) -> None:
        """A backlog takes memory; when it is over, that goes back."""
        used_s = time.process_time() - self._cpu_s
        self._cpu_s += used_s
        if used_s > BUSY_S:
            self._busy = True
        elif self._busy:
            self._busy = False
            memory.give_back()

    def _look_for_keys(self) -> None:
        stamp = self._keys.stamp()
        if stamp == self._keys_stamp:
            return
        self._keys_stamp = stamp
        try:
            nodes = self._keys.load()
        except KeyFileError as error:
            self._log.error("the keys stay as they were", why=str(error))
            return
        self._ingest.set_keys(nodes)
        self._log.info("keys read", nodes=len(nodes))

    async def save_refusals(self) -> None:
        """Put what was not taken on disk, where `wayside nodes` and `wayside gaps` find it."""
        rows = self._ingest.refusals.take()
        if rows:
            await self._store.run(self._store.save_refusals, rows, REFUSALS_MAX)
        new = [row for row in rows if (row.node, row.reason) not in self._refused]
        for row in new[:REFUSALS_LOGGED]:
            self._refused.add((row.node, row.reason))
            self._log.warning(
                "frames refused", node=row.node, reason=row.reason, link=row.link, fix=REFUSAL_FIXES[row.reason]
            )
        if len(self._refused) > REFUSALS_MAX:
            self._refused.clear()

    async def _retain(self) -> None:
        believed = self._clock.believed()
        now_ms, removed = self._clock.wall_ms(), Removed()
        while await self._store.run(sweep, self._store, self._limits, now_ms, believed, removed):
            continue  # new records are committed between the steps
        if removed.delivered:
            self._metrics.count("records_retired", removed.delivered)
        if removed.lost:
            self._metrics.count("records_lost", removed.lost, label="disk_limit")
            self._log.error("the store is full: records that were not sent are gone", records=removed.lost)

    def _tell(self, pulse: int) -> None:
        age = pulse - self._told_pulse
        if age < STATUS_SOON_PULSES:
            return
        what = self._describe()
        if what == self._told and age < STATUS_PULSES:
            return
        self._told, self._told_pulse = what, pulse
        self.write_status(what)

    def write_status(self, what: dict[str, object]) -> None:
        """Write the status file for other processes. It is a view: nothing depends on it."""
        now_ms = int(time.time() * 1000)
        offset_ms = now_ms - self._clock.monotonic_ms()
        heard = {str(n): p.heard_ms + offset_ms for n, p in self._ingest.peers.items() if p.heard_ms}
        measured = {"heard_ms": heard, "metrics": self._metrics.snapshot()}
        status = {"pid": os.getpid(), "at_ms": now_ms, **what, **measured}
        try:
            write_private(self._status_path, json.dumps(status, indent=1).encode(), sync=False)
        except OSError as error:
            self._log.warning("the status file cannot be written", why=error.strerror)
