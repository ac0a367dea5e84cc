"""The module `asyncio` of a board on CPython: MicroPython's names over `scheduler.py`."""

from collections.abc import Coroutine
from types import ModuleType
from typing import Any

from wayside_sim.cpython import scheduler
from wayside_sim.cpython.loader import awaitable


class Loop:
    """What `get_event_loop()` gives."""

    def __init__(self, core: scheduler.Core) -> None:
        self._core = core
        self.create_task = core.create_task

    def run_until_complete(self, work: Any) -> Any:
        return self._core.run_until_complete(work if isinstance(work, self._core.Task) else self.create_task(work))

    def run_forever(self) -> None:
        self._core.run_until_complete(None)

    def set_exception_handler(self, handler: Any) -> None:
        self._core.exception_handler = lambda error: handler(self, {"exception": error, "future": None, "message": ""})

    def close(self) -> None:
        pass


class BoardAsyncio(ModuleType):
    """MicroPython's asyncio."""

    CancelledError = scheduler.CancelledError

    class TimeoutError(Exception):  # noqa: A001 -- MicroPython's name
        """What was waited for did not come in time."""

    def __init__(self, core: scheduler.Core) -> None:
        super().__init__("asyncio")
        self.core = core
        for kind in (scheduler.Event, scheduler.ThreadSafeFlag, scheduler.Lock, scheduler.Stream):
            setattr(self, kind.__name__, type(kind.__name__, (kind,), {"core": core}))
        scheduler.Event.core = core
        self.StreamReader = self.StreamWriter = self.Stream
        self.create_task = core.create_task
        self.sleep_ms = core.sleep_ms
        self.Task, self.ticks, self.ticks_add, self.ticks_diff = core.Task, core.ticks, core.ticks_add, core.ticks_diff

    def sleep(self, seconds: float) -> scheduler.Suspend:
        return self.core.sleep_ms(int(seconds * 1000))

    def current_task(self) -> Any:
        if self.core.cur_task is None:
            raise RuntimeError("no running event loop")
        return self.core.cur_task

    def run(self, coro: Coroutine[Any, Any, Any]) -> Any:
        return self.core.run_until_complete(self.core.create_task(coro))

    def get_event_loop(self) -> Loop:
        return Loop(self.core)

    new_event_loop = get_event_loop

    async def wait_for_ms(self, work: Any, timeout_ms: int | None) -> Any:
        """The work's value; cancels it, and raises TimeoutError, when it takes longer."""
        task = work if isinstance(work, self.core.Task) else self.core.create_task(work)
        if timeout_ms is None:
            return await awaitable(task)
        late = False

        async def watch() -> None:
            nonlocal late
            await self.core.sleep_ms(timeout_ms)
            late = True
            task.cancel()

        watcher = self.core.create_task(watch())
        try:
            return await awaitable(task)
        except scheduler.CancelledError:
            if late:
                raise self.TimeoutError from None
            raise
        finally:
            watcher.cancel()

    async def wait_for(self, work: Any, timeout: float | None) -> Any:  # noqa: ASYNC109 -- MicroPython's name
        return await self.wait_for_ms(work, None if timeout is None else int(timeout * 1000))

    async def gather(self, *work: Any, return_exceptions: bool = False) -> list[Any]:
        """The values of all; the first exception, if any, unless exceptions are wanted as values."""
        tasks = [w if isinstance(w, self.core.Task) else self.core.create_task(w) for w in work]
        values: list[Any] = []
        for task in tasks:
            try:
                values.append(await awaitable(task))
            except Exception as error:
                if not return_exceptions:
                    raise
                values.append(error)
        return values
