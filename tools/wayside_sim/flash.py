"""NOR flash in an image file: erase blocks, programs that only clear bits, wear counted, and a place to cut the power.

A program that asks for a bit that is not erased is what a real chip would not do: the bit stays 0, and it is logged
and counted.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class FlashTiming:
    """µs of board time; from data sheets of 25Q-series serial NOR flash (typical values)."""

    read_us: int = 20
    read_ns_per_byte: int = 60
    program_page_us: int = 700
    page: int = 256
    erase_us: int = 45_000


@dataclass(frozen=True)
class FlashOp:
    """One operation as the hook sees it, before it is done. `number` counts all programs and erases of this image
    object."""

    number: int
    kind: str
    block: int
    offset: int
    data: bytes


@dataclass(frozen=True)
class PowerCut:
    """What a hook returns to cut the power during an operation: after `done` bytes of it (None: after all of it)."""

    done: int | None = 0


class PowerLost(Exception):
    """The hook cut the power."""


Hook = Callable[[FlashOp], PowerCut | None]
"""Looks at an operation before it is done. It may cut the power, or raise OSError: the chip refuses, and nothing is
done."""


class Flash:
    """The image. Every method takes effect at once; time is the caller's."""

    def __init__(self, path: Path, *, blocks: int, block_size: int = 4096, timing: FlashTiming | None = None) -> None:
        self.path = path
        self.blocks = blocks
        self.block_size = block_size
        self.timing = timing or FlashTiming()
        self.erases = [0] * blocks
        self.programs = [0] * blocks
        self.faults: list[str] = []
        self.hook: Hook | None = None
        self.count = 0
        if not path.exists():
            path.write_bytes(b"\xff" * (blocks * block_size))
        if path.stat().st_size != blocks * block_size:
            raise ValueError(f"{path} is not an image of {blocks} blocks of {block_size} bytes")
        self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def read(self, block: int, offset: int, size: int) -> bytes:
        return os.pread(self._fd, size, self._at(block, offset, size))

    def program(self, block: int, offset: int, data: bytes) -> int:
        """Program bytes; returns the µs it takes. Raises PowerLost when the hook cuts the power, with what was done
        by then on the chip."""
        at = self._at(block, offset, len(data))
        cut = self._ask("program", block, offset, data)
        done = data if cut is None or cut.done is None else data[: cut.done]
        old = os.pread(self._fd, len(done), at)
        before = int.from_bytes(old, "big")
        wanted = int.from_bytes(done, "big")
        after = before & wanted
        if after != wanted:
            self.faults.append(f"program {block}:{offset}+{len(done)} over what is not erased")
        os.pwrite(self._fd, after.to_bytes(len(done), "big"), at)
        self.programs[block] += 1
        if cut is not None:
            raise PowerLost(f"program {block}:{offset}, {len(done)} of {len(data)} bytes")
        pages = -(-(offset % self.timing.page + len(data)) // self.timing.page)
        return pages * self.timing.program_page_us

    def erase(self, block: int) -> int:
        """Erase a block; returns the µs it takes. Raises PowerLost when the hook cuts the power."""
        at = self._at(block, 0, self.block_size)
        cut = self._ask("erase", block, 0, b"")
        size = self.block_size if cut is None or cut.done is None else min(cut.done, self.block_size)
        os.pwrite(self._fd, b"\xff" * size, at)
        self.erases[block] += 1
        if cut is not None:
            raise PowerLost(f"erase {block}, {size} of {self.block_size} bytes")
        return self.timing.erase_us

    def corrupt(self, block: int, offset: int, data: bytes) -> None:
        """Have bytes of the image become others, as rot would."""
        os.pwrite(self._fd, data, self._at(block, offset, len(data)))

    def _ask(self, kind: str, block: int, offset: int, data: bytes) -> PowerCut | None:
        self.count += 1
        return self.hook(FlashOp(self.count, kind, block, offset, data)) if self.hook else None

    def _at(self, block: int, offset: int, size: int) -> int:
        at = block * self.block_size + offset
        if block < 0 or offset < 0 or at + size > self.blocks * self.block_size:
            raise ValueError(f"flash address {block}:{offset}+{size}")
        return at
