"""A simulated board: start it, cut its power, plug and unplug it, and ask what really happened.

Two ways to run it:

- in real time (or `speed` times as fast) in a thread of its own, its serial port a PTY: `start()` … `stop()`;
- in virtual time (`World(virtual=True)`), in the caller's thread and the same every time: `start()`, then
  `run(seconds)`; the serial port's other end is `uart_sink` and `feed()`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from wayside_sim import build, image
from wayside_sim.beams import Beams, Walker
from wayside_sim.chips.bme280 import BME280, Environment
from wayside_sim.clock import BoardClock
from wayside_sim.flash import Flash
from wayside_sim.host import Host
from wayside_sim.i2c import Chip, I2CBus
from wayside_sim.live import LiveThread
from wayside_sim.process import default_runtime, micropython_folder
from wayside_sim.profile import BoardProfile
from wayside_sim.provision import node_files
from wayside_sim.pty_port import PtyPort
from wayside_sim.truth import Truth
from wayside_sim.uart import Uart
from wayside_sim.wire import Cause
from wayside_sim.world import World

T = TypeVar("T")


def _indoors(world_us: int) -> tuple[float, float, float]:
    """The air where nobody said how it is: °C, %RH, hPa."""
    return 21.5, 45.0, 1013.25


class SimulatedBoard:
    """One board. `files` are put on its flash before the first boot, by their path there; `firmware` are the sources
    to compile and flash, by their name on the board (default: the project's firmware). With `node` and `key` it is
    provisioned as that node, with `settings` that differ from the defaults. An image found in `workdir` is used as it
    is."""

    def __init__(
        self,
        *,
        workdir: Path,
        name: str = "board",
        runtime: str | None = None,
        profile: BoardProfile | None = None,
        firmware: Mapping[str, Path] | None = None,
        files: Mapping[str, bytes] | None = None,
        node: int | None = None,
        key: bytes | None = None,
        settings: Mapping[str, int] | None = None,
        environment: Environment = _indoors,
        walkers: Iterable[Walker] = (),
        world: World | None = None,
        speed: float = 1.0,
        drift: float = 0.0,
    ) -> None:
        runtime = runtime or default_runtime()
        if runtime not in ("micropython", "cpython"):
            raise ValueError("runtime is micropython or cpython")
        if runtime == "micropython" and micropython_folder() is None:
            raise RuntimeError("MicroPython's unix port is not installed; use runtime='cpython'")
        self.runtime = runtime
        self.workdir = workdir
        self.name = name
        self.profile = profile or BoardProfile()
        self.world = world or World(speed=speed)
        self.truth = Truth()
        self.uart_sink: Callable[[bytes], None] | None = None
        workdir.mkdir(parents=True, exist_ok=True)
        path = workdir / "flash.img"
        sources = dict(build.firmware_sources() if firmware is None else firmware)
        if not path.exists():
            content = _content(sources) | dict(files or {})
            if node is not None:
                content |= node_files(node, key or b"", settings)
            image.make(path, self.profile, content)
        self.flash = Flash(
            path, blocks=self.profile.blocks, block_size=self.profile.block_size, timing=self.profile.timing
        )
        p = self.profile
        self.clock = BoardClock(self.world, drift=drift, rtc_start_unix=p.rtc_start_unix, battery=p.rtc_battery)
        extra = [f"{board}={source}" for board, source in sources.items()] if runtime == "cpython" else []
        self.host = Host(self.world, self.profile, self.flash, self.clock, runtime, extra)
        self.host.on_uart = self._connect
        self.host.on_noise = self._noise
        self.host.on_power = self._power_chips
        self.log = self.host.log
        self.tty = workdir / "tty"
        self.pty: PtyPort | None = None if self.world.virtual else PtyPort(self.tty)
        self.bme280 = BME280(lambda: self.world.now_us, environment, truth=self.truth, board_us=self._board_us)
        self.attach(self.bme280, address=p.bme280_address, bus=p.i2c)
        self.beams = Beams(self.world, self.host.pins, self.truth, p.beam_pins, p.beam_blocked)
        self.beams.walk_all(walkers)
        self._link: Uart | None = None
        self._live = LiveThread(name, self.world, self.host, self.pty, self._hear)
        self._closed = False

    # What is on the board

    def attach(self, chip: Chip, *, address: int, bus: int = 0) -> None:
        """Put a chip on an I2C bus."""
        self.host.buses.setdefault(bus, I2CBus()).chips[address] = chip

    def _power_chips(self) -> None:
        self.bme280.power_on()

    def _board_us(self, world_us: int) -> tuple[int, int]:
        return self.clock.ticks_us(world_us), self.host.boots

    # Power and reset

    def start(self) -> None:
        """Switch the power on (and, in real time, start the board's thread)."""
        if self.world.virtual:
            self.host.power_on()
            return
        self._live.start()
        self.do(self.host.power_on)

    def stop(self) -> None:
        """Switch everything off and let go of the PTY; the flash image stays."""
        self.do(self.host.power_off)
        self._live.stop()
        if self.pty is not None:
            self.pty.unplug()

    def close(self) -> None:
        """Stop for good."""
        if self._closed:
            return
        self._closed = True
        try:
            self.stop()
        finally:
            self.flash.close()
            self._live.close()

    def __enter__(self) -> "SimulatedBoard":
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def kill(self) -> None:
        """Cut the power now. `power_on` brings it back."""
        self.do(self.host.power_off)

    def power_on(self) -> None:
        self.do(self.host.power_on)

    def reset(self, cause: Cause = Cause.HARD) -> None:
        """Reset the chip from outside."""
        self.do(lambda: self.host.reset(cause))

    def files(self) -> dict[str, bytes]:
        """What is on the flash, by path. The board must be off, or between two writes."""
        return self.do(lambda: image.read(self.flash.path, self.profile))

    @property
    def state(self) -> str:
        """`off`, `on`, or `hung`: it computes for ever, or its process has ended."""
        return self.host.state

    @property
    def boots(self) -> int:
        return self.host.boots

    # The serial port

    def unplug(self) -> None:
        """Pull the serial cable; the board keeps its power."""
        if self.pty is not None:
            self.do(self.pty.unplug)

    def plug(self) -> None:
        """Put the cable back; the port most likely has another number, `tty` points to it."""
        if self.pty is not None:
            self.do(self.pty.plug)

    def feed(self, data: bytes) -> None:
        """Send bytes to the board's link."""
        self.do(lambda: self._hear(data))

    def _hear(self, data: bytes) -> None:
        if self._link is not None:
            self._link.feed(data)

    def _connect(self, port: int, uart: Uart) -> None:
        if port == self.profile.link:
            self._link = uart
            uart.sink = self._sent

    def _sent(self, data: bytes) -> None:
        if self.uart_sink is not None:
            self.uart_sink(data)
        if self.pty is not None:
            self.pty.write(data)

    def _noise(self, data: bytes) -> None:
        if self._link is not None and self._link.is_open:
            self._link.inject(data)
        else:
            self._sent(data)

    def do(self, act: Callable[[], T]) -> T:
        """Do something to the board's models: in its thread where it has one."""
        return self._live.do(act)

    # Time

    def run(self, seconds: float) -> None:
        """Virtual time: let the world go on for so long."""
        run_world([self], self.world.now_us + int(seconds * 1e6))

    def run_until(self, done: Callable[[], bool], timeout_s: float) -> None:
        """Virtual time: let the world go on until something is so. Raises TimeoutError after so many seconds of the
        world."""
        run_world([self], self.world.now_us + int(timeout_s * 1e6), done)
        if not done():
            raise TimeoutError(f"not within {timeout_s} s of the world\n{self.log}")

    def set_drift(self, drift: float) -> None:
        """From now on the board's clock gains so much: 0.1 is 10 % fast."""

        def act() -> None:
            self.clock.drift = drift
            self.host.reclock()

        self.do(act)

    def set_rtc(self, unix_s: float) -> None:
        """Set the board's RTC, right or wrong."""
        self.do(lambda: self.clock.set_rtc(int(unix_s * 1e6)))


def run_world(boards: Sequence[SimulatedBoard], until_us: int, done: Callable[[], bool] | None = None) -> None:
    """Virtual time: let boards that share a world go on until a world time, or until `done` says so."""
    world = boards[0].world
    while done is None or not done():
        for board in boards:
            board.host.pump()
        if world.now_us >= until_us:
            return
        due = world.next_us()
        world.advance(until_us if due is None or due > until_us else due)


def _content(sources: Mapping[str, Path]) -> dict[str, bytes]:
    folder = build.compile_tree(dict(sources))
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
