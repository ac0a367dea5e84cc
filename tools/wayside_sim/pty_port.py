"""The other end of a board's UART as the host sees it: a PTY with a stable name.

Bytes that nobody listens for are lost, as on a wire. A reader that is slow gets 64 KiB of patience, as a USB bridge's
driver gives it.
"""

import contextlib
import errno
import os
import select
import tty
from pathlib import Path

BACKLOG_MAX = 65_536
READ_MAX = 4_096


class PtyPort:
    """Plugged in from the start; `link` always points to the current PTY's slave while it is plugged in."""

    def __init__(self, link: Path) -> None:
        self.link = link
        self.fd = -1
        self.lost_out = 0
        self._backlog = bytearray()
        self.plug()

    def plug(self) -> None:
        """A new PTY, most likely under another number."""
        if self.fd >= 0:
            return
        master, slave = os.openpty()
        tty.setraw(slave)
        os.set_blocking(master, False)
        temporary = self.link.with_name(self.link.name + ".new")
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(os.ttyname(slave))
        temporary.replace(self.link)
        os.close(slave)
        self.fd = master

    def unplug(self) -> None:
        """The port disappears; whoever has it open gets an error."""
        if self.fd < 0:
            return
        self.link.unlink(missing_ok=True)
        os.close(self.fd)
        self.fd = -1
        self._backlog.clear()

    @property
    def listened(self) -> bool:
        """Whether somebody has the port open."""
        if self.fd < 0:
            return False
        poll = select.poll()
        poll.register(self.fd, 0)
        return not poll.poll(0)

    @property
    def backlog(self) -> int:
        return len(self._backlog)

    def write(self, data: bytes) -> None:
        if not self.listened:
            self.lost_out += len(data) + len(self._backlog)
            self._backlog.clear()
            return
        self._backlog += data[: BACKLOG_MAX - len(self._backlog)]
        self.lost_out += max(0, len(data) - (BACKLOG_MAX - len(self._backlog)))
        self.flush()

    def flush(self) -> None:
        """Hand over what the reader has room for."""
        with contextlib.suppress(BlockingIOError, OSError):
            while self._backlog:
                del self._backlog[: os.write(self.fd, self._backlog)]

    def read(self) -> bytes | None:
        """What came in; b"" when nothing did, None when nobody has the port open."""
        try:
            return os.read(self.fd, READ_MAX)
        except BlockingIOError:
            return b""
        except OSError as e:
            if e.errno == errno.EIO:
                return None
            raise
