"""`open` and `os` of a board on CPython: littlefs over the same image, by the same operations of the same flash."""

import errno
import os as host_os
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

from littlefs import FileHandle, LFSFileFlag, LittleFS, UserContext, lfs
from littlefs.errors import LittleFSError

from wayside_sim.cpython.loader import os_error

BLOCK_CYCLES = 100
"""As MicroPython's VfsLfs2 sets it: erases of a metadata block before it moves on."""
_READ, _WRITE, _CREATE, _NEW, _TRUNCATE, _APPEND = LFSFileFlag
FLAGS = {
    "r": _READ,
    "r+": _READ | _WRITE,
    "w": _WRITE | _CREATE | _TRUNCATE,
    "w+": _READ | _WRITE | _CREATE | _TRUNCATE,
    "a": _WRITE | _CREATE | _APPEND,
    "a+": _READ | _WRITE | _CREATE | _APPEND,
    "x": _WRITE | _CREATE | _NEW,
}
"""littlefs-python's own `open` makes no file for `a+`."""
DIRECTORY, REGULAR = 0x4000, 0x8000


class _Chip(UserContext):
    """littlefs-python's user context over the shims' block device."""

    def __init__(self, flash: Any) -> None:
        self._flash = flash

    def read(self, cfg: Any, block: int, off: int, size: int) -> bytearray:
        data = bytearray(size)
        self._flash.readblocks(block, data, off)
        return data

    def prog(self, cfg: Any, block: int, off: int, data: bytes) -> int:
        return self._result(self._flash.writeblocks, block, data, off)

    def erase(self, cfg: Any, block: int) -> int:
        return self._result(self._flash.ioctl, 6, block)

    @staticmethod
    def _result(operation: Callable[..., Any], *args: Any) -> int:
        try:
            operation(*args)
        except OSError as error:
            return -(error.errno or errno.EIO)
        return 0

    def sync(self, cfg: Any) -> int:
        return 0


def mount(flash: Any, program_size: int) -> LittleFS:
    """The file system, made new if there is none."""
    fs = LittleFS(
        context=_Chip(flash),
        mount=False,
        block_size=flash.ioctl(5, 0),
        block_count=flash.ioctl(4, 0),
        read_size=program_size,
        prog_size=program_size,
        cache_size=4 * program_size,
        lookahead_size=32,
        block_cycles=BLOCK_CYCLES,
    )
    try:
        fs.mount()
    except LittleFSError:
        fs.format()
        fs.mount()
    return fs


class BoardFile:
    """An open file with MicroPython's ways: `flush` makes durable, `readinto` and `write` take a count, nothing is
    buffered."""

    def __init__(self, raw: Any, *, text: bool) -> None:
        self._raw = raw
        self._text = text

    def read(self, size: int = -1) -> Any:
        data = self._raw.readall() if size < 0 else self._raw.read(size)
        return data.decode() if self._text else bytes(data)

    def readinto(self, buf: Any, size: int = -1) -> int:
        view = memoryview(buf).cast("B")
        return int(self._raw.readinto(view if size < 0 else view[:size]))

    def readline(self) -> Any:
        line = self._raw.readline()
        return line.decode() if self._text else line

    def write(self, data: Any, size: int = -1) -> int:
        raw = data.encode() if isinstance(data, str) else bytes(data)
        with _errors():
            return int(self._raw.write(raw if size < 0 else raw[:size]))

    def seek(self, offset: int, whence: int = 0) -> int:
        return int(self._raw.seek(offset, whence))

    def tell(self) -> int:
        return int(self._raw.tell())

    def flush(self) -> None:
        with _errors():
            self._raw.flush()

    def fileno(self) -> int:
        _by_number[id(self)] = self
        return id(self)

    def close(self) -> None:
        _by_number.pop(id(self), None)
        with _errors():
            self._raw.close()

    def __enter__(self) -> "BoardFile":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Any]:
        while line := self.readline():
            yield line


_by_number: dict[int, BoardFile] = {}
"""Files whose number somebody asked for, for `os.fsync`."""


class _errors:
    """littlefs's errors as the OSError with the number that MicroPython raises."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, LittleFSError):
            raise os_error(-error.code) from error
        for known, number in (
            (FileNotFoundError, errno.ENOENT),
            (FileExistsError, errno.EEXIST),
            (IsADirectoryError, errno.EISDIR),
        ):
            if isinstance(error, known) and error.errno is None:
                raise os_error(number) from error


def opener(fs: LittleFS) -> Any:
    """The board's `open`."""

    def open_on_board(path: str, mode: str = "r", buffering: int = -1, encoding: str | None = None) -> BoardFile:
        flags = FLAGS[mode.replace("b", "").replace("t", "")]
        with _errors():
            handle = lfs.file_open(fs.fs, path, flags)
        return BoardFile(FileHandle(fs.fs, handle), text="b" not in mode)  # type: ignore[no-untyped-call]

    return open_on_board


class BoardOs(ModuleType):
    """The board's `os`."""

    sep = "/"

    def __init__(self, fs: LittleFS) -> None:
        super().__init__("os")
        self._fs = fs

    def listdir(self, path: str = "/") -> list[str]:
        with _errors():
            return list(self._fs.listdir(path))

    def ilistdir(self, path: str = "/") -> Iterator[tuple[str, int, int, int]]:
        with _errors():
            for entry in self._fs.scandir(path):
                yield entry.name, REGULAR if entry.type == 1 else DIRECTORY, 0, entry.size

    def stat(self, path: str) -> tuple[int, ...]:
        with _errors():
            found = self._fs.stat(path)
        return (REGULAR if found.type == 1 else DIRECTORY, 0, 0, 0, 0, 0, found.size, 0, 0, 0)

    def statvfs(self, path: str) -> tuple[int, ...]:
        size, blocks = self._fs.cfg.block_size, self._fs.cfg.block_count
        free = blocks - self._fs.used_block_count
        return (size, size, blocks, free, free, 0, 0, 0, 0, 255)

    def mkdir(self, path: str) -> None:
        with _errors():
            self._fs.mkdir(path)

    def rmdir(self, path: str) -> None:
        with _errors():
            self._fs.rmdir(path)

    def remove(self, path: str) -> None:
        with _errors():
            self._fs.remove(path)

    unlink = remove

    def rename(self, old: str, new: str) -> None:
        with _errors():
            self._fs.rename(old, new)

    def fsync(self, number: int) -> None:
        _by_number[number].flush()

    def sync(self) -> None:
        pass

    def urandom(self, size: int) -> bytes:
        return host_os.urandom(size)

    def getcwd(self) -> str:
        return "/"
