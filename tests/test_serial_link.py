"""Serial ports: real PTYs, opened, unplugged, renumbered, stuck; and the rules that say which to open."""

import asyncio
import contextlib
import fcntl
import os
import pty
import termios
import tty
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from wayside_gateway.errors import LinkError
from wayside_gateway.links import ports, serial, station
from wayside_gateway.links.base import Link
from wayside_gateway.links.boards import BRIDGES, NATIVE, Lines, is_known, lines_for
from wayside_gateway.links.ports import Device, wanted_ports
from wayside_gateway.links.serial import open_serial
from wayside_gateway.links.station import SerialStation
from wayside_gateway.metrics import Metrics
from wayside_gateway.settings import SerialRule

OFF = Lines(dtr=False, rts=False)


class Board:
    """The other end of a PTY. `path` is a stable link to the device, as udev would keep it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.master = -1
        self.plug()

    def plug(self) -> None:
        self.master, slave = pty.openpty()
        tty.setraw(slave)
        os.set_blocking(self.master, False)
        self.path.unlink(missing_ok=True)
        self.path.symlink_to(os.ttyname(slave))
        os.close(slave)

    def unplug(self) -> None:
        self.path.unlink(missing_ok=True)
        os.close(self.master)
        self.master = -1

    def say(self, data: bytes) -> None:
        assert os.write(self.master, data) == len(data)

    def hear(self) -> bytes:
        try:
            return os.read(self.master, 1 << 20)
        except (BlockingIOError, OSError):
            return b""


@pytest.fixture
def board(tmp_path: Path) -> Iterator[Board]:
    made = Board(tmp_path / "tty0")
    yield made
    if made.master >= 0:
        os.close(made.master)


async def until(condition: Callable[[], bool], timeout_s: float = 15) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - the condition is in the kernel
            await asyncio.sleep(0.01)


# -- one port --------------------------------------------------------------------------------------------


async def test_bytes_go_both_ways_unchanged(board: Board) -> None:
    link = open_serial(str(board.path), 115_200, OFF)
    every = bytes(range(256)) * 3
    board.say(every)
    got = b""
    async for data in link:
        got += data
        if len(got) == len(every):
            break
    assert got == every
    assert link.arrived_ms > 0
    assert link.write(every)
    heard = b""

    def all_heard() -> bool:
        nonlocal heard
        heard += board.hear()
        return len(heard) >= len(every)

    await until(all_heard)
    assert heard == every
    link.close()


async def test_what_was_in_the_port_before_is_thrown_away(board: Board) -> None:
    slave = os.open(board.path, os.O_RDWR | os.O_NOCTTY)
    board.say(b"stale")
    link = open_serial(str(board.path), 115_200, OFF)
    board.say(b"fresh")
    async for data in link:
        assert data == b"fresh"
        break
    link.close()
    os.close(slave)


async def test_a_port_is_opened_once(board: Board) -> None:
    link = open_serial(str(board.path), 115_200, OFF)
    with pytest.raises(LinkError, match="fuser") as caught:
        open_serial(str(board.path), 115_200, OFF)
    assert caught.value.reason == "busy"
    link.close()
    link.close()
    open_serial(str(board.path), 115_200, OFF).close()


async def test_a_port_that_is_not_there_or_no_port(tmp_path: Path) -> None:
    with pytest.raises(LinkError) as caught:
        open_serial(str(tmp_path / "none"), 115_200, OFF)
    assert caught.value.reason == "gone"
    (tmp_path / "file").write_text("x")
    with pytest.raises(LinkError):
        open_serial(str(tmp_path / "file"), 115_200, OFF)


async def test_an_unplugged_port_ends_its_iteration(board: Board) -> None:
    link = open_serial(str(board.path), 115_200, OFF)
    board.say(b"last words")
    await asyncio.sleep(0.05)
    board.unplug()
    got = b""

    async def read() -> None:
        nonlocal got
        async for data in link:
            got += data

    with pytest.raises(LinkError) as caught:
        async with asyncio.timeout(5):
            await read()
    assert caught.value.reason == "gone"
    assert got in (b"last words", b"")
    assert not link.write(b"x")
    link.close()


async def test_a_reader_that_waits_can_be_cancelled(board: Board) -> None:
    link = open_serial(str(board.path), 115_200, OFF)

    async def read() -> None:
        async for _ in link:
            pass

    task = asyncio.create_task(read())
    await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    link.close()


async def test_what_is_not_taken_stays_with_the_sender(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serial, "READ_AHEAD", 10_000)
    link = open_serial(str(board.path), 115_200, OFF)
    sent = 0
    for _ in range(400):
        with contextlib.suppress(BlockingIOError):
            sent += os.write(board.master, bytes(1000))
        await asyncio.sleep(0)
    await asyncio.sleep(0.05)
    assert sent < 100_000  # the rest was refused: nobody reads
    got = 0
    async with asyncio.timeout(5):
        async for data in link:
            got += len(data)
            if got >= sent:
                break
    assert got == sent
    link.close()


async def test_a_line_that_takes_nothing_declines_and_then_ends(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serial, "WRITE_TIMEOUT_S", 0.2)
    link = open_serial(str(board.path), 115_200, OFF)
    accepted = 0
    while link.write(bytes(4000)):
        accepted += 4000
        assert accepted < 1 << 20
    assert not link.write(bytes(4000))

    async def read() -> None:
        async for _ in link:
            pass

    with pytest.raises(LinkError) as caught:
        async with asyncio.timeout(5):
            await read()
    assert caught.value.reason == "stuck"
    link.close()


async def test_a_slow_line_gets_everything_in_order(board: Board) -> None:
    link = open_serial(str(board.path), 115_200, OFF)
    pieces = [bytes([n]) * 1000 for n in range(60)]
    assert all(link.write(piece) for piece in pieces)
    heard = b""

    def all_heard() -> bool:
        nonlocal heard
        heard += board.hear()
        return len(heard) >= 60_000

    await until(all_heard)
    assert heard == b"".join(pieces)
    link.close()


# -- the modem lines -------------------------------------------------------------------------------------


@pytest.mark.parametrize("numbers", sorted(BRIDGES))
def test_a_bridge_gets_both_lines_dropped(numbers: tuple[int, int]) -> None:
    assert lines_for("/dev/ttyUSB0", *numbers) == OFF


@pytest.mark.parametrize("numbers", sorted(NATIVE))
def test_a_chips_own_port_keeps_dtr_unless_that_resets_it(numbers: tuple[int, int]) -> None:
    jtag = numbers == (0x303A, 0x1001)
    assert lines_for("/dev/ttyACM0", *numbers) == Lines(dtr=not jtag, rts=False)
    assert is_known(*numbers)


def test_an_unknown_chip_goes_by_its_driver() -> None:
    assert lines_for("/dev/ttyACM3", None, None).dtr
    assert not lines_for("/dev/ttyUSB3", 0x1234, 0x5678).dtr
    assert not is_known(0x1234, 0x5678)


def test_lines_are_dropped_in_one_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """One alone, however shortly, resets an ESP32 behind the auto-reset circuit."""
    asked: list[tuple[int, bytes]] = []
    monkeypatch.setattr(fcntl, "ioctl", lambda _fd, request, bits: asked.append((request, bits)))
    both = (termios.TIOCM_DTR | termios.TIOCM_RTS).to_bytes(4, "little")
    serial._hold_lines(0, OFF)
    assert asked == [(termios.TIOCMBIC, both)]
    asked.clear()
    serial._hold_lines(0, Lines(dtr=True, rts=False))
    assert [request for request, _ in asked] == [termios.TIOCMBIS, termios.TIOCMBIC]


async def test_closing_leaves_the_lines_alone(board: Board) -> None:
    link = open_serial(str(board.path), 115_200, OFF)
    slave = os.open(board.path, os.O_RDWR | os.O_NOCTTY)
    assert not termios.tcgetattr(slave)[2] & termios.HUPCL
    os.close(slave)
    link.close()


# -- rules -----------------------------------------------------------------------------------------------

CP = Device("/dev/ttyUSB0", 0x10C4, 0xEA60, "0001")
PICO = Device("/dev/ttyACM0", 0x2E8A, 0x0005, "E66")
OTHER = Device("/dev/ttyUSB1", 0x1111, 0x2222, None)


@pytest.mark.parametrize(
    ("rule", "paths"),
    [
        (SerialRule(usb="10c4:ea60"), ["/dev/ttyUSB0"]),
        (SerialRule(usb="2E8A:0005"), ["/dev/ttyACM0"]),
        (SerialRule(serial_number="E66"), ["/dev/ttyACM0"]),
        (SerialRule(known=True), ["/dev/ttyUSB0", "/dev/ttyACM0"]),
        (SerialRule(path="/nowhere/tty*"), []),
    ],
)
def test_a_rule_finds_its_devices(rule: SerialRule, paths: list[str]) -> None:
    assert list(wanted_ports([rule], [CP, PICO, OTHER])) == paths


def test_a_device_that_two_rules_name_is_opened_once_by_the_first(tmp_path: Path) -> None:
    device = tmp_path / "ttyACM9"
    device.touch()
    (tmp_path / "by-id").symlink_to(device)
    usb = Device(str(device), 0x2E8A, 0x0005, "E66")
    rules = [SerialRule(path=str(tmp_path / "by-*"), baud=9600), SerialRule(known=True, baud=57_600)]
    found = wanted_ports(rules, [usb])
    assert [(port.path, port.real, port.baud) for port in found.values()] == [
        (str(tmp_path / "by-id"), str(device), 9600)
    ]
    assert found[str(tmp_path / "by-id")].lines.dtr  # known by its USB identity through the link


def test_usb_devices_can_be_asked_for() -> None:
    assert isinstance(ports.usb_devices(), list)


# -- the station -----------------------------------------------------------------------------------------


class Served:
    """Stands in for ingest: keeps what each port said."""

    def __init__(self) -> None:
        self.said: dict[str, bytes] = {}
        self.opened = 0

    async def serve(self, link: Link) -> None:
        self.opened += 1
        async for data in link:
            self.said[link.name] = self.said.get(link.name, b"") + data


Start = Callable[[Path], Awaitable[tuple[Served, SerialStation]]]


@pytest.fixture
async def start(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Start]:
    monkeypatch.setattr(station, "SCAN_S", 0.02)
    monkeypatch.setattr("wayside_gateway.backoff.FIRST_S", 0.05)
    stop = asyncio.Event()
    tasks: list[asyncio.Task[None]] = []

    async def run(directory: Path) -> tuple[Served, SerialStation]:
        served = Served()
        made = SerialStation([SerialRule(path=str(directory / "tty*"))], served.serve, Metrics())
        tasks.append(asyncio.create_task(made.run(stop)))
        return served, made

    yield run
    stop.set()
    for task in tasks:
        await task


async def test_a_port_is_found_lost_and_found_again(board: Board, start: Start, tmp_path: Path) -> None:
    served, running = await start(tmp_path)
    name = str(board.path)
    await until(lambda: running.state.get(name) == "open")
    board.say(b"one")
    await until(lambda: served.said.get(name) == b"one")
    board.unplug()
    await until(lambda: running.state.get(name) != "open")
    board.plug()
    await until(lambda: running.state.get(name) == "open")
    board.say(b"two")
    await until(lambda: served.said.get(name) == b"onetwo")
    assert served.opened == 2


async def test_a_port_that_is_another_device_now_is_opened_anew(board: Board, start: Start, tmp_path: Path) -> None:
    served, running = await start(tmp_path)
    name = str(board.path)
    await until(lambda: running.state.get(name) == "open")
    old = board.master
    board.plug()  # the same name, another device: the kernel gave out its numbers anew
    await until(lambda: served.opened == 2)
    await until(lambda: running.state.get(name) == "open")
    board.say(b"new")
    await until(lambda: served.said.get(name) == b"new")
    os.close(old)


async def test_a_port_in_use_is_waited_for_and_others_go_on(board: Board, start: Start, tmp_path: Path) -> None:
    other = Board(tmp_path / "tty1")
    holder = open_serial(str(board.path), 115_200, OFF)
    served, running = await start(tmp_path)
    await until(lambda: running.state == {str(board.path): "busy", str(other.path): "open"})
    other.say(b"heard")
    await until(lambda: served.said.get(str(other.path)) == b"heard")
    holder.close()
    await until(lambda: running.state.get(str(board.path)) == "open")
    os.close(other.master)


async def test_a_port_that_comes_later_is_found(start: Start, tmp_path: Path) -> None:
    _, running = await start(tmp_path)
    await asyncio.sleep(0.05)
    assert running.state == {}
    late = Board(tmp_path / "tty7")
    await until(lambda: running.state == {str(late.path): "open"})
    late.unplug()
    await until(lambda: running.state == {})
