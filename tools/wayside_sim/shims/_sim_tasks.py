"""`_asyncio` for the simulated board. The built-in one is C, takes the host's clock behind our back, and knows no
wrap at 2**30.

A queue is a list linked in order of time, first come first served among equals: a node has a handful of tasks.
"""

import sys
from time import ticks_diff
from time import ticks_ms as _ticks


class TaskQueue:
    def __init__(self):
        self._head = None

    def peek(self):
        return self._head

    def push(self, task, key=None):
        if key is None:
            key = _ticks()
        task.data = None
        task.ph_key = key
        before = None
        after = self._head
        while after is not None and ticks_diff(after.ph_key, key) <= 0:
            before = after
            after = after._next
        task._next = after
        if before is None:
            self._head = task
        else:
            before._next = task

    def pop(self):
        task = self._head
        if task is None:
            raise IndexError("empty heap")
        self._head = task._next
        task._next = None
        return task

    def remove(self, task):
        if self._head is task:
            self._head = task._next
        else:
            at = self._head
            while at._next is not task:
                at = at._next
            at._next = task._next
        task._next = None


class Task:
    # state: True running, a TaskQueue of the tasks that wait for it, a function to call at its end; None finished and
    # nobody asked for the result yet, False finished and somebody did. data: what it waits in; once finished, what it
    # raised.
    def __init__(self, coro, context=None):
        self.coro = coro
        self.data = None
        self.state = True
        self.ph_key = 0
        self._next = None

    def done(self):
        return self.state is None or self.state is False

    def __iter__(self):
        if self.done():
            self.state = False
        elif self.state is True:
            self.state = TaskQueue()
        elif not isinstance(self.state, TaskQueue):
            raise RuntimeError("can't wait")
        return self

    def __next__(self):
        if self.done():
            raise self.data
        me = sys.modules["asyncio.core"].cur_task
        self.state.push(me)
        me.data = self

    def cancel(self):
        core = sys.modules["asyncio.core"]
        if self.done():
            return False
        if self is core.cur_task:
            raise RuntimeError("can't cancel self")
        task = self
        while isinstance(task.data, Task):
            task = task.data
        if hasattr(task.data, "remove"):
            task.data.remove(task)
            core._task_queue.push(task)
        elif ticks_diff(task.ph_key, _ticks()) > 0:
            core._task_queue.remove(task)
            core._task_queue.push(task)
        task.data = core.CancelledError
        return True
