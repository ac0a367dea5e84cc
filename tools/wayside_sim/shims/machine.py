"""`machine` on the simulated board: pins with interrupts, I2C, watchdog, reset causes.

The rest is in `_sim_machine.py` and loaded when it is asked for: a board has all of this in C, and what it takes here
is the firmware's.
"""

import _sim

try:
    from micropython import const, heap_lock, heap_unlock
except ImportError:
    const = int

    def heap_lock():
        return None

    heap_unlock = heap_lock

_OP_RESET = const(5)
_OP_WDT_START = const(6)
_OP_WDT_FEED = const(7)
_OP_PIN_SET = const(8)
_OP_PIN_GET = const(9)
_OP_PIN_IRQ = const(10)
_OP_I2C_SCAN = const(16)
_OP_I2C_WRITE = const(17)
_OP_I2C_READ = const(18)
_OP_I2C_MEM_WRITE = const(19)
_OP_I2C_MEM_READ = const(20)

PWRON_RESET = const(1)
HARD_RESET = const(2)
WDT_RESET = const(3)
DEEPSLEEP_RESET = const(4)
SOFT_RESET = const(5)


def _checked(result):
    if result < 0:
        raise OSError(-result)
    return result


def reset():
    """Reset the chip. Does not return."""
    _reset(HARD_RESET, 0)


def _reset(cause, ms):
    _sim.call(_OP_RESET, cause, ms, 0, None, 0, None)
    while True:
        _sim.wait(-1, 0)


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


class WDT:
    def __init__(self, id=0, timeout=5000):
        if timeout < 1:
            raise ValueError("timeout")
        _checked(_sim.call(_OP_WDT_START, timeout, 0, 0, None, 0, None))

    def feed(self):
        _sim.call(_OP_WDT_FEED, 0, 0, 0, None, 0, None)


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


def __getattr__(name):
    return getattr(_sim.load("_sim_machine"), name)
