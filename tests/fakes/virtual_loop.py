"""An asyncio event loop in virtual time: hours pass in seconds, and a run with the same seed is the same run.

Waiting costs nothing: when nothing is ready, time jumps to the next timer. Work given to a thread (the store's writer)
is done in the loop's own thread, after as long as `disk_s()` says; where the process "dies" meanwhile, it is not done.
"""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
START_S = 1_000.0
"""Of the monotonic clock: away from 0, which some code takes for never."""


class _Selector(selectors.DefaultSelector):
    loop: "VirtualLoop"

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            raise RuntimeError("everything waits for what will never come")
        if timeout > 0:
            self.loop.now_s += timeout
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """`now_s` is the time. `disk_s` gives how long the next piece of a thread's work takes."""

    def __init__(self) -> None:
        selector = _Selector()
        selector.loop = self
        self.now_s = START_S
        self.disk_s: Callable[[], float] = lambda: 0.0
        self._work: set[asyncio.TimerHandle] = set()
        super().__init__(selector)

    def time(self) -> float:
        return self.now_s

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> "asyncio.Future[T]":  # type: ignore[override]
        future: asyncio.Future[T] = self.create_future()

        def work() -> None:
            self._work.discard(handle)
            try:
                result = func(*args)
            except Exception as error:  # noqa: BLE001 - as a thread does: handed to whoever waits
                if not future.cancelled():
                    future.set_exception(error)
                    future.exception()
                return
            if not future.cancelled():
                future.set_result(result)

        handle = self.call_later(self.disk_s(), work)
        self._work.add(handle)
        return future

    def drop_work(self) -> None:
        """What threads had to do is never done: their process died."""
        for handle in self._work:
            handle.cancel()
        self._work.clear()

    def play(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run to the end of this coroutine, then close the loop."""
        asyncio.set_event_loop(self)
        try:
            return self.run_until_complete(coroutine)
        finally:
            pending = asyncio.all_tasks(self)
            for task in pending:
                task.cancel()
            self.run_until_complete(asyncio.gather(*pending, return_exceptions=True))
            asyncio.set_event_loop(None)
            self.close()
