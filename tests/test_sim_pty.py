"""A simulated board in real time: its thread, its PTY, and what becomes of its process."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import serial

from wayside_sim.board import SimulatedBoard
from wayside_sim.process import micropython_folder

ECHO = """
import asyncio, micropython, sys
micropython.kbd_intr(-1)
print("up")
async def main():
    reader = asyncio.StreamReader(sys.stdin.buffer)
    while True:
        sys.stdout.buffer.write(await reader.read(1))
asyncio.run(main())
"""
RUNTIME = "micropython" if micropython_folder() else "cpython"
Make = Callable[..., SimulatedBoard]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    boards: list[SimulatedBoard] = []

    def build(program: str, **options: object) -> SimulatedBoard:
        (tmp_path / "main.py").write_text(program)
        sources = {"main.py": tmp_path / "main.py"}
        board = SimulatedBoard(workdir=tmp_path / "b", firmware=sources, runtime=RUNTIME, **options)  # type: ignore[arg-type]
        boards.append(board)
        return board

    yield build
    for board in boards:
        board.close()


def open_port(board: SimulatedBoard) -> serial.Serial:
    return serial.Serial(str(board.tty), 115200, timeout=5)


def wait_for(done: Callable[[], bool], seconds: float = 10.0) -> None:
    until = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.01)


def running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"


def test_bytes_go_through_the_port_both_ways(make: Make) -> None:
    board = make(ECHO)
    with open_port(board) as port:
        board.start()
        assert port.readline() == b"up\n"
        port.write(bytes(range(256)) * 8)
        assert port.read(2048) == bytes(range(256)) * 8


def test_what_nobody_listens_to_is_lost(make: Make) -> None:
    board = make(ECHO)
    assert board.pty is not None
    pty = board.pty
    board.start()
    wait_for(lambda: pty.lost_out == 3)
    with open_port(board) as port:
        port.write(b"x")
        assert port.read(1) == b"x"
    assert pty.lost_out == 3


def test_an_unplugged_port_is_gone_and_comes_back_as_another(make: Make) -> None:
    board = make(ECHO)
    board.start()
    wait_for(lambda: board.pty is not None and board.pty.lost_out == 3)
    with open_port(board) as port:
        port.write(b"a")
        assert port.read(1) == b"a"
        board.unplug()
        assert not board.tty.exists()
        with pytest.raises((serial.SerialException, OSError)):
            port.write(b"b")
            port.read(1)
        board.plug()
        assert board.tty.exists()
    with open_port(board) as port:
        port.write(b"c")
        assert port.read(1) == b"c"
    assert board.boots == 1


def test_a_reset_is_seen_on_the_same_port_and_a_cut_ends_the_process(make: Make) -> None:
    board = make(ECHO)
    with open_port(board) as port:
        board.start()
        assert port.readline() == b"up\n"
        board.reset()
        assert port.readline() == b"up\n"
        process = board.host.process
        assert process is not None
        board.kill()
        assert not running(process.pid)
        assert board.state == "off"
        board.power_on()
        assert port.readline() == b"up\n"
    assert board.boots == 3


@pytest.mark.parametrize(("speed", "drift"), [(1.0, 0.0), (20.0, 0.0), (20.0, 0.1)])
def test_the_world_may_go_faster_and_the_board_drift(make: Make, speed: float, drift: float) -> None:
    board = make("import time\ntime.sleep(1)\nprint('one')\ntime.sleep(2)\nprint('end')\n", speed=speed, drift=drift)
    seen: list[int] = []
    board.uart_sink = lambda data: seen.append(board.world.now_us)
    board.start()
    wait_for(lambda: "end" in board.log.output)
    between = next(at for at in seen[1:] if at - seen[0] > 500_000) - seen[0]
    assert between / 1e6 * (1 + drift) == pytest.approx(2, abs=0.2 * speed)


def test_the_watchdog_bites_in_real_time(make: Make) -> None:
    board = make(
        "import machine\nprint('cause', machine.reset_cause())\n"
        "if machine.reset_cause() != 3:\n    machine.WDT(timeout=200)\n    while True: pass\n"
    )
    board.start()
    wait_for(lambda: "cause 3" in board.log.output)
    assert board.boots == 2


def test_a_board_leaves_nothing_behind(make: Make) -> None:
    before = set(os.listdir("/proc/self/fd"))
    board = make(ECHO)
    board.start()
    wait_for(lambda: "up" in board.log.output)
    process = board.host.process
    assert process is not None
    board.close()
    assert not running(process.pid)
    assert not board.tty.is_symlink()
    assert set(os.listdir("/proc/self/fd")) <= before


def test_a_program_that_breaks_shows_its_traceback_and_stays(make: Make) -> None:
    board = make("def f():\n    raise ValueError('broken')\nf()\n")
    board.start()
    wait_for(lambda: "broken" in board.log.output and ">>>" in board.log.output)
    assert "main.py" in board.log.output
    assert board.state == "on"
