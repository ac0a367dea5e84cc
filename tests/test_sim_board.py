"""The simulated board as firmware sees it: time, interrupts, tasks, watchdog and resets, by small programs."""

import calendar
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sim_programs import RUNTIME, RUNTIMES, Boards, Make
from wayside_sim.wire import Cause


@pytest.fixture(params=RUNTIMES)
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    boards = Boards(tmp_path, request.param)
    yield boards
    boards.close()


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
    monkeypatch.setattr("wayside_sim.host.HANG_S", 2.0)
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
