"""What MicroPython has and CPython has not: `micropython`, `utime`, and parts of `sys` and `gc`."""

import gc as host_gc
import os as host_os
import sys as host_sys
import time as host_time
import traceback
from io import FileIO
from types import ModuleType
from typing import Any, TextIO

HEAP_FREE = 100_000
"""What `gc.mem_free()` says: there is no such figure here."""


class Utime(ModuleType):
    """The built-in time of the unix port, as the shims use it."""

    def __init__(self) -> None:
        super().__init__("utime")

    @staticmethod
    def ticks_us() -> int:
        return host_time.monotonic_ns() // 1000

    @staticmethod
    def sleep(seconds: float) -> None:
        host_time.sleep(seconds)

    @staticmethod
    def gmtime(seconds: float) -> tuple[int, ...]:
        t = host_time.gmtime(seconds)
        return (t.tm_year, t.tm_mon, t.tm_mday, t.tm_hour, t.tm_min, t.tm_sec, t.tm_wday, t.tm_yday)


class Micropython(ModuleType):
    """Decorators and hints do nothing. `kbd_intr` is the shims'."""

    def __init__(self) -> None:
        super().__init__("micropython")

    @staticmethod
    def const(value: Any) -> Any:
        return value

    native = viper = const

    @staticmethod
    def heap_lock() -> int:
        return 0

    heap_unlock = heap_lock

    @staticmethod
    def alloc_emergency_exception_buf(size: int) -> None:
        pass

    @staticmethod
    def schedule(function: Any, argument: Any) -> None:
        function(argument)


class Sys(ModuleType):
    """CPython's `sys` with the board's modules and path, and `print_exception`."""

    def __init__(self, modules: dict[str, Any]) -> None:
        super().__init__("sys")
        self.modules = modules
        self.path = ["", ".frozen", "/lib"]

    def __getattr__(self, name: str) -> Any:
        return getattr(host_sys, name)

    @staticmethod
    def print_exception(error: BaseException, file: TextIO | None = None) -> None:
        traceback.print_exception(error, file=file or host_sys.stdout)
        host_sys.stdout.flush()


class Gc(ModuleType):
    """A collector that is CPython's own business."""

    def __init__(self) -> None:
        super().__init__("gc")

    @staticmethod
    def collect() -> int:
        return 0

    @staticmethod
    def mem_free() -> int:
        return HEAP_FREE

    @staticmethod
    def mem_alloc() -> int:
        return 0

    @staticmethod
    def threshold(amount: int = -1) -> int:
        return -1

    enable = staticmethod(host_gc.enable)
    disable = staticmethod(host_gc.disable)


class Pipe:
    """A file as MicroPython opens it: unbuffered, with counts."""

    def __init__(self, path: str, mode: str) -> None:
        self._file = FileIO(path, mode.replace("b", ""))

    def readinto(self, buf: Any, size: int = -1) -> int:
        view = memoryview(buf).cast("B")
        return self._file.readinto(view if size < 0 else view[:size])

    def write(self, buf: Any, size: int = -1) -> int:
        view = memoryview(buf).cast("B")
        return self._file.write(view if size < 0 else view[:size]) or 0

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)


def print_now(*values: Any, **options: Any) -> None:
    """`print` that is at the host before the next request is."""
    print(*values, **{"flush": True, **options})  # noqa: T201 -- the board's own


def real_os() -> ModuleType:
    """CPython's `os`, for the shims."""
    return host_os
