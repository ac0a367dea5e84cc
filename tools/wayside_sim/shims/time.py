"""`time` on the simulated board: clocks wrap as they do on a board (2**30), and the wall clock is the board's own
RTC."""

import _sim
from array import array

_PERIOD = 1 << 30
_HALF = 1 << 29
_OP_RTC = 3

_rtc = array("l", [0, 0])


def ticks_us():
    return _sim.ticks_us() & (_PERIOD - 1)


def ticks_ms():
    return (_sim.ticks_us() // 1000) & (_PERIOD - 1)


def ticks_cpu():
    return ticks_us()


def ticks_add(ticks, delta):
    if not -_HALF < delta < _HALF:
        raise OverflowError("ticks interval overflow")
    return (ticks + delta) & (_PERIOD - 1)


def ticks_diff(end, start):
    return ((end - start + _HALF) & (_PERIOD - 1)) - _HALF


def sleep_us(us):
    _sim.sleep_us(us)


def sleep_ms(ms):
    _sim.sleep_us(1000 * ms)


def sleep(s):
    _sim.sleep_us(int(s * 1000000))


def _epoch_us():
    # Microseconds since the board's epoch, and the Unix seconds of that epoch.
    _sim.call(_OP_RTC, 0, 0, 0, None, 0, _rtc)
    return _rtc[0]


def time():
    return _epoch_us() // 1000000


def time_ns():
    return _epoch_us() * 1000


def __getattr__(name):
    return getattr(_sim.load("_sim_calendar"), name)
