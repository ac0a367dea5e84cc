"""The simulated board as firmware sees it: buses, ports, flash and heap, by small programs."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sim_programs import MICROPYTHON, RUNTIMES, Boards, Make
from wayside_sim.board import run_world
from wayside_sim.flash import FlashOp, PowerCut
from wayside_sim.profile import BoardProfile, of_board
from wayside_sim.sources import firmware_dir
from wayside_sim.wire import USB_PORT


@pytest.fixture(params=RUNTIMES)
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    boards = Boards(tmp_path, request.param)
    yield boards
    boards.close()


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
    assert (profile.flash_bytes, profile.link, profile.beam_pins) == (2 << 20, USB_PORT, (32, 33))
    assert of_board("sim", firmware_dir() / "wayside_node" / "boards") == BoardProfile()
