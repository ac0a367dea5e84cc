"""The simulated board as firmware sees it: small programs of our own, in virtual time."""

import calendar
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from wayside_sim.board import SimulatedBoard, run_world
from wayside_sim.flash import FlashOp, PowerCut
from wayside_sim.process import micropython_folder
from wayside_sim.profile import BoardProfile, of_board
from wayside_sim.sources import firmware_dir
from wayside_sim.wire import Cause
from wayside_sim.world import World

Make = Callable[..., SimulatedBoard]

RUNTIME = "micropython" if micropython_folder() else "cpython"
needs_micropython = pytest.mark.skipif(micropython_folder() is None, reason="no MicroPython wheel for this machine")


MICROPYTHON = [pytest.param("micropython", marks=[needs_micropython, pytest.mark.micropython])]


@pytest.fixture(params=[*MICROPYTHON, "cpython"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    """Boards that run one main.py."""
    boards: list[SimulatedBoard] = []

    def build(program: str, **options: object) -> SimulatedBoard:
        main = tmp_path / f"main{len(boards)}.py"
        main.write_text(program)
        board = SimulatedBoard(
            workdir=tmp_path / f"board{len(boards)}",
            firmware={"main.py": main},
            runtime=request.param,
            **{"world": World(virtual=True, start_unix=1_700_000_000), **options},  # type: ignore[arg-type]
        )
        boards.append(board)
        board.start()
        return board

    yield build
    for board in boards:
        board.close()


def test_a_pin_interrupts_at_the_time_of_its_edge(make: Make) -> None:
    board = make(
        """
import machine, time
pin = machine.Pin(7, machine.Pin.IN, machine.Pin.PULL_UP)
pin.irq(lambda p: print(time.ticks_us(), p.value(), p.irq and p.flags()))
time.sleep_ms(1000)
print("end", time.ticks_ms())
"""
    )
    for at_us, level in ((400_000, 0), (400_123, 1), (800_000, 0)):
        board.world.at(at_us, lambda level=level: board.host.pins.drive(7, level))  # type: ignore[misc]
    board.run(2)
    assert board.log.output.split("\n")[:4] == ["100000 0 2", "100123 1 1", "500000 0 2", "end 1000"]


def test_i2c_reads_a_chip_and_reports_a_missing_one(make: Make) -> None:
    board = make(
        """
import machine
i2c = machine.I2C(0, freq=100000)
print(i2c.scan(), i2c.readfrom_mem(0x76, 0xD0, 1))
try:
    i2c.readfrom_mem(0x50, 0, 1)
except OSError as e:
    print(e.errno)
"""
    )
    board.run(1)
    assert board.log.output.split("\n")[:2] == ["[118] b'`'", "19"]


def test_a_starved_watchdog_resets_the_board(make: Make) -> None:
    board = make(
        """
import machine, time
print("cause", machine.reset_cause(), time.ticks_ms())
if machine.reset_cause() != machine.WDT_RESET:
    w = machine.WDT(timeout=1000)
    for i in range(3):
        time.sleep_ms(900)
        w.feed()
    time.sleep_ms(1100)
    print("never")
"""
    )
    board.run(10)
    assert "never" not in board.log.output
    assert "cause 1 0" in board.log.output
    assert "cause 3 0" in board.log.output
    assert board.boots == 2


def test_a_watchdog_ends_a_loop_that_never_waits(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wayside_sim.host.HANG_S", 0.3)
    board = make(
        """
import machine
if machine.reset_cause() == machine.WDT_RESET:
    print("bitten")
else:
    w = machine.WDT(timeout=1000)
    while True:
        pass
"""
    )
    board.run(5)
    assert "bitten" in board.log.output


def test_a_file_survives_power_cuts_and_a_reset_says_its_cause(make: Make) -> None:
    board = make(
        """
import machine, os, time
try:
    n = int(open("/n").read())
except OSError:
    n = 0
print("boot", n, machine.reset_cause())
with open("/n", "w") as f:
    f.write(str(n + 1))
if n == 1:
    machine.reset()
if n == 2:
    machine.soft_reset()
if n == 3:
    machine.deepsleep(5000)
time.sleep(1000)
"""
    )
    board.run(1)
    board.kill()
    assert board.state == "off"
    board.power_on()
    board.run(10)
    lines = [line for line in board.log.output.split("\n") if line.startswith("boot")]
    assert lines == ["boot 0 1", "boot 1 1", "boot 2 2", "boot 3 5", "boot 4 4"]
    assert board.flash.faults == []


def test_asyncio_tasks_sleep_wait_and_are_cancelled_in_virtual_time(make: Make) -> None:
    board = make(
        """
import asyncio, time
async def sleeper(ms):
    await asyncio.sleep_ms(ms)
    print("slept", time.ticks_ms() // 10 * 10)
    return ms
async def main():
    tasks = [asyncio.create_task(sleeper(ms)) for ms in (300, 100, 200)]
    print(await asyncio.gather(*tasks))
    try:
        await asyncio.wait_for(sleeper(5000), 0.5)
    except asyncio.TimeoutError:
        print("timeout", time.ticks_ms() // 10 * 10)
    t = asyncio.create_task(sleeper(10))
    await asyncio.sleep_ms(0)
    t.cancel()
    try:
        await t
    except asyncio.CancelledError:
        print("cancelled")
    event = asyncio.Event()
    asyncio.create_task(setter(event))
    await event.wait()
    print("set")
async def setter(event):
    await asyncio.sleep(1)
    event.set()
asyncio.run(main())
"""
    )
    board.run(5)
    assert board.log.output.split("\n")[:7] == [
        "slept 100", "slept 200", "slept 300", "[300, 100, 200]", "timeout 800", "cancelled", "set",
        ]  # fmt: skip


def test_ticks_wrap_as_on_a_board_and_asyncio_sleeps_across(make: Make) -> None:
    board = make(
        """
import asyncio, time
PERIOD = 1 << 30
async def main():
    for _ in range(4):
        await asyncio.sleep_ms((PERIOD - 100) // 4)
    before = time.ticks_ms()
    await asyncio.sleep_ms(300)
    after = time.ticks_ms()
    print(before > after, 300 <= time.ticks_diff(after, before) <= 305)
asyncio.run(main())
"""
    )
    board.run((1 << 30) / 1000 + 10)
    assert board.log.output.split("\n")[0] == "True True"


def test_the_usb_port_carries_bytes_both_ways_and_prints_are_noise(make: Make) -> None:
    board = make(
        """
import sys, select, micropython
micropython.kbd_intr(-1)
p = select.poll()
p.register(sys.stdin, select.POLLIN)
print("up")
while True:
    if p.poll(1000):
        sys.stdout.buffer.write(sys.stdin.buffer.read(3))
"""
    )
    sent = bytearray()
    board.uart_sink = sent.extend
    board.run(1)
    board.feed(b"\x00\x03\xff")
    board.run(1)
    board.feed(b"abcdef")
    board.run(1)
    assert bytes(sent) == b"up\n\x00\x03\xffabcdef"


def test_ctrl_c_interrupts_a_program_that_did_not_turn_it_off(make: Make) -> None:
    board = make("import time\nprint('on')\ntime.sleep(100)\nprint('never')\n")
    board.run(1)
    board.feed(b"\x03")
    board.run(200)
    assert "KeyboardInterrupt" in board.log.output
    assert "never" not in board.log.output


def test_a_uart_takes_its_time_and_loses_what_does_not_fit(make: Make) -> None:
    board = make(
        """
import machine, time, asyncio
u = machine.UART(1, 9600, rxbuf=64, txbuf=128)
print(u.write(bytes(200)), u.write(b"x"), u.any())
u.flush()
print(time.ticks_ms())
time.sleep(1)
print(u.any(), len(u.read()), u.read(5))
async def main():
    s = asyncio.StreamReader(u)
    print(await s.readexactly(4), time.ticks_ms() // 10 * 10)
asyncio.run(main())
""",
        profile=BoardProfile(link=1),
    )
    got: list[tuple[int, int]] = []
    board.uart_sink = lambda data: got.append((board.world.now_us, len(data)))
    board.world.at(500_000, lambda: board.feed(bytes(100)))
    board.world.at(2_000_000, lambda: board.feed(b"ping"))
    board.run(3)
    lines = board.log.output.split("\n")
    assert lines[0] == "128 None 0"
    assert 133 <= int(lines[1]) <= 150  # 128 bytes of 10 bits at 9600, and what print() put on the same wire
    assert lines[2:4] == ["64 64 None", "b'ping' 1700"]
    assert board.host.uarts[1].lost_in == 36


def test_the_rtc_starts_at_2000_and_can_be_set_and_lost(make: Make) -> None:
    board = make(
        """
import time, machine
print(time.gmtime()[:6], time.time())
machine.RTC().datetime((2026, 11, 22, 6, 10, 20, 30, 0))
print(time.gmtime()[:6], machine.RTC().datetime())
time.sleep(5)
print(time.time())
time.sleep(1000)
"""
    )
    board.run(7)
    board.reset(Cause.HARD)
    board.run(1)
    board.kill()
    board.power_on()
    board.run(1)
    lines = board.log.output.split("\n")
    assert lines[0] == "(2000, 1, 1, 0, 0, 0) 0"
    assert lines[1] == "(2026, 11, 22, 10, 20, 30) (2026, 11, 22, 6, 10, 20, 30, 0)"
    assert int(lines[2]) == calendar.timegm((2026, 11, 22, 10, 20, 35)) - calendar.timegm((2000, 1, 1, 0, 0, 0))
    assert lines[3].startswith("(2026, 11, 22, 10, 20, 3")
    assert lines[5] == "(2000, 1, 1, 0, 0, 0) 0"


@pytest.mark.parametrize("drift", [0.1, -0.1, 0.0])
def test_the_clock_drifts(make: Make, drift: float) -> None:
    board = make("import time\ntime.sleep(1000)\nprint('done')\n", drift=drift)
    board.run_until(lambda: "done" in board.log.output, 2000)
    assert board.world.now_us / 1e6 - 0.3 == pytest.approx(1000 / (1 + drift), abs=0.01)


def test_a_timer_calls_back(make: Make) -> None:
    board = make(
        """
import machine, time
t = machine.Timer(0, period=250, callback=lambda t: print(time.ticks_ms() // 5 * 5))
time.sleep(1)
t.deinit()
"""
    )
    board.run(3)
    assert board.log.output.split("\n")[:4] == ["250", "500", "750", "1000"]


def test_the_same_program_runs_the_same_twice(make: Make) -> None:
    program = """
import time
f = open("/log", "wb")
for i in range(50):
    f.write(bytes(100))
    f.flush()
    print(time.ticks_us())
"""
    first, second = make(program), make(program)
    first.run(30)
    second.run(30)
    assert first.log.output == second.log.output
    assert first.flash.path.read_bytes() == second.flash.path.read_bytes()


def test_what_firmware_does_all_day_takes_nothing_from_the_heap(make: Make) -> None:
    board = make(
        """
import gc, machine, select, sys, time
pin = machine.Pin(7, machine.Pin.IN)
pin.irq(lambda p: time.ticks_us(), hard=True)
i2c = machine.I2C(0)
w = machine.WDT(timeout=8000)
buf = bytearray(8)
poll = select.poll()
poll.register(sys.stdin.buffer, select.POLLIN)
f = open("/file", "wb")
def work():
    time.sleep_ms(10)
    time.ticks_diff(time.ticks_ms(), time.ticks_us())
    pin.value()
    i2c.readfrom_mem_into(0x76, 0xF7, buf)
    sys.stdout.buffer.write(buf)
    for _ in poll.ipoll(10):
        sys.stdin.buffer.readinto(buf)
    w.feed()
    f.write(buf)
    f.flush()
work()
gc.collect()
gc.disable()
for i in range(3):
    before = gc.mem_alloc()
    work()
    used = gc.mem_alloc() - before
print("used", used)
"""
    )
    for ms in range(400, 700):
        board.world.at(1000 * ms, lambda ms=ms: board.host.pins.drive(7, ms & 1))  # type: ignore[misc]
    board.world.at(400_000, lambda: board.feed(bytes(64)))
    board.run(2)
    assert "used 0\n" in board.log.output


@pytest.mark.parametrize("make", MICROPYTHON, indirect=True)
def test_the_shims_leave_the_heap_to_the_firmware(make: Make) -> None:
    board = make("import _sim, gc\nprint(_sim.shim_bytes, gc.mem_free() + gc.mem_alloc())\n")
    board.run(1)
    taken, heap = (int(word) for word in board.log.output.split()[:2])
    assert taken < 21_000, "docs/simulator.md says how much they take"
    assert heap <= 256 * 1024


def test_edges_during_a_flash_erase_keep_their_own_times(make: Make) -> None:
    board = make(
        """
import machine, time
times = []
pin = machine.Pin(7, machine.Pin.IN)
pin.irq(lambda p: times.append((time.ticks_us(), p.value())))
f = open("/f", "wb")
for i in range(40):
    f.write(bytes(4096))
f.close()
time.sleep_ms(1)
print(times == [(50000 * i, i & 1) for i in range(1, 11)], time.ticks_ms() > 1000)
"""
    )
    for i in range(1, 11):
        board.world.at(300_000 + 50_000 * i, lambda i=i: board.host.pins.drive(7, i & 1))  # type: ignore[misc]
    board.run(30)
    assert board.log.output.split("\n")[0] == "True True"


def test_a_flash_that_refuses_gives_an_oserror(make: Make) -> None:
    board = make(
        """
def write():
    try:
        with open("/f", "wb") as f:
            f.write(bytes(4096))
    except OSError as e:
        print("refused", e.errno)
write()
print("on")
"""
    )

    def hook(op: FlashOp) -> PowerCut | None:
        raise OSError(5, "worn out")

    board.flash.hook = hook
    board.run(5)
    assert "refused 5\non" in board.log.output.replace("\r", "")


def test_boards_that_share_a_world_run_side_by_side(make: Make) -> None:
    program = "import time\nfor i in range(3):\n    time.sleep_ms({})\n    print(i)\n"
    first = make(program.format(1000))
    second = make(program.format(700), world=first.world)
    order: list[str] = []
    first.uart_sink = lambda data: order.append("a" + data.decode()[:1])
    second.uart_sink = lambda data: order.append("b" + data.decode()[:1])
    run_world([first, second], 3_500_000)
    assert [word for word in order if word[1].isdigit()] == ["b0", "a0", "b1", "a1", "b2", "a2"]


def test_the_board_ends_with_its_host(tmp_path: Path) -> None:
    """A host that is killed leaves no board process behind."""
    stubborn = "import time\nwhile True:\n    try:\n        time.sleep(0.05)\n    except BaseException:\n        pass\n"
    (tmp_path / "main.py").write_text(stubborn)
    script = (
        "import time\nfrom pathlib import Path\nfrom wayside_sim.board import SimulatedBoard\n"
        f"board = SimulatedBoard(workdir=Path({str(tmp_path / 'b')!r}), runtime={RUNTIME!r},"
        f" firmware={{'main.py': Path({str(tmp_path / 'main.py')!r})}})\n"
        "board.start()\nwhile not board.host.process:\n    time.sleep(0.01)\n"
        "print(board.host.process.pid, flush=True)\ntime.sleep(60)\n"
    )
    host = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert host.stdout is not None
    pid = int(host.stdout.readline())
    host.kill()
    host.wait()
    host.stdout.close()
    until = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists() and time.monotonic() < until:
        time.sleep(0.05)
    assert not Path(f"/proc/{pid}").exists()


def test_a_clock_that_begins_to_drift_wakes_the_board_when_its_own_time_has_come(make: Make) -> None:
    board = make("import time\nfor i in range(2):\n    time.sleep(100)\n    print(i)\n")
    seen: list[float] = []
    board.uart_sink = lambda data: seen.append(board.world.now_us / 1e6)
    board.run(50.3)
    board.set_drift(0.25)
    board.run(200)
    assert seen[:2] == pytest.approx([0.3 + 50 + 50 / 1.25, 0.3 + 50 + 150 / 1.25], abs=0.01)


def test_a_file_that_the_collector_closes_is_written_though_the_heap_is_locked(make: Make) -> None:
    board = make(
        """
import gc, os
def leave(i):
    f = open("/left%d" % i, "wb")
    f.write(bytes(3000))
for i in range(10):
    leave(i)
gc.collect()
print(sum(os.stat("/left%d" % i)[6] == 3000 for i in range(10)) >= 8)
"""
    )
    board.run(5)
    # A conservative collector may hold on to one or two for a while.
    assert board.log.output.split("\n")[0] == "True"
    assert board.flash.faults == []


def test_a_profile_comes_from_the_firmwares_board() -> None:
    profile = of_board("esp32", firmware_dir() / "wayside_node" / "boards")
    assert (profile.flash_bytes, profile.link, profile.beam_pins) == (2 << 20, 0, (32, 33))
    assert of_board("sim", firmware_dir() / "wayside_node" / "boards") == BoardProfile()
