"""`select.poll` on the simulated board. A stream is any object with ioctl(MP_STREAM_POLL, flags), as in MicroPython.

Iterating allocates nothing, as in the built-in one: `ipoll` gives the same object, and the same pair, every time.
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
        self._pair = [None, 0]
        self._at = 0

    def _find(self, obj):
        for e in self._entries:
            if e[0] is obj:
                return e
        return None

    def register(self, obj, eventmask=POLLIN | POLLOUT):
        e = self._find(obj)
        if e is None:
            self._entries.append([obj, eventmask, 0])
        else:
            e[1] = eventmask

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
        for e in self._entries:
            e[2] = e[0].ioctl(_MP_STREAM_POLL, e[1])
            if e[2]:
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
        self._wait(timeout)
        self._at = 0
        return self

    def __iter__(self):
        return self

    def __next__(self):
        entries = self._entries
        i = self._at
        while i < len(entries):
            e = entries[i]
            i += 1
            if e[2]:
                # The entry may be unregistered while it is being served, which moves the next one into its place.
                self._pair[0] = e[0]
                self._pair[1] = e[2]
                e[2] = 0
                self._at = 0
                return self._pair
        raise StopIteration

    def poll(self, timeout=-1):
        self._wait(timeout)
        return [(e[0], e[2]) for e in self._entries if e[2]]


def poll():
    return _Poll()
