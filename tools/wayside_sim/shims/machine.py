"""`machine` on the simulated board: pins with interrupts, I2C, UART, watchdog, reset causes, timers, RTC, ADC."""

import _sim
import time
from array import array

try:
    from micropython import const, heap_lock, heap_unlock
except ImportError:
    const = int

    def heap_lock():
        return None

    heap_unlock = heap_lock

_OP_RTC_SET = const(4)
_OP_RESET = const(5)
_OP_WDT_START = const(6)
_OP_WDT_FEED = const(7)
_OP_PIN_SET = const(8)
_OP_PIN_GET = const(9)
_OP_PIN_IRQ = const(10)
_OP_TIMER = const(11)
_OP_ADC = const(12)
_OP_I2C_SCAN = const(16)
_OP_I2C_WRITE = const(17)
_OP_I2C_READ = const(18)
_OP_I2C_MEM_WRITE = const(19)
_OP_I2C_MEM_READ = const(20)
_OP_UART_OPEN = const(24)
_OP_UART_WRITE = const(25)
_OP_UART_READ = const(26)
_OP_UART_ANY = const(27)
_OP_UART_DRAINED = const(28)

PWRON_RESET = const(1)
HARD_RESET = const(2)
WDT_RESET = const(3)
DEEPSLEEP_RESET = const(4)
SOFT_RESET = const(5)

_TIMERS = const(0x100)


def _checked(result):
    if result < 0:
        raise OSError(-result)
    return result


def reset():
    """Reset the chip. Does not return."""
    _reset(HARD_RESET, 0)


def soft_reset():
    _reset(SOFT_RESET, 0)


def deepsleep(time_ms=-1):
    _reset(DEEPSLEEP_RESET, time_ms)


def _reset(cause, ms):
    _sim.call(_OP_RESET, cause, ms, 0, None, 0, None)
    while True:
        _sim.wait(-1, 0)


def lightsleep(time_ms=-1):
    if time_ms < 0:
        _sim.wait(-1, 0)
    else:
        time.sleep_ms(time_ms)


def idle():
    """Let time pass until the next interrupt, 1 ms at the longest."""
    _sim.wait(_sim.ticks_us() + 1000, 0)


def reset_cause():
    return int(_sim.config[3])


_ID = bytes(int(_sim.config[4][i : i + 2], 16) for i in range(0, len(_sim.config[4]), 2))


def unique_id():
    return _ID


_freq = int(_sim.config[5])


def freq(hz=None):
    global _freq
    if hz is None:
        return _freq
    _freq = hz


def disable_irq():
    # Handlers only run inside a wait, so nothing can interrupt what does not wait.
    return 1


def enable_irq(state=1):
    return None


class Pin:
    IN = 0
    OUT = 1
    OPEN_DRAIN = 2
    PULL_UP = 1
    PULL_DOWN = 2
    IRQ_RISING = 1
    IRQ_FALLING = 2

    def __init__(self, id, mode=-1, pull=-1, *, value=None, drive=0, alt=-1):
        if not isinstance(id, int):
            raise ValueError("invalid pin")
        self._id = id
        self._handler = None
        self._hard = False
        self._flags = 0
        self.init(mode, pull, value=value)

    def init(self, mode=-1, pull=-1, *, value=None, drive=0, alt=-1):
        pull = 0 if pull is None else pull
        _checked(_sim.call(_OP_PIN_SET, self._id, mode, pull, None, 0, None))
        if value is not None:
            self.value(value)

    def value(self, x=None):
        if x is not None:
            _checked(_sim.call(_OP_PIN_SET, self._id, -2, 1 if x else 0, None, 0, None))
            return None
        if _sim.event_us >= 0:
            return (_sim.event_levels >> self._id) & 1
        return _checked(_sim.call(_OP_PIN_GET, self._id, 0, 0, None, 0, None))

    __call__ = value

    def on(self):
        self.value(1)

    def off(self):
        self.value(0)

    high = on
    low = off

    def toggle(self):
        self.value(not self.value())

    def irq(self, handler=None, trigger=3, *, priority=1, wake=None, hard=False):
        self._handler = handler
        self._hard = hard
        _sim.handlers[self._id] = self
        _checked(_sim.call(_OP_PIN_IRQ, self._id, trigger if handler else 0, 0, None, 0, None))
        return self

    def flags(self):
        return self._flags

    def _fire(self, flags):
        self._flags = flags
        if not self._hard:
            self._handler(self)
            return
        heap_lock()
        try:
            self._handler(self)
        finally:
            heap_unlock()

    def __repr__(self):
        return "Pin(%d)" % self._id


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


class WDT:
    def __init__(self, id=0, timeout=5000):
        if timeout < 1:
            raise ValueError("timeout")
        _checked(_sim.call(_OP_WDT_START, timeout, 0, 0, None, 0, None))

    def feed(self):
        _sim.call(_OP_WDT_FEED, 0, 0, 0, None, 0, None)


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


class I2C:
    def __init__(self, id=0, *, scl=None, sda=None, freq=400000, timeout=50000):
        self._bus = id
        _checked(_sim.call(_OP_I2C_SCAN, id, freq, 1, None, 0, None))

    def scan(self):
        buf = bytearray(128)
        n = _checked(_sim.call(_OP_I2C_SCAN, self._bus, 0, 0, None, 0, buf))
        return [buf[i] for i in range(n)]

    def readfrom_into(self, addr, buf, stop=True):
        _checked(_sim.call(_OP_I2C_READ, self._bus, addr, len(buf), None, 0, buf))

    def readfrom(self, addr, nbytes, stop=True):
        buf = bytearray(nbytes)
        self.readfrom_into(addr, buf, stop)
        return bytes(buf)

    def writeto(self, addr, buf, stop=True):
        return _checked(_sim.call(_OP_I2C_WRITE, self._bus, addr, 0, buf, len(buf), None))

    def readfrom_mem_into(self, addr, memaddr, buf, *, addrsize=8):
        _checked(_sim.call(_OP_I2C_MEM_READ, self._bus << 8 | addr, addrsize << 16 | memaddr, len(buf), None, 0, buf))

    def readfrom_mem(self, addr, memaddr, nbytes, *, addrsize=8):
        buf = bytearray(nbytes)
        self.readfrom_mem_into(addr, memaddr, buf, addrsize=addrsize)
        return bytes(buf)

    def writeto_mem(self, addr, memaddr, buf, *, addrsize=8):
        _checked(_sim.call(_OP_I2C_MEM_WRITE, self._bus << 8 | addr, addrsize << 16 | memaddr, 0, buf, len(buf), None))

    def deinit(self):
        pass


SoftI2C = I2C


class UART:
    """A port of the board. Reading and writing never wait unless `timeout` says so; a full transmit buffer takes what
    fits."""

    def __init__(self, id, baudrate=115200, bits=8, parity=None, stop=1, **kw):
        self._port = id
        self._timeout_us = 0
        self._one = bytearray(1)
        self._open = array("q", [0] * 6)
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
