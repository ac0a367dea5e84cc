"""The board's end of the link to the simulated board's host: one request, one reply, over two pipes.

A request is six signed 64-bit words ``op, a, b, c, n, lag_us`` and n bytes; a reply is six words ``result, n, ready,
irqs, now_us, generation`` and n bytes. Numbers and meanings: ``wayside_sim/wire.py``. Everything is preallocated:
littlefs calls from here while the heap is locked (a file's finaliser during a collection).

Time: in virtual mode the board's clock stands still between requests but for ``lag``, what the board spent by itself
(flash reads, looking at the clock); in real time it is worked out from the process's monotonic clock.
"""

import os
import sys
import utime
from array import array

try:
    from micropython import const
except ImportError:
    const = int

_OP_HELLO = const(0)
_OP_WAIT = const(1)
_OP_CLOCK = const(2)

_WORD = const(8)
_WORDS = const(6)
_IRQ_MAX = const(16)
_RATE_BITS = const(20)
# What a look at the clock costs, so that a loop that only waits for the clock ends in virtual time too.
_LOOK_US = const(2)
# How long a poll that does not wait may go by what the last reply said.
_QUIET_US = const(1000)

config = os.getenv("WAYSIDE_SIM").split("|")
virtual = config[2] == "virtual"

# "l" is 64 bits wide here, and makes small integers; "q" would make every number it holds an object on the heap.
_rx = open(config[0], "rb")
_tx = open(config[1], "wb")
_request = array("l", [0] * _WORDS)
_reply = array("l", [0] * _WORDS)
_irqs = array("l", [0] * (3 * _IRQ_MAX))
_clock = array("l", [0] * 3)  # mono_us, ticks_us, rate * 2**20

lag = 0
now = 0
ready = 0
_generation = -1
_waiting_irqs = 0
event_us = -1
event_levels = 0
handlers = {}
rom = None


def _lost():
    # The host is gone: nothing of this process may go on, and no exception that the firmware could catch.
    os.system("kill -9 $PPID")
    while True:
        utime.sleep(1)


def _read(buf, n):
    got = _rx.readinto(buf, n)
    if got == n:
        return
    if not got:
        _lost()
    view = memoryview(buf)
    if isinstance(buf, array):
        raise OSError(5)
    while got < n:
        more = _rx.readinto(view[got:n])
        if not more:
            _lost()
        got += more


def call(op, a, b, c, data, n, into):
    """One request with n bytes of data; the reply's bytes go into `into`. Returns the result; a negative one is an
    errno."""
    global lag, now, ready, _waiting_irqs
    _request[0] = op
    _request[1] = a
    _request[2] = b
    _request[3] = c
    _request[4] = n
    _request[5] = lag
    lag = 0
    try:
        _tx.write(_request)
        if n:
            _tx.write(data, n)
    except OSError:
        _lost()
    _read(_reply, _WORD * _WORDS)
    if _reply[1]:
        _read(into, _reply[1])
    ready = _reply[2]
    _waiting_irqs = _reply[3]
    now = _reply[4]
    if _reply[5] != _generation:
        _new_clock(_reply[5])
    return _reply[0]


def _new_clock(generation):
    global _generation
    _generation = generation
    result = _reply[0]
    size = _reply[1]
    call(_OP_CLOCK, 0, 0, 0, None, 0, _clock)
    _reply[0] = result
    _reply[1] = size


def ticks_us():
    """Microseconds since the boot, not wrapped; inside an interrupt handler, the interrupt's own time."""
    global lag
    if event_us >= 0:
        return event_us
    if virtual:
        lag += _LOOK_US
        return now + lag
    return _clock[1] + (((utime.ticks_us() - _clock[0]) * _clock[2]) >> _RATE_BITS)


def quiet():
    """True when nothing can have happened since the last request, so that a poll need not ask."""
    return not _waiting_irqs and lag < _QUIET_US and (virtual or ticks_us() - now < _QUIET_US)


def wait(deadline_us, mask):
    """Wait until the deadline (-1: none), an interrupt, or a port of the mask is ready. Runs the handlers."""
    global _waiting_irqs
    call(_OP_WAIT, deadline_us, mask, 0, None, 0, _irqs)
    n = _reply[1] // (3 * _WORD)
    i = 0
    while i < n:
        _run(_irqs[3 * i], _irqs[3 * i + 1], _irqs[3 * i + 2])
        i += 1
    return n


def sleep_us(us):
    deadline = ticks_us() + us
    while True:
        wait(deadline, 0)
        if ticks_us() >= deadline:
            return


def _run(source, t_us, levels):
    global event_us, event_levels
    entry = handlers.get(source & 0xFFFF)
    if entry is None:
        return
    event_us = t_us
    event_levels = levels
    try:
        entry._fire(source >> 16)
    except Exception as e:
        sys.print_exception(e)
    finally:
        event_us = -1


def load(name):
    """Import one of the shims' own modules, which lie where the firmware does not see them."""
    if name in sys.modules:
        return sys.modules[name]
    if rom is None:
        return __import__(name)
    import vfs

    path = sys.path[:]
    vfs.mount(rom, "/rom")
    sys.path[:] = ["/rom"]
    try:
        return __import__(name)
    finally:
        sys.path[:] = path
        vfs.umount("/rom")


def hello():
    """Say that the board is up; brings the clock."""
    call(_OP_HELLO, 0, 0, 0, None, 0, None)
