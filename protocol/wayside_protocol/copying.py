"""Copying between buffers without allocating: a slice allocates on MicroPython, a byte loop is slow there."""

import struct
import sys

TYPE_CHECKING = False
if TYPE_CHECKING or sys.implementation.name == "cpython":

    def copy_into(out: bytearray, at: int, data: "bytes | bytearray", n: int) -> None:
        """The first n bytes of data to out[at:]. Up to 15 bytes behind them may be overwritten as well."""
        out[at : at + n] = data[:n]

else:
    _formats = [None] * 66  # each made when it is first needed: all of them are 4 KiB of heap

    def copy_into(out, at, data, n):
        if at + n + 15 < len(out):
            blocks = n + 15 >> 4
            if _formats[blocks] is None:
                _formats[blocks] = "%ds" % (blocks << 4)
            struct.pack_into(_formats[blocks], out, at, data)
        else:
            for i in range(n):
                out[at + i] = data[i]
