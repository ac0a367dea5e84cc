"""Numbers of the link between a board process and its host. The board's side of them is in shims/; a test holds both
together.

A request is six signed 64-bit words ``op, a, b, c, n, lag_us`` and n bytes. A reply is six words ``result, n, ready,
irqs, now_us, generation`` and n bytes: ``result`` is the operation's, or a negative errno; ``ready`` has bit p for
"port p has bytes to read" and bit 8+p for "port p takes bytes"; ``now_us`` is the board's clock; a new ``generation``
says that the clock's rate has changed and CLOCK must be asked.
"""

import struct
from enum import IntEnum

HEADER = struct.Struct("<6q")
IRQ = struct.Struct("<3q")
"""source | flags << 16, the board's clock at the event in µs, the level of every pin at the event."""
IRQ_MAX = 16
"""Interrupts told in one reply; the rest come with the next."""
RATE_BITS = 20
"""CLOCK tells mono_us, ticks_us and the clock's rate times 2**20."""
TIMERS = 0x100
"""Interrupt sources from here on are timers; below are pins."""
BREAK = 0x200
"""Interrupt source of the byte that interrupts the program (Ctrl-C)."""
USB_PORT = 7
"""Port number of the USB serial port; below are the UARTs."""


class Op(IntEnum):
    """What a board process asks for."""

    HELLO = 0
    WAIT = 1
    CLOCK = 2
    RTC = 3
    RTC_SET = 4
    RESET = 5
    WDT_START = 6
    WDT_FEED = 7
    PIN_SET = 8
    PIN_GET = 9
    PIN_IRQ = 10
    TIMER = 11
    ADC = 12
    I2C_SCAN = 16
    I2C_WRITE = 17
    I2C_READ = 18
    I2C_MEM_WRITE = 19
    I2C_MEM_READ = 20
    UART_OPEN = 24
    UART_WRITE = 25
    UART_READ = 26
    UART_ANY = 27
    UART_DRAINED = 28
    KBD_INTR = 29
    FLASH_PROGRAM = 32
    FLASH_ERASE = 33


class Cause(IntEnum):
    """Reset causes, numbered as MicroPython's `machine` numbers them."""

    PWRON = 1
    HARD = 2
    WDT = 3
    DEEPSLEEP = 4
    SOFT = 5
