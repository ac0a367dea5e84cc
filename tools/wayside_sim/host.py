"""The chip: what a board process asks for over the link, answered from the models. One instance lives through all of
a board's boots.

It runs in one thread and never waits by itself: `pump` serves the board process until it waits, `World.advance`
brings what wakes it.
"""

import errno
from collections import deque
from collections.abc import Callable

from wayside_sim import wire
from wayside_sim.clock import BoardClock
from wayside_sim.flash import Flash, PowerLost
from wayside_sim.i2c import I2CBus
from wayside_sim.operations import Answer, Operations
from wayside_sim.pins import Pins
from wayside_sim.process import BoardProcess, Request
from wayside_sim.profile import BoardProfile
from wayside_sim.truth import BoardLog
from wayside_sim.uart import Uart
from wayside_sim.wire import Cause
from wayside_sim.world import Event, World

HANG_S = 20.0
"""Host seconds after which a board process that neither asks nor waits is taken to hang (virtual time only)."""
IRQ_QUEUE_MAX = 256


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
        self.on_uart: Callable[[int, Uart], None] | None = None
        self.pins = Pins(profile.pins, self._edge)
        self.buses: dict[int, I2CBus] = {}
        self.uarts: dict[int, Uart] = {}
        self.adc: dict[int, Callable[[], int]] = {}
        self.process: BoardProcess | None = None
        self._wait: tuple[int, int] | None = None
        self._wake: Event | None = None
        self._boot: Event | None = None
        self._irqs: deque[tuple[int, int, int]] = deque()
        self.operations = Operations(self)

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
        self.operations.open_usb()
        self.process = BoardProcess(self.runtime, [str(c) for c in config], p.heap, self.extra)
        self.log.add("info", f"boot {self.boots}: {self.cause.name}, {self.runtime}")
        if self.runtime == "cpython" and self.boots == 1:
            self.log.add("warning", "this board runs on CPython, not on MicroPython")

    def _stop(self) -> None:
        if self.process is not None:
            self.printed()
            self.process.kill()
            self.process = None
        for event in (self._wake, self._boot):
            if event is not None:
                event.cancelled = True
        self._wake = self._boot = self._wait = None
        self.operations.reset()
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
            if self.world.virtual and not self.process.asks(HANG_S):
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
            answer = self.operations.table[request.op](request)
        except PowerLost as e:
            self.log.add("warning", f"power cut: {e}")
            self.power_off()
            return
        except OSError as e:
            answer = (-(e.errno or errno.EIO), b"")
        if answer is not None and process is self.process:
            self._reply(*answer)

    def _hangs(self) -> None:
        if (bite_us := self.operations.watchdog_us) is not None:
            self.world.advance(bite_us)
            return
        self.log.add("error", "the board process hangs and no watchdog runs")
        self.state = "hung"

    def _died(self) -> None:
        process = self.process
        assert process is not None
        self.printed()
        code = process.kill()
        self.process = None
        self.log.add("error", f"the board process ended with {code}")
        self._stop()
        self.state = "hung"

    def printed(self) -> None:
        """Take what the board printed: it comes out before whatever the board does next."""
        process = self.process
        while process is not None and (noise := process.output()):
            self.log.printed(noise)
            if self.on_noise is not None:
                self.on_noise(noise)

    def _reply(self, result: int, data: bytes) -> None:
        assert self.process is not None
        ready = 0
        for port, uart in self.uarts.items():
            ready |= (uart.readable << port) | (uart.writable << port + 8)
        now = self.clock.ticks_us(self.world.now_us)
        self.process.reply(result, len(data), ready, len(self._irqs), now, self.clock.generation, data=data)

    # Waiting and interrupts

    def reclock(self) -> None:
        """The board's clock has another rate: what waits for it is due at another time."""
        if self._wait is not None and self._wake is not None:
            self._wake.cancelled = True
            self._wake = self.world.at(self.clock.world_us(self._wait[0]), self.wake)
        self.operations.reclock()

    def wait(self, r: Request) -> Answer | None:
        """The board waits until `a` by its clock, or for the ports of the mask `b`, or for an interrupt."""
        self.printed()
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

    def interrupt(self, source: int) -> None:
        """Something interrupts the firmware, now."""
        if len(self._irqs) >= IRQ_QUEUE_MAX:
            self.log.add("error", "interrupt lost: the board does not take them")
            return
        self._irqs.append((source, self.clock.ticks_us(self.world.now_us), self.pins.levels))
        self.wake()

    def _edge(self, pin: int, flags: int) -> None:
        self.interrupt(pin | flags << 16)
