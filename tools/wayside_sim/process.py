"""The board's process: MicroPython with the shims, started anew at every boot, and killed to cut its power."""

import contextlib
import functools
import importlib.util
import os
import select
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from wayside_sim import build
from wayside_sim.wire import HEADER

PIPE_READ = 65_536
EXIT_WAIT_S = 5.0
"""A killed process is gone within this; it only has to be reaped."""

# The shims lie in this process's memory outside MicroPython's heap, as the firmware of a board lies in its flash: their
# code runs in place, and what they do take of the heap is what their objects take.
_LAUNCH = """
import posix, sys
folder, path = sys.argv[1:3]
with open(path, "rb", 0) as f:
    rom = f.read()
posix.putenv("WAYSIDE_ROM", f"{id(rom) + bytes.__basicsize__ - 1}|{len(rom)}")
sys.path.append(folder)
import micropython_run
sys.exit(micropython_run.run_main(["micropython", *sys.argv[3:]]))
"""
_BOOT = """
import gc
bare = gc.mem_alloc()
import os, sys, uctypes, vfs
rom = os.getenv("WAYSIDE_ROM").split("|")
rom = vfs.VfsRom(uctypes.bytearray_at(int(rom[0]), int(rom[1])))
vfs.mount(rom, "/rom")
sys.path.insert(0, "/rom")
import _sim
_sim.rom = rom
_sim.bare = bare
import _sim_boot
"""


@functools.cache
def micropython_folder() -> str | None:
    """Where MicroPython's unix port is installed, or None (there is no wheel of it for Linux on arm64)."""
    spec = importlib.util.find_spec("micropython_run")
    return str(Path(spec.origin).parent) if spec and spec.origin else None


def default_runtime() -> str:
    """`micropython` where it can be had, else `cpython`."""
    return "micropython" if micropython_folder() else "cpython"


@dataclass
class Request:
    """What the board asks for; `lag_us` is what its clock went on by itself since the last answer."""

    op: int
    a: int
    b: int
    c: int
    lag_us: int
    data: bytes


class BoardProcess:
    """One boot. `request_fd` and `output_fd` are to be waited for."""

    def __init__(self, runtime: str, config: list[str], heap: str, extra: list[str]) -> None:
        request_r, request_w = os.pipe()
        reply_r, reply_w = os.pipe()
        fields = [f"/proc/self/fd/{reply_r}", f"/proc/self/fd/{request_w}", *config]
        if runtime == "micropython":
            folder = micropython_folder()
            if folder is None:
                raise RuntimeError("MicroPython's unix port is not installed; use runtime='cpython'")
            options = ["-X", f"heapsize={heap}", "-c", _BOOT]
            command = [sys.executable, "-I", "-S", "-c", _LAUNCH, folder, str(build.shims()), *options]
            env = {"MICROPYPATH": ".frozen", "WAYSIDE_SIM": "|".join(fields)}
        else:
            command = [sys.executable, "-m", "wayside_sim.cpython", *extra]
            env = {**os.environ, "WAYSIDE_SIM": "|".join(fields)}
        try:
            self._popen = subprocess.Popen(
                command,
                env=env,
                pass_fds=(request_w, reply_r),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                bufsize=0,
            )
        finally:
            os.close(request_w)
            os.close(reply_r)
        assert self._popen.stdout is not None
        self.request_fd = request_r
        self.output_fd = self._popen.stdout.fileno()
        self._reply_fd = reply_w
        os.set_blocking(self.output_fd, False)
        self._requests = select.poll()
        self._requests.register(self.request_fd, select.POLLIN)

    @property
    def pid(self) -> int:
        return self._popen.pid

    def output(self) -> bytes:
        """What the board printed since the last look."""
        try:
            return os.read(self.output_fd, PIPE_READ)
        except (BlockingIOError, OSError):
            return b""

    def asks(self, seconds: float) -> bool:
        """Whether there is a request within so many seconds of the host."""
        return bool(self._requests.poll(seconds * 1000))

    def request(self) -> Request | None:
        """The next request, waiting for it; None when the process has ended."""
        head = self._exactly(HEADER.size)
        if head is None:
            return None
        op, a, b, c, size, lag_us = HEADER.unpack(head)
        data = self._exactly(size) if size else b""
        return None if data is None else Request(op, a, b, c, lag_us, data)

    def reply(self, *words: int, data: bytes = b"") -> None:
        with contextlib.suppress(BrokenPipeError):
            os.write(self._reply_fd, HEADER.pack(*words) + data)

    def kill(self) -> int:
        """End the process now, as a power cut would; returns its exit code."""
        if self._popen.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._popen.pid, signal.SIGKILL)
        code = self._popen.wait(EXIT_WAIT_S)
        os.close(self.request_fd)
        os.close(self._reply_fd)
        assert self._popen.stdout is not None
        self._popen.stdout.close()
        return code

    def _exactly(self, size: int) -> bytes | None:
        data = os.read(self.request_fd, size)
        while len(data) < size:
            more = os.read(self.request_fd, size - len(data))
            if not more:
                return None
            data += more
        return data
