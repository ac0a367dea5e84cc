"""The thread of a board in real time: it serves the board process, the PTY and what is due, and does what others ask
of it."""

import select
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from os import close, pipe, read, set_blocking, write
from typing import TypeVar

from wayside_sim.host import Host
from wayside_sim.pty_port import PtyPort
from wayside_sim.world import World

T = TypeVar("T")

PTY_LOOK_S = 0.05
"""How often a port that nobody has open is looked at; no byte is lost meanwhile."""
JOIN_S = 10.0


class LiveThread:
    """`hear` gets what comes in at the PTY."""

    def __init__(self, name: str, world: World, host: Host, pty: PtyPort | None, hear: Callable[[bytes], None]) -> None:
        self._name, self._world, self._host, self._pty, self._hear = name, world, host, pty, hear
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._error: Exception | None = None
        self._commands: deque[Callable[[], None]] = deque()
        self._wake_r, self._wake_w = pipe()
        set_blocking(self._wake_r, False)
        set_blocking(self._wake_w, False)

    def start(self) -> None:
        if self._thread is None:
            self._stopping = False
            self._thread = threading.Thread(target=self._loop, name=f"sim {self._name}", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        if self._thread is not None:
            self._stopping = True
            self._wake()
            self._thread.join(JOIN_S)
            self._thread = None

    def close(self) -> None:
        """Stop for good."""
        self.stop()
        close(self._wake_r)
        close(self._wake_w)

    def do(self, act: Callable[[], T]) -> T:
        """Do something in the board's thread, and wait for it; without one, in the caller's."""
        if self._thread is None or threading.current_thread() is self._thread:
            return act()
        if self._error is not None:
            raise RuntimeError(f"{self._name}'s thread has failed") from self._error
        done: Future[T] = Future()

        def command() -> None:
            try:
                done.set_result(act())
            except Exception as e:  # noqa: BLE001 -- handed to the caller as it is
                done.set_exception(e)

        self._commands.append(command)
        self._wake()
        return done.result(JOIN_S)

    def _wake(self) -> None:
        write(self._wake_w, b"\0")

    def _loop(self) -> None:
        try:
            while not self._stopping:
                while self._commands:
                    self._commands.popleft()()
                self._world.advance(self._world.now_us)
                self._turn()
        except Exception as e:  # noqa: BLE001 -- told to whoever uses the board next
            self._error = e
            self._host.log.add("error", f"the simulation failed: {e!r}")
            self._host.power_off()

    def _turn(self) -> None:
        poll = select.poll()
        poll.register(self._wake_r, select.POLLIN)
        process = self._host.process
        if process is not None:
            poll.register(process.request_fd, select.POLLIN)
            poll.register(process.output_fd, select.POLLIN)
        due = self._world.next_us()
        timeout = None if due is None else self._world.host_seconds_until(due)
        port = self._pty.fd if self._pty is not None and self._pty.listened else -1
        if port >= 0 and self._pty is not None:
            poll.register(port, select.POLLIN | (select.POLLOUT if self._pty.backlog else 0))
        elif self._pty is not None and self._pty.fd >= 0:
            timeout = PTY_LOOK_S if timeout is None else min(timeout, PTY_LOOK_S)
        events = dict(poll.poll(None if timeout is None else timeout * 1000))
        if self._wake_r in events:
            read(self._wake_r, 4096)
        if port in events and self._pty is not None:
            self._exchange(self._pty)
        if process is not None and process is self._host.process:
            if process.output_fd in events:
                self._host.printed()
            if process.request_fd in events:
                self._host.serve_one()

    def _exchange(self, pty: PtyPort) -> None:
        pty.flush()
        data = pty.read()
        if data:
            self._hear(data)
