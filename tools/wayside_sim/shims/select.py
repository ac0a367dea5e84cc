"""`select.poll` on the simulated board. A stream is any object with ioctl(MP_STREAM_POLL, flags), as in MicroPython.

Iterating allocates nothing, as in the built-in one: `ipoll` gives the same lists every time.
"""

import _sim

POLLIN = 1
POLLOUT = 4
POLLERR = 8
POLLHUP = 16
_MP_STREAM_POLL = 3


class _Poll:
    def __init__(self):
        self._entries = []
        # What ipoll gives: for n ready streams the nth list, of the first n pairs.
        self._ready = [[]]

    def _find(self, obj):
        for e in self._entries:
            if e[0] is obj:
                return e
        return None

    def register(self, obj, eventmask=POLLIN | POLLOUT):
        e = self._find(obj)
        if e is not None:
            e[1] = eventmask
            return
        self._entries.append([obj, eventmask])
        if len(self._ready) <= len(self._entries):
            self._ready.append(self._ready[-1] + [[None, 0]])

    def modify(self, obj, eventmask):
        e = self._find(obj)
        if e is None:
            raise OSError(2)
        e[1] = eventmask

    def unregister(self, obj):
        e = self._find(obj)
        if e is not None:
            self._entries.remove(e)

    def _check(self):
        n = 0
        pairs = self._ready[-1]
        for e in self._entries:
            events = e[0].ioctl(_MP_STREAM_POLL, e[1])
            if events:
                pairs[n][0] = e[0]
                pairs[n][1] = events
                n += 1
        return n

    def _mask(self):
        mask = 0
        for e in self._entries:
            port = getattr(e[0], "_port", -1)
            if port >= 0:
                if e[1] & POLLIN:
                    mask |= 1 << port
                if e[1] & POLLOUT:
                    mask |= 256 << port
        return mask

    def _wait(self, timeout_ms):
        deadline = -1 if timeout_ms < 0 else _sim.ticks_us() + 1000 * timeout_ms
        n = self._check()
        if n or timeout_ms == 0:
            # A poll that does not wait still lets time and interrupts pass, as it does on a board.
            if _sim.quiet():
                return n
            _sim.wait(0, 0)
            return self._check()
        mask = self._mask()
        while True:
            irqs = _sim.wait(deadline, mask)
            n = self._check()
            if n or irqs or (deadline >= 0 and _sim.ticks_us() >= deadline):
                return n

    def ipoll(self, timeout=-1, flags=0):
        return self._ready[self._wait(timeout)]

    def poll(self, timeout=-1):
        return [(pair[0], pair[1]) for pair in self.ipoll(timeout)]


def poll():
    return _Poll()
