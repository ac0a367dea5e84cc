"""The board's flash as a block device. Reads come straight from the image; programs and erases go through the host,
which keeps the rules of NOR flash and can cut the power. Allocates nothing: a file's finaliser calls this while the
heap is locked."""

import _sim

try:
    from micropython import const
except ImportError:
    const = int

_OP_FLASH_PROGRAM = const(32)
_OP_FLASH_ERASE = const(33)


class Flash:
    def __init__(self):
        c = _sim.config
        self._image = open(c[6], "rb")
        self._blocks = int(c[7])
        self._size = int(c[8])
        self._read_us = int(c[9])
        self._read_ns = int(c[10])

    def readblocks(self, block, buf, offset=0):
        n = len(buf)
        self._image.seek(block * self._size + offset)
        self._image.readinto(buf)
        _sim.lag += self._read_us + n * self._read_ns // 1000

    def writeblocks(self, block, buf, offset=None):
        if offset is None:
            for i in range(len(buf) // self._size):
                self._erase(block + i)
            offset = 0
        result = _sim.call(_OP_FLASH_PROGRAM, block, offset, 0, buf, len(buf), None)
        if result < 0:
            raise OSError(-result)

    def _erase(self, block):
        result = _sim.call(_OP_FLASH_ERASE, block, 0, 0, None, 0, None)
        if result < 0:
            raise OSError(-result)

    def ioctl(self, op, arg):
        if op == 4:
            return self._blocks
        if op == 5:
            return self._size
        if op == 6:
            self._erase(arg)
        return 0
