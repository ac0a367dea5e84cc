"""`sys` on the simulated board: the built-in one, but stdin and stdout are the board's USB serial port.

They do what they do on an RP2040: a read waits for all it was asked for, a write gives up on a computer that does not
read, and nothing is lost on the way in. print() does not pass here; the host mixes in what it writes.
"""

import sys as _real

import _sim

_OP_UART_WRITE = 25
_OP_UART_READ = 26
_PORT = 7
# MicroPython's MICROPY_HW_USB_CDC_TX_TIMEOUT: how long a write waits for a computer that has the port open and does
# not read.
_WRITE_US = 500000


class _Bytes:
    _port = _PORT

    def readinto(self, buf, nbytes=-1):
        want = len(buf) if nbytes < 0 else nbytes
        got = _sim.call(_OP_UART_READ, _PORT, want, 0, None, 0, buf)
        while got < want:
            _sim.wait(-1, 1 << _PORT)
            got += _sim.call(_OP_UART_READ, _PORT, want - got, 0, None, 0, memoryview(buf)[got:])
        return got

    def read(self, nbytes=-1):
        buf = bytearray(nbytes)
        self.readinto(buf)
        return bytes(buf)

    def readline(self):
        line = b""
        while line[-1:] != b"\n":
            line += self.read(1)
        return line

    def write(self, buf, nbytes=-1):
        n = len(buf) if nbytes < 0 or nbytes > len(buf) else nbytes
        done = _sim.call(_OP_UART_WRITE, _PORT, 0, 0, buf, n, None)
        if done < n:
            view = memoryview(buf)
            deadline = _sim.ticks_us() + _WRITE_US
            while done < n and _sim.ticks_us() < deadline:
                _sim.wait(deadline, 256 << _PORT)
                done += _sim.call(_OP_UART_WRITE, _PORT, 0, 0, view[done:n], n - done, None)
        return n

    def flush(self):
        pass

    def ioctl(self, req, arg):
        if req == 3:
            ready = _sim.ready >> _PORT
            return ((ready & 1) | (4 if ready & 256 else 0)) & arg
        return 0


class _Text(_Bytes):
    def __init__(self, raw):
        self.buffer = raw

    def read(self, nbytes=-1):
        return self.buffer.read(nbytes).decode()

    def readline(self):
        return self.buffer.readline().decode()

    def write(self, text):
        data = text.encode() if isinstance(text, str) else text
        return self.buffer.write(data)


stdin = stdout = _Text(_Bytes())
stderr = _real.stderr


def __getattr__(name):
    return getattr(_real, name)
