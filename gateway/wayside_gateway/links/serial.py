"""One serial port as a Link: opened without resetting the board, read and written without ever blocking."""

import asyncio
import contextlib
import errno
import fcntl
import os
import struct
import termios
import time
from collections.abc import AsyncIterator

import serial

from wayside_gateway.errors import LinkError
from wayside_gateway.links.boards import Lines

READ_SIZE = 65_536
READ_AHEAD = 262_144
"""Bytes read but not yet taken; beyond it the port is left alone, and its own buffers and flow control apply."""
WRITE_AHEAD = 65_536
"""Bytes waiting to go out; beyond it `write` declines."""
WRITE_TIMEOUT_S = 10.0
"""A port that takes no byte for so long is given up and opened anew: a hung USB bridge looks like this."""


def _hold_lines(fd: int, lines: Lines) -> None:
    """Set DTR and RTS: what is dropped in one request, so that a bridge never shows one of them alone."""
    up = (termios.TIOCM_DTR if lines.dtr else 0) | (termios.TIOCM_RTS if lines.rts else 0)
    down = (termios.TIOCM_DTR | termios.TIOCM_RTS) & ~up
    for request, bits in ((termios.TIOCMBIS, up), (termios.TIOCMBIC, down)):
        if bits:
            try:
                fcntl.ioctl(fd, request, struct.pack("i", bits))
            except OSError as error:
                if error.errno not in (errno.ENOTTY, errno.EINVAL, errno.EOPNOTSUPP):  # a PTY has no such lines
                    raise


def _keep_lines_on_close(fd: int) -> None:
    """Without HUPCL, closing the port leaves the lines as they are, and so the board running."""
    attributes = termios.tcgetattr(fd)
    attributes[2] &= ~termios.HUPCL
    termios.tcsetattr(fd, termios.TCSANOW, attributes)


def _open(device: str, baud: int, lines: Lines) -> serial.Serial:
    """Raises LinkError. What the port held from before is thrown away: nobody knows how old it is."""
    try:
        port = serial.Serial(device, baud, timeout=0, write_timeout=0, exclusive=True)
    except (OSError, ValueError, termios.error) as error:
        raise _refused(device, error) from error
    try:
        _hold_lines(port.fileno(), lines)
        _keep_lines_on_close(port.fileno())
        port.reset_input_buffer()
    except (OSError, termios.error) as error:
        port.close()
        raise LinkError("open", f"{device}: cannot be set up ({error}).") from error
    return port


def _refused(device: str, error: Exception) -> LinkError:
    number = getattr(error, "errno", None)
    if number == errno.EACCES:
        fix = "Add the gateway's user to the group that owns the device (often dialout), then log in again."
        return LinkError("permission", f"{device}: permission denied.", fix)
    if number == errno.ENOENT:
        return LinkError("gone", f"{device}: not there.")
    if "lock" in str(error).lower() or number in (errno.EBUSY, errno.EAGAIN):
        return LinkError("busy", f"{device}: another program has it open.", f"Find it with: fuser {device}")
    return LinkError("open", f"{device}: cannot be opened ({error}).")


class SerialLink:
    """An open port. Made by `open_serial`; closed by `close`."""

    def __init__(self, port: serial.Serial, name: str) -> None:
        self._port = port
        self._fd: int = port.fileno()
        self._name = name
        self._loop = asyncio.get_running_loop()
        self._chunks: list[bytes] = []
        self._ahead = 0
        self._arrived_ms = 0
        self._taken_ms = 0
        self._reading = False
        self._ready = asyncio.Event()
        self._error: LinkError | None = None
        self._out = bytearray()
        self._writing: asyncio.TimerHandle | None = None
        self._resume()

    @property
    def name(self) -> str:
        return self._name

    @property
    def arrived_ms(self) -> int:
        return self._taken_ms

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._pieces()

    async def _pieces(self) -> AsyncIterator[bytes]:
        while True:
            await self._ready.wait()
            self._ready.clear()
            if self._chunks:
                data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
                self._chunks.clear()
                self._ahead = 0
                self._taken_ms = self._arrived_ms
                if self._error is None and not self._reading:
                    self._resume()
                yield data
            if self._error is not None and not self._chunks:
                raise self._error

    def _resume(self) -> None:
        self._loop.add_reader(self._fd, self._readable)
        self._reading = True

    def _readable(self) -> None:
        try:
            data = os.read(self._fd, READ_SIZE)
        except BlockingIOError:
            return
        except OSError as error:
            self._fail("gone", f"{self._name}: reading failed ({error.strerror}).")
            return
        if not data:
            self._fail("gone", f"{self._name}: the device went away.")
            return
        if not self._chunks:
            self._arrived_ms = int(time.monotonic() * 1000)
        self._chunks.append(data)
        self._ahead += len(data)
        if self._ahead >= READ_AHEAD:
            self._loop.remove_reader(self._fd)
            self._reading = False
        self._ready.set()

    def _fail(self, reason: str, message: str) -> None:
        if self._error is None:
            self._error = LinkError(reason, message)
        self._detach()
        self._ready.set()

    def write(self, data: bytes) -> bool:
        if self._error is not None or len(self._out) + len(data) > WRITE_AHEAD:
            return False
        if self._out:
            self._out += data
            return True
        try:
            sent = os.write(self._fd, data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self._fail("gone", f"{self._name}: writing failed ({error.strerror}).")
            return False
        if sent < len(data):
            self._out += data[sent:]
            self._loop.add_writer(self._fd, self._writable)
            self._watch_progress()
        return True

    def _writable(self) -> None:
        try:
            sent = os.write(self._fd, self._out)
        except BlockingIOError:
            return
        except OSError as error:
            self._fail("gone", f"{self._name}: writing failed ({error.strerror}).")
            return
        self._out[:sent] = b""
        if self._out:
            self._watch_progress()
        else:
            self._end_writing()

    def _watch_progress(self) -> None:
        if self._writing is not None:
            self._writing.cancel()
        self._writing = self._loop.call_later(
            WRITE_TIMEOUT_S, self._fail, "stuck", f"{self._name}: took no byte for {WRITE_TIMEOUT_S:.0f} s."
        )

    def _end_writing(self) -> None:
        self._loop.remove_writer(self._fd)
        if self._writing is not None:
            self._writing.cancel()
            self._writing = None

    def _detach(self) -> None:
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            self._reading = False
            self._end_writing()

    def close(self) -> None:
        """Stop and release the port. What waits to be sent is dropped: it is asked for again."""
        self._fail("closed", f"{self._name}: closed.")
        if self._fd >= 0:
            self._fd = -1
            with contextlib.suppress(OSError):
                self._port.close()


def open_serial(device: str, baud: int, lines: Lines, name: str | None = None) -> SerialLink:
    """Open a port, exclusively. Raises LinkError with reason permission, gone, busy or open."""
    return SerialLink(_open(device, baud, lines), name if name is not None else device)
