"""The calendar half of `time`."""

import utime as _utime
from time import _epoch_us, _rtc


def gmtime(secs=None):
    us = _epoch_us()
    return _utime.gmtime((us // 1000000 if secs is None else int(secs)) + _rtc[1])[:8]


localtime = gmtime


def mktime(t):
    _epoch_us()
    days = _days(t[0], t[1], t[2])
    return days * 86400 + t[3] * 3600 + t[4] * 60 + t[5] - _rtc[1]


def _days(y, m, d):
    # Days since 1970 of a date of the Gregorian calendar, with March as the first month so that the leap day is the
    # last.
    if m <= 2:
        y -= 1
        m += 12
    return 365 * y + y // 4 - y // 100 + y // 400 + (153 * m - 457) // 5 + d - 719469
