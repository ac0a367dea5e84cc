"""`asyncio` of a board on CPython, as MicroPython's asyncio is: one queue of tasks by time, one poller, and awaiting
puts the task that runs onto the queue of what it waits for.

Firmware may use `core` of it (`cur_task`, `_task_queue`, `ticks`) as it may on a board.
"""

from collections.abc import Callable, Coroutine, Generator
from types import ModuleType
from typing import Any


class CancelledError(BaseException):
    """A task was cancelled."""


class Core(ModuleType):
    """The scheduler. `tasks` is the shims' module of queues, `clock` the board's `time`, `select` its `select`."""

    def __init__(self, tasks: Any, clock: Any, select: Any) -> None:
        super().__init__("asyncio.core")
        self.TaskQueue, self.Task = tasks.TaskQueue, tasks.Task
        self.ticks, self.ticks_add, self.ticks_diff = clock.ticks_ms, clock.ticks_add, clock.ticks_diff
        self.CancelledError = CancelledError
        self.cur_task: Any = None
        self._task_queue: Any = tasks.TaskQueue()
        self._select = select
        self._poller: Any = select.poll()
        self._streams: dict[int, list[Any]] = {}
        self.exception_handler: Callable[[Any], None] | None = None

    def create_task(self, coro: Coroutine[Any, Any, Any]) -> Any:
        if not hasattr(coro, "send"):
            raise TypeError("coroutine expected")
        task = self.Task(coro)
        self._task_queue.push(task)
        return task

    def sleep_ms(self, ms: int) -> "Suspend":
        return Suspend(lambda: self._task_queue.push(self.cur_task, self.ticks_add(self.ticks(), max(0, int(ms)))))

    def stream_ready(self, stream: Any, *, write: bool = False) -> "Suspend":
        """Wait until a stream can be read, or written."""

        def wait() -> None:
            entry = self._streams.setdefault(id(stream), [None, None, stream])
            entry[write] = self.cur_task
            self._register(entry)
            self.cur_task.data = self

        return Suspend(wait)

    def remove(self, task: Any) -> None:
        """A task that waits for a stream is cancelled."""
        for entry in list(self._streams.values()):
            entry[:2] = [None if waiting is task else waiting for waiting in entry[:2]]
            self._register(entry)

    def _register(self, entry: list[Any]) -> None:
        mask = (self._select.POLLIN if entry[0] else 0) | (self._select.POLLOUT if entry[1] else 0)
        if mask:
            self._poller.register(entry[2], mask)
        else:
            self._poller.unregister(entry[2])
            self._streams.pop(id(entry[2]), None)

    def _poll(self, ms: int) -> None:
        for stream, events in self._poller.poll(ms):
            entry = self._streams[id(stream)]
            for at, event in enumerate((self._select.POLLIN, self._select.POLLOUT)):
                if events & event and entry[at] is not None:
                    self._task_queue.push(entry[at])
                    entry[at] = None
            self._register(entry)

    def run_until_complete(self, main: Any) -> Any:
        """Run all tasks until this one is done; return its value, or raise what it raised."""
        while True:
            wait_ms = 1
            while wait_ms > 0:
                task = self._task_queue.peek()
                wait_ms = -1 if task is None else max(0, self.ticks_diff(task.ph_key, self.ticks()))
                self._poll(wait_ms)
                if task is None and self._task_queue.peek() is None:
                    wait_ms = 1
            task = self.cur_task = self._task_queue.pop()
            error = self._step(task)
            if error is None:
                continue
            self._finish(task, error, awaited=task is main)
            if task is main:
                self.cur_task = None
                if isinstance(error, StopIteration):
                    return error.value
                raise error

    def _step(self, task: Any) -> BaseException | None:
        thrown = task.data
        task.data = None
        if task.done():
            # Queued once more because nobody had asked for its exception.
            self._unretrieved(task, thrown)
            return None
        try:
            if thrown is None:
                task.coro.send(None)
            else:
                task.coro.throw(thrown() if isinstance(thrown, type) else thrown)
        except (CancelledError, StopIteration, Exception) as error:  # noqa: BLE001 -- it is the task's result
            return error
        return None

    def _finish(self, task: Any, error: BaseException, *, awaited: bool) -> None:
        if isinstance(task.state, self.TaskQueue):
            while task.state.peek() is not None:
                self._task_queue.push(task.state.pop())
                awaited = True
            task.state = False
        elif callable(task.state):
            task.state(task, error)
            task.state, awaited = False, True
        else:
            task.state = False if awaited else None
        if not awaited and not isinstance(error, (CancelledError, StopIteration)):
            self._task_queue.push(task)
        task.data = error

    def _unretrieved(self, task: Any, error: Any) -> None:
        task.data = error
        if task.state is None and self.exception_handler is not None:
            self.exception_handler(error)


class Suspend:
    """Awaited once: does something with the task that runs, and gives way."""

    def __init__(self, act: Callable[[], None]) -> None:
        self._act = act

    def __await__(self) -> Generator[None, None, None]:
        self._act()
        yield


class Event:
    """As MicroPython's."""

    core: Core

    def __init__(self) -> None:
        self._set = False
        self._waiting: Any = self.core.TaskQueue()

    def is_set(self) -> bool:
        return self._set

    def set(self) -> None:
        while self._waiting.peek() is not None:
            self.core._task_queue.push(self._waiting.pop())
        self._set = True

    def clear(self) -> None:
        self._set = False

    async def wait(self) -> bool:
        if not self._set:

            def queue() -> None:
                self._waiting.push(self.core.cur_task)
                self.core.cur_task.data = self._waiting

            await Suspend(queue)
        return True


class ThreadSafeFlag:
    """As MicroPython's: may be set by an interrupt handler; one task waits."""

    core: Core
    POLL = 3

    def __init__(self) -> None:
        self.state = 0

    def ioctl(self, request: int, flags: int) -> int:
        return self.state * flags if request == self.POLL else -1

    def set(self) -> None:
        self.state = 1

    def clear(self) -> None:
        self.state = 0

    async def wait(self) -> None:
        if not self.state:
            await self.core.stream_ready(self)
        self.state = 0


class Lock:
    """As MicroPython's."""

    core: Core

    def __init__(self) -> None:
        self._free = Event()
        self._free.set()

    def locked(self) -> bool:
        return not self._free.is_set()

    async def acquire(self) -> bool:
        while not self._free.is_set():
            await self._free.wait()
        self._free.clear()
        return True

    def release(self) -> None:
        if self._free.is_set():
            raise RuntimeError("Lock not acquired")
        self._free.set()

    async def __aenter__(self) -> "Lock":
        await self.acquire()
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.release()


class Stream:
    """A stream of a board: what can be polled, read and written without waiting."""

    core: Core

    def __init__(self, stream: Any, extra: Any = None) -> None:
        self.s = stream
        self._out = bytearray()

    async def read(self, size: int = -1) -> bytes:
        await self.core.stream_ready(self.s)
        return self.s.read(size) or b""

    async def readinto(self, buf: Any) -> int:
        await self.core.stream_ready(self.s)
        return self.s.readinto(buf) or 0

    async def readexactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            await self.core.stream_ready(self.s)
            part = self.s.read(size - len(data))
            if part == b"":
                raise EOFError
            data += part or b""
        return data

    async def readline(self) -> bytes:
        line = b""
        while not line.endswith(b"\n"):
            await self.core.stream_ready(self.s)
            part = self.s.readline()
            if part == b"":
                break
            line += part or b""
        return line

    def write(self, data: bytes) -> None:
        self._out += data

    async def drain(self) -> None:
        while self._out:
            await self.core.stream_ready(self.s, write=True)
            taken = self.s.write(bytes(self._out))
            del self._out[: taken or 0]

    def close(self) -> None:
        self.s.close()
