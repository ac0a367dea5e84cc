"""The rarer half of `machine`: UARTs, timers, RTC, ADC, sleep."""

import _sim
import time
from array import array
from machine import I2C, Pin, _checked, _reset

try:
    from micropython import const
except ImportError:
    const = int

_OP_RTC_SET = const(4)
_OP_TIMER = const(11)
_OP_ADC = const(12)
_OP_UART_OPEN = const(24)
_OP_UART_WRITE = const(25)
_OP_UART_READ = const(26)
_OP_UART_ANY = const(27)
_OP_UART_DRAINED = const(28)
_DEEPSLEEP_RESET = const(4)
_SOFT_RESET = const(5)
_TIMERS = const(0x100)

SoftI2C = I2C


def soft_reset():
    _reset(_SOFT_RESET, 0)


def deepsleep(time_ms=-1):
    _reset(_DEEPSLEEP_RESET, time_ms)


def lightsleep(time_ms=-1):
    if time_ms < 0:
        _sim.wait(-1, 0)
    else:
        time.sleep_ms(time_ms)


class Timer:
    ONE_SHOT = 0
    PERIODIC = 1

    def __init__(self, id=-1, **kw):
        self._id = id & 0xF
        self._callback = None
        if kw:
            self.init(**kw)

    def init(self, *, mode=1, period=-1, freq=-1, callback=None, hard=False):
        us = int(1000000 / freq) if freq > 0 else 1000 * period
        self._callback = callback
        _sim.handlers[_TIMERS + self._id] = self
        _checked(_sim.call(_OP_TIMER, self._id, us, mode, None, 0, None))

    def deinit(self):
        _sim.call(_OP_TIMER, self._id, 0, 0, None, 0, None)

    def _fire(self, flags):
        if self._callback is not None:
            self._callback(self)


class RTC:
    def __init__(self, id=0):
        pass

    def datetime(self, t=None):
        if t is None:
            y, m, d, hh, mm, ss, wd, _ = time.gmtime()
            return (y, m, d, wd, hh, mm, ss, 0)
        s = time.mktime((t[0], t[1], t[2], t[4], t[5], t[6], 0, 0))
        _sim.call(_OP_RTC_SET, s, 0, 0, None, 0, None)


class ADC:
    def __init__(self, pin, **kw):
        self._pin = pin._id if isinstance(pin, Pin) else pin

    def read_u16(self):
        return _checked(_sim.call(_OP_ADC, self._pin, 0, 0, None, 0, None))

    def read_uv(self):
        return self.read_u16() * 3300000 // 65535


class UART:
    """A port of the board. Reading and writing never wait unless `timeout` says so; a full transmit buffer takes what
    fits."""

    def __init__(self, id, baudrate=115200, bits=8, parity=None, stop=1, **kw):
        self._port = id
        self._timeout_us = 0
        self._one = bytearray(1)
        self._open = array("l", [0] * 6)
        self.init(baudrate, bits, parity, stop, **kw)

    def init(
        self,
        baudrate=115200,
        bits=8,
        parity=None,
        stop=1,
        *,
        tx=None,
        rx=None,
        rts=None,
        cts=None,
        txbuf=256,
        rxbuf=256,
        timeout=0,
        timeout_char=0,
        invert=0,
        flow=0,
    ):
        self._timeout_us = 1000 * timeout
        frame_bits = 1 + bits + (0 if parity is None else 1) + stop
        _checked(_sim.call(_OP_UART_OPEN, self._port, baudrate, frame_bits << 48 | txbuf << 24 | rxbuf, None, 0, None))

    def deinit(self):
        _sim.call(_OP_UART_OPEN, self._port, 0, 0, None, 0, None)

    def any(self):
        return _checked(_sim.call(_OP_UART_ANY, self._port, 0, 0, None, 0, None))

    def txdone(self):
        return _sim.call(_OP_UART_DRAINED, self._port, 0, 0, None, 0, None) == 0

    def flush(self):
        while True:
            us = _checked(_sim.call(_OP_UART_DRAINED, self._port, 0, 0, None, 0, None))
            if us == 0:
                return
            _sim.sleep_us(us)

    def readinto(self, buf, nbytes=-1):
        """Bytes read, or None when there were none within the timeout."""
        want = len(buf) if nbytes < 0 or nbytes > len(buf) else nbytes
        deadline = _sim.ticks_us() + self._timeout_us
        got = _checked(_sim.call(_OP_UART_READ, self._port, want, 0, None, 0, buf))
        view = None
        while got < want and self._timeout_us and _sim.ticks_us() < deadline:
            _sim.wait(deadline, 1 << self._port)
            view = view or memoryview(buf)
            got += _checked(_sim.call(_OP_UART_READ, self._port, want - got, 0, None, 0, view[got:]))
        return got or None

    def read(self, nbytes=-1):
        n = self.any() if nbytes < 0 else nbytes
        if n == 0:
            return None
        buf = bytearray(n)
        got = self.readinto(buf)
        if got is None:
            return None
        return bytes(buf) if got == n else bytes(memoryview(buf)[:got])

    def readline(self):
        line = b""
        while self.readinto(self._one):
            line += self._one
            if self._one[0] == 10:
                break
        return line or None

    def write(self, buf, nbytes=-1):
        """Bytes taken, or None when the transmit buffer is full."""
        n = len(buf) if nbytes < 0 or nbytes > len(buf) else nbytes
        taken = _checked(_sim.call(_OP_UART_WRITE, self._port, 0, 0, buf, n, None))
        if self._timeout_us and taken < n:
            deadline = _sim.ticks_us() + self._timeout_us
            view = memoryview(buf)
            while taken < n and _sim.ticks_us() < deadline:
                _sim.wait(deadline, 256 << self._port)
                taken += _checked(_sim.call(_OP_UART_WRITE, self._port, 0, 0, view[taken:n], n - taken, None))
        return taken or None

    def ioctl(self, req, arg):
        if req == 3:
            ready = _sim.ready >> self._port
            return ((ready & 1) | (4 if ready & 256 else 0)) & arg
        return 0
