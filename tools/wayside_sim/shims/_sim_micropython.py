"""`micropython` on the simulated board: the built-in one, but Ctrl-C comes from the board's USB serial port."""

import micropython as _real

import _sim

_OP_KBD_INTR = 29
_BREAK = 0x200


class _Break:
    def _fire(self, flags):
        raise KeyboardInterrupt


_sim.handlers[_BREAK] = _Break()


def kbd_intr(chr):
    """The byte that interrupts the program when it comes in, -1 for none; 3 at the start."""
    _sim.call(_OP_KBD_INTR, chr, 0, 0, None, 0, None)


def __getattr__(name):
    return getattr(_real, name)
