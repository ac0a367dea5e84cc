"""Waiting that something else can cut short. Allocates nothing, unlike `asyncio.wait_for` on an `asyncio.Event`."""

from asyncio import core  # pyright: ignore[reportAttributeAccessIssue] -- not in the stubs

from wayside_node.clock import ticks_ms

_TICKS_HALF_MS = 1 << 28


class Wake:
    """One task waits: `await wake.wait(ms)`. Others call `set`, which counts for the next wait if none is going on.

    It does with the scheduler's queue what `asyncio.Event` and `asyncio.sleep_ms` do. Not for interrupt handlers.
    """

    def __init__(self):
        self._task = None  # who waits
        self._ms = -1  # of a wait that has not begun; -1: none
        self._set = False
        self._end = StopIteration()

    def set(self):
        self._set = True
        task = self._task
        if task is not None:
            self._task = None
            core._task_queue.remove(task)
            core._task_queue.push(task)

    def wait(self, ms):
        """For ms milliseconds, at most 3 days, or until `set`."""
        self._ms = min(max(ms, 0), _TICKS_HALF_MS)
        return self

    def __iter__(self):
        return self

    def __next__(self):
        if self._ms < 0:
            self._task = None
            self._set = False
            self._end.__traceback__ = None
            raise self._end
        ms = 0 if self._set else self._ms
        self._ms = -1
        self._task = None if self._set else core.cur_task
        core._task_queue.push(core.cur_task, core.ticks_add(ticks_ms(), ms))
        return None
