"""A NOR flash in memory, as a block device for MicroPython's littlefs, whose power can be cut at any operation.

A cut leaves the operation at hand half done, and after it nothing works any more; `survivor` is the same flash with
the power back. Runs in MicroPython.
"""

EIO = 5
BLOCK = 4096
ERASED = b"\xff" * BLOCK


class Flash:
    """`cut_at` counts programs and erases from 0; the one of that number is cut in the middle. -1: none."""

    def __init__(self, blocks: int, data: "bytearray | None" = None, cut_at: int = -1) -> None:
        self.blocks = blocks
        self.data = bytearray(ERASED * blocks) if data is None else data
        self.cut_at = cut_at
        self.dead = False
        self.programs = 0
        self.erases = 0
        self.reads = 0
        self.read_bytes = 0
        self.programmed_bytes = 0
        self.wear = [0] * blocks

    @property
    def operations(self) -> int:
        return self.programs + self.erases

    def survivor(self, cut_at: int = -1) -> "Flash":
        return Flash(self.blocks, self.data, cut_at)

    def readblocks(self, block: int, buf: bytearray, offset: int = 0) -> int:
        if self.dead:
            return -EIO
        self.reads += 1
        self.read_bytes += len(buf)
        at = block * BLOCK + offset
        buf[:] = memoryview(self.data)[at : at + len(buf)]
        return 0

    def writeblocks(self, block: int, buf: bytearray, offset: int = 0) -> int:
        if self.dead:
            return -EIO
        n = len(buf)
        if self.operations == self.cut_at:
            self.dead = True
            n //= 2
        at = block * BLOCK + offset
        self.data[at : at + n] = memoryview(buf)[:n]
        self.programs += 1
        self.programmed_bytes += n
        return -EIO if self.dead else 0

    def ioctl(self, op: int, arg: int) -> int:
        if op == 4:
            return self.blocks
        if op == 5:
            return BLOCK
        if op == 6:
            return self._erase(arg)
        return -EIO if self.dead else 0

    def _erase(self, block: int) -> int:
        if self.dead:
            return -EIO
        n = BLOCK
        if self.operations == self.cut_at:
            self.dead = True
            n //= 2
        at = block * BLOCK
        self.data[at : at + n] = memoryview(ERASED)[:n]
        self.erases += 1
        self.wear[block] += 1
        return -EIO if self.dead else 0
