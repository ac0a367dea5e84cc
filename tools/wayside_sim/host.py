"""The chip: what a board process asks for over the link, answered from the models. One instance lives through all of
a board's boots.

It runs in one thread and never waits by itself: `pump` serves the board process until it waits, `World.advance`
brings what wakes it.
"""

import errno
import select
import time
from collections import deque
from collections.abc import Callable

from wayside_sim import wire
from wayside_sim.clock import BoardClock
from wayside_sim.flash import Flash, PowerLost
from wayside_sim.i2c import I2CBus
from wayside_sim.pins import Pins
from wayside_sim.process import BoardProcess, Request
from wayside_sim.profile import BoardProfile
from wayside_sim.truth import BoardLog
from wayside_sim.uart import Uart
from wayside_sim.wire import Cause, Op
from wayside_sim.world import Event, World

Answer = tuple[int, bytes]

HANG_S = 20.0
"""Host seconds after which a board process that neither asks nor waits is taken to hang (virtual time only)."""
IRQ_QUEUE_MAX = 256
CTRL_C = 3
USB_BYTES_PER_S = 1_000_000
"""Full speed USB's bulk transfers carry 1.2 MB/s at best."""
USB_BUFFER = 512
"""Bytes of MicroPython's stdin buffer, and of TinyUSB's transmit FIFO on RP2040."""
EPOCHS = {1970: 0, 2000: 946_684_800}
_NOTHING: Answer = (0, b"")


class Host:
    """`state`: off, on, hung (the firmware computes for ever and no watchdog runs)."""

    def __init__(
        self, world: World, profile: BoardProfile, flash: Flash, clock: BoardClock, runtime: str, extra: list[str]
    ) -> None:
        self.world, self.profile, self.flash, self.clock = world, profile, flash, clock
        self.runtime, self.extra = runtime, extra
        self.log = BoardLog(world)
        self.state = "off"
        self.boots = 0
        self.cause = Cause.PWRON
        self.requests = 0
        self.on_noise: Callable[[bytes], None] | None = None
        self.on_power: Callable[[], None] | None = None
        self.pins = Pins(profile.pins, self._edge)
        self.buses: dict[int, I2CBus] = {}
        self.uarts: dict[int, Uart] = {}
        self.adc: dict[int, Callable[[], int]] = {}
        self.process: BoardProcess | None = None
        self._wait: tuple[int, int] | None = None
        self._wake: Event | None = None
        self._wdt: Event | None = None
        self._wdt_us = 0
        self._boot: Event | None = None
        self._timers: dict[int, Event] = {}
        self._irqs: deque[tuple[int, int, int]] = deque()
        self._table = self._operations()

    # Power

    def power_on(self, cause: Cause = Cause.PWRON) -> None:
        """Start a boot; the firmware's first line runs `boot_ms` later."""
        if self.state == "off":
            self.state = "on"
            self.cause = cause
            if self.on_power is not None:
                self.on_power()
            self._boot = self.world.after(self.profile.boot_ms * 1000, self._start)

    def power_off(self) -> None:
        """The power goes, now."""
        self._stop()
        self.state = "off"

    def reset(self, cause: Cause, after_us: int = 0) -> None:
        """Reset the chip; everything but the flash and the RTC forgets."""
        self.log.add("info", f"reset: {cause.name}")
        self._stop()
        self.state = "on"
        self.cause = cause
        self._boot = self.world.after(self.profile.boot_ms * 1000 + after_us, self._start)

    def _start(self) -> None:
        self._boot = None
        self.boots += 1
        self.clock.boot(power_on=self.cause == Cause.PWRON)
        p, t = self.profile, self.profile.timing
        config: list[object] = [
            "virtual" if self.world.virtual else "real",
            int(self.cause),
            p.unique_id.hex(),
            p.cpu_hz,
        ]
        config += [self.flash.path.absolute(), p.blocks, p.block_size, t.read_us, t.read_ns_per_byte, p.program_size]
        self._open_usb()
        self.process = BoardProcess(self.runtime, [str(c) for c in config], p.heap, self.extra)
        self.log.add("info", f"boot {self.boots}: {self.cause.name}, {self.runtime}")
        if self.runtime == "cpython" and self.boots == 1:
            self.log.add("warning", "this board runs on CPython, not on MicroPython")

    def _stop(self) -> None:
        if self.process is not None:
            self._print()
            self.process.kill()
            self.process = None
        for event in (self._wake, self._wdt, self._boot, *self._timers.values()):
            if event is not None:
                event.cancelled = True
        self._wake = self._wdt = self._boot = self._wait = None
        self._timers.clear()
        self._irqs.clear()
        for uart in self.uarts.values():
            uart.close()
        self.pins.reset()

    # Serving the process

    @property
    def waiting(self) -> bool:
        """Whether only time or an event can get the board going."""
        return self.process is None or self._wait is not None or self.state == "hung"

    def pump(self) -> None:
        """Serve the process until it waits."""
        while not self.waiting and self.process is not None:
            if self.world.virtual and not self._asks(self.process, HANG_S):
                self._hangs()
                return
            self.serve_one()

    def serve_one(self) -> None:
        """Take one request and answer it."""
        process = self.process
        if process is None:
            return
        request = process.request()
        if request is None:
            self._died()
            return
        self.requests += 1
        if request.lag_us and self.world.virtual:
            self.world.advance(self.world.now_us + request.lag_us)
            if process is not self.process:
                return
        try:
            answer = self._table[request.op](request)
        except PowerLost as e:
            self.log.add("warning", f"power cut: {e}")
            self.power_off()
            return
        except OSError as e:
            answer = (-(e.errno or errno.EIO), b"")
        if answer is not None and process is self.process:
            self._reply(*answer)

    def _asks(self, process: BoardProcess, seconds: float) -> bool:
        poll = select.poll()
        poll.register(process.request_fd, select.POLLIN)
        until = time.monotonic() + seconds
        while not poll.poll(1000):
            if time.monotonic() > until:
                return False
        return True

    def _hangs(self) -> None:
        if self._wdt is not None:
            self.world.advance(self._wdt.at_us)
            return
        self.log.add("error", "the board process hangs and no watchdog runs")
        self.state = "hung"

    def _died(self) -> None:
        process = self.process
        assert process is not None
        self._print()
        code = process.kill()
        self.process = None
        self.log.add("error", f"the board process ended with {code}")
        self._stop()
        self.state = "hung"

    def _print(self) -> None:
        process = self.process
        while process is not None and (noise := process.output()):
            self.log.printed(noise)
            if self.on_noise is not None:
                self.on_noise(noise)

    def printed(self) -> None:
        """Take what the board printed."""
        self._print()

    def _reply(self, result: int, data: bytes) -> None:
        assert self.process is not None
        ready = 0
        for port, uart in self.uarts.items():
            ready |= (uart.readable << port) | (uart.writable << port + 8)
        now = self.clock.ticks_us(self.world.now_us)
        self.process.reply(result, len(data), ready, len(self._irqs), now, self.clock.generation, data=data)

    # Waiting and interrupts

    def _op_wait(self, r: Request) -> Answer | None:
        self._print()
        self._wait = (r.a, r.b)
        if self._due():
            self._wait = None
            return 0, self._interrupts()
        if r.a >= 0:
            self._wake = self.world.at(self.clock.world_us(r.a), self.wake)
        return None

    def _due(self) -> bool:
        assert self._wait is not None
        deadline, mask = self._wait
        if self._irqs or (deadline >= 0 and self.clock.ticks_us(self.world.now_us) >= deadline):
            return True
        return any(
            (mask >> port & 1 and uart.readable) or (mask >> port + 8 & 1 and uart.writable)
            for port, uart in self.uarts.items()
        )

    def wake(self) -> None:
        """Something happened: answer the waiting board if it was that."""
        if self._wait is None or not self._due():
            return
        if self._wake is not None:
            self._wake.cancelled = True
        self._wake = self._wait = None
        self._reply(0, self._interrupts())

    def _interrupts(self) -> bytes:
        told = [self._irqs.popleft() for _ in range(min(len(self._irqs), wire.IRQ_MAX))]
        return b"".join(wire.IRQ.pack(*irq) for irq in told)

    def _interrupt(self, source: int) -> None:
        if len(self._irqs) >= IRQ_QUEUE_MAX:
            self.log.add("error", "interrupt lost: the board does not take them")
            return
        self._irqs.append((source, self.clock.ticks_us(self.world.now_us), self.pins.levels))
        self.wake()

    def _edge(self, pin: int, flags: int) -> None:
        self._interrupt(pin | flags << 16)

    # Operations; each returns (result, bytes), or None when the answer comes later or never

    def _operations(self) -> dict[int, Callable[[Request], Answer | None]]:
        return {
            Op.HELLO: lambda r: _NOTHING,
            Op.WAIT: self._op_wait,
            Op.CLOCK: lambda r: (0, wire.IRQ.pack(*self.clock.words())),
            Op.RTC: self._op_rtc,
            Op.RTC_SET: self._op_rtc_set,
            Op.RESET: self._op_reset,
            Op.WDT_START: self._op_wdt_start,
            Op.WDT_FEED: self._op_wdt_feed,
            Op.PIN_SET: self._op_pin_set,
            Op.PIN_GET: lambda r: (self.pins.level(r.a), b""),
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
            Op.UART_READ: lambda r: self._bytes(self.uarts[r.a].read(r.b)),
            Op.UART_ANY: lambda r: (self.uarts[r.a].waiting, b""),
            Op.UART_DRAINED: lambda r: (self.uarts[r.a].drain_us(), b""),
            Op.KBD_INTR: self._op_kbd_intr,
            Op.FLASH_PROGRAM: lambda r: self._spend(self.flash.program(r.a, r.b, r.data)),
            Op.FLASH_ERASE: lambda r: self._spend(self.flash.erase(r.a)),
        }

    def _spend(self, us: int) -> Answer:
        """The chip is busy for so long."""
        if self.world.virtual:
            self.world.advance(self.world.now_us + us)
        return _NOTHING

    @staticmethod
    def _bytes(data: bytes) -> Answer:
        return len(data), data

    @staticmethod
    def _memory(word: int) -> bytes:
        return (word & 0xFFFF).to_bytes(max(1, word >> 19), "big")

    def _op_rtc(self, r: Request) -> Answer:
        epoch = EPOCHS[self.profile.epoch]
        return 0, wire.IRQ.pack(self.clock.rtc_us(self.world.now_us) - epoch * 1_000_000, epoch, 0)[:16]

    def _op_rtc_set(self, r: Request) -> Answer:
        self.clock.set_rtc((r.a + EPOCHS[self.profile.epoch]) * 1_000_000)
        return _NOTHING

    def _op_reset(self, r: Request) -> None:
        self.reset(Cause(r.a), max(0, r.b) * 1000)

    def _op_wdt_start(self, r: Request) -> Answer:
        self._wdt_us = r.a * 1000
        return self._op_wdt_feed(r)

    def _op_wdt_feed(self, r: Request) -> Answer:
        if self._wdt is not None:
            self._wdt.cancelled = True
        if self._wdt_us:
            self._wdt = self.world.at(
                self.clock.world_us(self.clock.ticks_us(self.world.now_us) + self._wdt_us), self._bite
            )
        return _NOTHING

    def _bite(self) -> None:
        self.log.add("warning", "the watchdog starved")
        self.reset(Cause.WDT)

    def _op_pin_set(self, r: Request) -> Answer:
        if not self.pins.has(r.a):
            return -errno.EINVAL, b""
        if r.b == -2:
            self.pins.output(r.a, r.c)
        else:
            self.pins.configure(r.a, r.b, r.c)
        return _NOTHING

    def _op_pin_irq(self, r: Request) -> Answer:
        self.pins.interrupt(r.a, r.b)
        return _NOTHING

    def _op_timer(self, r: Request) -> Answer:
        old = self._timers.pop(r.a, None)
        if old is not None:
            old.cancelled = True
        if r.b > 0:
            self._arm(r.a, r.b, periodic=bool(r.c), at_ticks=self.clock.ticks_us(self.world.now_us) + r.b)
        return _NOTHING

    def _arm(self, number: int, period_us: int, *, periodic: bool, at_ticks: int) -> None:
        def fire() -> None:
            self._interrupt(wire.TIMERS + number)
            if periodic:
                self._arm(number, period_us, periodic=True, at_ticks=at_ticks + period_us)

        self._timers[number] = self.world.at(self.clock.world_us(at_ticks), fire)

    def _op_adc(self, r: Request) -> Answer:
        source = self.adc.get(r.a)
        return (max(0, min(65_535, source())), b"") if source else _NOTHING

    def _op_i2c_scan(self, r: Request) -> Answer:
        bus = self.buses.setdefault(r.a, I2CBus())
        if r.c:
            bus.freq_hz = r.b
            return _NOTHING
        if bus.fault and not callable(bus.fault):
            return -bus.fault, b""
        return self._bytes(bytes(sorted(a for a in bus.chips if not (callable(bus.fault) and bus.fault(a)))))

    def _transfer(self, number: int, address: int, out: bytes | None, size: int) -> Answer:
        bus = self.buses[number]
        error, data = bus.transfer(address, out, size)
        self._spend(bus.duration_us(len(out or b""), size) if not error else 100)
        return (-error, b"") if error else (len(out or b""), data)

    def _op_uart_open(self, r: Request) -> Answer:
        uart = self.uarts.get(r.a)
        if uart is None:
            uart = self.uarts[r.a] = Uart(self.world, self.wake)
        if r.b == 0:
            uart.close()
        else:
            uart.open(r.b, r.c >> 48, r.c >> 24 & 0xFFFFFF, r.c & 0xFFFFFF)
            self.on_uart(r.a, uart)
        return _NOTHING

    def on_uart(self, port: int, uart: Uart) -> None:
        """A port was opened; `SimulatedBoard` connects its other end."""

    def _open_usb(self) -> None:
        usb = self.uarts.get(wire.USB_PORT)
        if usb is None:
            usb = self.uarts[wire.USB_PORT] = Uart(self.world, self.wake, holds=True)
            usb.on_break = lambda: self._interrupt(wire.BREAK)
        usb.break_char = CTRL_C
        usb.open(USB_BYTES_PER_S, 1, USB_BUFFER, USB_BUFFER)
        self.on_uart(wire.USB_PORT, usb)

    def _op_kbd_intr(self, r: Request) -> Answer:
        self.uarts[wire.USB_PORT].break_char = r.a
        return _NOTHING

    def _op_uart_write(self, r: Request) -> Answer:
        self._print()
        return self.uarts[r.a].write(r.data), b""
