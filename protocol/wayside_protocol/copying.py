"""Copying between buffers without allocating: a slice allocates on MicroPython, a byte loop is slow there."""

import struct
import sys

TYPE_CHECKING = False
if TYPE_CHECKING or sys.implementation.name == "cpython":

    def copy_into(out: bytearray, at: int, data: "bytes | bytearray", n: int) -> None:
        """The first n bytes of data to out[at:]. Up to 15 bytes behind them may be overwritten as well."""
        out[at : at + n] = data[:n]

else:
    _FORMATS = tuple("%ds" % (16 * i) for i in range(66))

    def copy_into(out, at, data, n):
        if at + n + 15 < len(out):
            struct.pack_into(_FORMATS[n + 15 >> 4], out, at, data)
        else:
            for i in range(n):
                out[at + i] = data[i]
