"""An uplink that runs on a real store in a test, with times that the test sets."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable

from wayside_gateway.backoff import Backoff
from wayside_gateway.store import Store
from wayside_gateway.timeline import SYNCED, SYNCED_BOUND_S, Time
from wayside_gateway.uplinks.base import Uplink
from wayside_gateway.uplinks.sink import Sink

WAIT_S = 30.0


class FixedTimes:
    """Believes Unix seconds. `boots` has what is known of (node, boot): the time at uptime 0, None for never."""

    def __init__(self) -> None:
        self.boots: dict[tuple[int, int], Time | None] = {}

    def plain(self, node: int, t: int, seq: int, received_ms: int) -> Time:
        return Time(t, SYNCED, SYNCED_BOUND_S)

    def when(self, node: int, at: tuple[int, int]) -> Time | None:
        boot, uptime_s = at
        if (node, boot) not in self.boots:
            return None
        start = self.boots[node, boot]
        if start is None or start.unix_s is None:
            return Time(None, "unknown", 0.0)
        return start._replace(unix_s=start.unix_s + uptime_s)


async def until(ready: Callable[[], bool], within_s: float = WAIT_S) -> None:
    """Wait until `ready()` is true."""
    end_s = time.monotonic() + within_s
    while not ready():
        assert time.monotonic() < end_s, f"not within {within_s} s"
        await asyncio.sleep(0.005)


def all_done(uplink: Uplink, store: Store) -> Callable[[], bool]:
    """Whether the uplink has dealt with every record, durably."""
    return lambda: store.cursor(uplink.name) == store.newest_id() and not under_way(store)


def under_way(store: Store) -> int:
    """Blocks in the outbox on disk."""
    return len(store.read("SELECT 1 FROM outbox"))


@contextlib.asynccontextmanager
async def running(
    store: Store, sink: Sink, times: FixedTimes | None = None, orderly: bool = True
) -> AsyncIterator[Uplink]:
    """An uplink at work, quick to try again; at the end stopped in order, or cut off as by a crash of the process."""
    uplink = Uplink("mqtt", store, times or FixedTimes(), sink, None, Backoff(0.01, 0.1), Backoff(0.02, 0.2))
    task = asyncio.create_task(uplink.run())
    try:
        yield uplink
        assert not task.done(), task.exception()
    finally:
        if orderly:
            uplink.stop()
        else:
            task.cancel()
        await asyncio.wait([task], timeout=WAIT_S)
        assert task.done()
        if not task.cancelled():
            task.result()
