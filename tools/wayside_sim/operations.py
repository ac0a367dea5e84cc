"""What a board process asks for, answered from the models: an answer is a result, or a negative errno, and bytes."""

import errno
from collections.abc import Callable
from typing import TYPE_CHECKING

from wayside_sim import wire
from wayside_sim.i2c import I2CBus
from wayside_sim.process import Request
from wayside_sim.uart import Uart
from wayside_sim.wire import Cause, Op
from wayside_sim.world import Event

if TYPE_CHECKING:
    from wayside_sim.host import Host

Answer = tuple[int, bytes]
NOTHING: Answer = (0, b"")
CTRL_C = 3
USB_BYTES_PER_S = 1_000_000
"""Full speed USB's bulk transfers carry 1.2 MB/s at best."""
USB_BUFFER = 512
"""Bytes of MicroPython's stdin buffer, and of TinyUSB's transmit FIFO on RP2040."""
EPOCHS = {1970: 0, 2000: 946_684_800}


class Operations:
    """`table` has the answer of each operation; one that answers None is answered later, or never."""

    def __init__(self, host: "Host") -> None:
        self._host = host
        self._world, self._clock = host.world, host.clock
        self._wdt: Event | None = None
        self._wdt_us = 0
        self._starves_ticks = 0
        self._timers: dict[int, Event] = {}
        self.table = self._operations()

    def reset(self) -> None:
        """The chip was reset: no watchdog runs, and no timer."""
        for event in (self._wdt, *self._timers.values()):
            if event is not None:
                event.cancelled = True
        self._wdt = None
        self._wdt_us = 0
        self._timers.clear()

    @property
    def watchdog_us(self) -> int | None:
        """World time at which the watchdog bites, if one runs."""
        return self._wdt.at_us if self._wdt is not None else None

    def _operations(self) -> dict[int, Callable[[Request], Answer | None]]:
        host = self._host
        return {
            Op.HELLO: lambda r: NOTHING,
            Op.WAIT: host.wait,
            Op.CLOCK: lambda r: (0, wire.IRQ.pack(*host.clock.words())),
            Op.RTC: self._op_rtc,
            Op.RTC_SET: self._op_rtc_set,
            Op.RESET: self._op_reset,
            Op.WDT_START: self._op_wdt_start,
            Op.WDT_FEED: self._op_wdt_feed,
            Op.PIN_SET: self._op_pin_set,
            Op.PIN_GET: lambda r: (host.pins.level(r.a), b""),
            Op.PIN_IRQ: self._op_pin_irq,
            Op.TIMER: self._op_timer,
            Op.ADC: self._op_adc,
            Op.I2C_SCAN: self._op_i2c_scan,
            Op.I2C_WRITE: lambda r: self._transfer(r.a, r.b, r.data, 0),
            Op.I2C_READ: lambda r: self._transfer(r.a, r.b, None, r.c),
            Op.I2C_MEM_WRITE: lambda r: self._transfer(r.a >> 8, r.a & 0xFF, self._memory(r.b) + r.data, 0),
            Op.I2C_MEM_READ: lambda r: self._transfer(r.a >> 8, r.a & 0xFF, self._memory(r.b), r.c),
            Op.UART_OPEN: self._op_uart_open,
            Op.UART_WRITE: self._op_uart_write,
            Op.UART_READ: lambda r: self._bytes(host.uarts[r.a].read(r.b)),
            Op.UART_ANY: lambda r: (host.uarts[r.a].waiting, b""),
            Op.UART_DRAINED: lambda r: (host.uarts[r.a].drain_us(), b""),
            Op.KBD_INTR: self._op_kbd_intr,
            Op.FLASH_PROGRAM: lambda r: self._spend(host.flash.program(r.a, r.b, r.data)),
            Op.FLASH_ERASE: lambda r: self._spend(host.flash.erase(r.a)),
        }

    def _spend(self, us: int) -> Answer:
        """The chip is busy for so long."""
        if self._world.virtual:
            self._world.advance(self._world.now_us + us)
        return NOTHING

    @staticmethod
    def _bytes(data: bytes) -> Answer:
        return len(data), data

    @staticmethod
    def _memory(word: int) -> bytes:
        return (word & 0xFFFF).to_bytes(max(1, word >> 19), "big")

    def _op_rtc(self, r: Request) -> Answer:
        epoch = EPOCHS[self._host.profile.epoch]
        return 0, wire.IRQ.pack(self._clock.rtc_us(self._world.now_us) - epoch * 1_000_000, epoch, 0)[:16]

    def _op_rtc_set(self, r: Request) -> Answer:
        self._clock.set_rtc((r.a + EPOCHS[self._host.profile.epoch]) * 1_000_000)
        return NOTHING

    def _op_reset(self, r: Request) -> None:
        self._host.reset(Cause(r.a), max(0, r.b) * 1000)

    def _op_wdt_start(self, r: Request) -> Answer:
        self._wdt_us = r.a * 1000
        return self._op_wdt_feed(r)

    def _op_wdt_feed(self, r: Request) -> Answer:
        self._starves_ticks = self._ticks() + self._wdt_us
        self.reclock()
        return NOTHING

    def reclock(self) -> None:
        """Set the watchdog's alarm by the board's clock as it now is."""
        if self._wdt is not None:
            self._wdt.cancelled = True
        if self._wdt_us:
            self._wdt = self._world.at(self._clock.world_us(self._starves_ticks), self._bite)

    def _ticks(self) -> int:
        return self._clock.ticks_us(self._world.now_us)

    def _bite(self) -> None:
        self._host.log.add("warning", "the watchdog starved")
        self._host.reset(Cause.WDT)

    def _op_pin_set(self, r: Request) -> Answer:
        if not self._host.pins.has(r.a):
            return -errno.EINVAL, b""
        if r.b == -2:
            self._host.pins.output(r.a, r.c)
        else:
            self._host.pins.configure(r.a, r.b, r.c)
        return NOTHING

    def _op_pin_irq(self, r: Request) -> Answer:
        self._host.pins.interrupt(r.a, r.b)
        return NOTHING

    def _op_timer(self, r: Request) -> Answer:
        old = self._timers.pop(r.a, None)
        if old is not None:
            old.cancelled = True
        if r.b > 0:
            self._arm(r.a, r.b, periodic=bool(r.c), at_ticks=self._ticks() + r.b)
        return NOTHING

    def _arm(self, number: int, period_us: int, *, periodic: bool, at_ticks: int) -> None:
        def fire() -> None:
            self._host.interrupt(wire.TIMERS + number)
            if periodic:
                self._arm(number, period_us, periodic=True, at_ticks=at_ticks + period_us)

        self._timers[number] = self._world.at(self._clock.world_us(at_ticks), fire)

    def _op_adc(self, r: Request) -> Answer:
        source = self._host.adc.get(r.a)
        return (max(0, min(65_535, source())), b"") if source else NOTHING

    def _op_i2c_scan(self, r: Request) -> Answer:
        bus = self._host.buses.setdefault(r.a, I2CBus())
        if r.c:
            bus.freq_hz = r.b
            return NOTHING
        if bus.fault and not callable(bus.fault):
            return -bus.fault, b""
        return self._bytes(bytes(sorted(a for a in bus.chips if not (callable(bus.fault) and bus.fault(a)))))

    def _transfer(self, number: int, address: int, out: bytes | None, size: int) -> Answer:
        bus = self._host.buses[number]
        error, data = bus.transfer(address, out, size)
        self._spend(bus.duration_us(len(out or b""), size, error))
        return (-error, b"") if error else (len(out or b""), data)

    def _op_uart_open(self, r: Request) -> Answer:
        uart = self._host.uarts.get(r.a)
        if uart is None:
            uart = self._host.uarts[r.a] = Uart(self._world, self._host.wake)
        if r.b == 0:
            uart.close()
        else:
            uart.open(r.b, r.c >> 48, r.c >> 24 & 0xFFFFFF, r.c & 0xFFFFFF)
            self._connected(r.a, uart)
        return NOTHING

    def open_usb(self) -> None:
        """The USB port is there from the boot on."""
        usb = self._host.uarts.get(wire.USB_PORT)
        if usb is None:
            usb = self._host.uarts[wire.USB_PORT] = Uart(self._world, self._host.wake, holds=True)
            usb.on_break = lambda: self._host.interrupt(wire.BREAK)
        usb.break_char = CTRL_C
        usb.open(USB_BYTES_PER_S, 1, USB_BUFFER, USB_BUFFER)
        self._connected(wire.USB_PORT, usb)

    def _op_kbd_intr(self, r: Request) -> Answer:
        self._host.uarts[wire.USB_PORT].break_char = r.a
        return NOTHING

    def _op_uart_write(self, r: Request) -> Answer:
        self._host.printed()
        return self._host.uarts[r.a].write(r.data), b""

    def _connected(self, port: int, uart: Uart) -> None:
        if self._host.on_uart is not None:
            self._host.on_uart(port, uart)
