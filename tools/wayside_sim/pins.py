"""Pins: who drives them, what level they are at, and which edges interrupt.

A pin's level is what the board drives, else what is wired to it drives, else its pull, else 0.
"""

from collections.abc import Callable

IN, OUT, OPEN_DRAIN = 0, 1, 2
PULL_UP = 1
RISING, FALLING = 1, 2


class Pins:
    """`on_edge(pin, flags)` is called for each edge that the firmware asked to be interrupted by."""

    def __init__(self, count: int, on_edge: Callable[[int, int], None]) -> None:
        self.count = count
        self.levels = 0
        self._on_edge = on_edge
        self._wired: dict[int, int] = {}
        self._listeners: dict[int, Callable[[int], None]] = {}
        self.reset()

    def reset(self) -> None:
        """The chip was reset: all pins are inputs again; what is wired to them stays."""
        self._mode: dict[int, int] = {}
        self._pull: dict[int, int] = {}
        self._out: dict[int, int] = {}
        self._trigger: dict[int, int] = {}
        for pin in range(self.count):
            self._settle(pin)

    def has(self, pin: int) -> bool:
        return 0 <= pin < self.count

    def configure(self, pin: int, mode: int, pull: int) -> None:
        if mode >= 0:
            self._mode[pin] = mode
        if pull >= 0:
            self._pull[pin] = pull
        self._settle(pin)

    def output(self, pin: int, level: int) -> None:
        """The firmware writes a level."""
        self._out[pin] = level
        self._settle(pin)

    def interrupt(self, pin: int, trigger: int) -> None:
        self._trigger[pin] = trigger

    def drive(self, pin: int, level: int | None) -> None:
        """What is wired to the pin drives it (None: lets go)."""
        if level is None:
            self._wired.pop(pin, None)
        else:
            self._wired[pin] = level
        self._settle(pin)

    def listen(self, pin: int, listener: Callable[[int], None]) -> None:
        """Have a chip told of every new level of a pin."""
        self._listeners[pin] = listener

    def level(self, pin: int) -> int:
        return self.levels >> pin & 1

    def _settle(self, pin: int) -> None:
        mode = self._mode.get(pin, IN)
        if mode == OUT or (mode == OPEN_DRAIN and not self._out.get(pin, 0)):
            level = self._out.get(pin, 0)
        else:
            level = self._wired.get(pin, 1 if self._pull.get(pin) == PULL_UP else 0)
        if level == self.level(pin):
            return
        self.levels ^= 1 << pin
        if pin in self._listeners:
            self._listeners[pin](level)
        edge = RISING if level else FALLING
        if self._trigger.get(pin, 0) & edge:
            self._on_edge(pin, edge)
