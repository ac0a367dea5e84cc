"""An I2C bus at the level of transactions: chips by address, what a transaction takes, and faults that can be put on
the bus."""

import errno
from collections.abc import Callable
from typing import Protocol

TIMEOUT_US = 50_000
"""MicroPython's default timeout of an I2C bus."""


class Chip(Protocol):
    """A chip on the bus. Addresses within it are the chip's own business."""

    def write(self, data: bytes) -> None:
        """The bytes of one write transaction after the address byte."""

    def read(self, size: int) -> bytes:
        """The bytes of one read transaction."""


class I2CBus:
    """`fault` may be set to an errno (EIO, ETIMEDOUT, ENODEV) to fail every transaction, or to a function of the
    address that returns one or 0."""

    def __init__(self) -> None:
        self.chips: dict[int, Chip] = {}
        self.freq_hz = 400_000
        self.fault: int | Callable[[int], int] = 0
        self.transactions = 0

    def transfer(self, address: int, out: bytes | None, size: int) -> tuple[int, bytes]:
        """Write `out` (unless None), then read `size` bytes after a repeated start. Returns an errno or 0, and what
        was read."""
        self.transactions += 1
        fault = self.fault(address) if callable(self.fault) else self.fault
        if fault:
            return fault, b""
        chip = self.chips.get(address)
        if chip is None:
            return errno.ENODEV, b""
        if out is not None:
            chip.write(out)
        return 0, chip.read(size) if size else b""

    def duration_us(self, sent: int, read: int, error: int = 0) -> int:
        """Time on the wire: 9 clocks a byte, an address byte for each direction, start and stop. A chip that is not
        there costs an address; a bus that hangs, the driver's patience."""
        if error == errno.ETIMEDOUT:
            return TIMEOUT_US
        clocks = 9 * (1 if error else sent + read + 1 + (1 if sent and read else 0)) + 2
        return clocks * 1_000_000 // self.freq_hz + 1
