"""The whole firmware on the simulated board, in MicroPython and in virtual time: orders, faults, resets, its heap."""

from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from fakes.gateway import FakeGateway
from micropython_port import needs_micropython, run
from wayside_protocol import event
from wayside_protocol.cobs import encode
from wayside_protocol.limits import FRAME_MAX
from wayside_protocol.record import Channels, Event, Health, Samples
from wayside_protocol.session import (
    DONE,
    IDENTIFY,
    PAUSE,
    REBOOT,
    REFUSED,
    REPORT,
    RESUME,
    UNKNOWN,
)
from wayside_sim import build
from wayside_sim.board import SimulatedBoard
from wayside_sim.process import micropython_folder
from wayside_sim.world import World

NODE = 1001
KEY = bytes(range(16))
START = 1_800_000_000
LED = 25
BAD_STATION = """
class Totals:
    def __init__(self, *_):
        pass
    def read(self):
        return (0, 0)

class Health:
    def __init__(self, *_):
        pass
    def step(self, now):
        raise ValueError("no good")
"""
HANGING_SENSOR = """
class Bme280:
    name = "bme280"
    channels = ((1, 0), (2, 0), (3, 0))
    def __init__(self, *_):
        self.samples = 0
    def start(self, now):
        self.samples += 1
        while self.samples > 2:
            pass
        return 0
    def poll(self, now):
        return 0
    def read(self, out, at):
        out[at] = out[at + 1] = out[at + 2] = 400
"""

pytestmark = pytest.mark.micropython


class Site:
    """A node on the simulated board and a gateway beside it."""

    def __init__(self, folder: Path, replaced: dict[str, Path], settings: dict[str, int], **options: Any) -> None:
        self.world = World(virtual=True, start_unix=START)
        self.board = SimulatedBoard(
            workdir=folder,
            node=NODE,
            key=KEY,
            settings={"sample_interval_s": 10, "report_interval_s": 60, "batch": 6} | settings,
            firmware=build.firmware_sources() | replaced,
            world=self.world,
            **options,
        )
        self.gateway = FakeGateway(NODE, KEY, lambda: int(self.world.unix() * 1000))
        self.here = True
        self.board.uart_sink = self._hear
        self.board.start()

    def _hear(self, data: bytes) -> None:
        if self.here and (answer := self.gateway.hear(data)):
            self.board.feed(answer)

    def order(self, number: int, name: int, argument: int = 0, within_s: float = 20) -> tuple[int, str]:
        """Give a command, and wait for its answer."""
        known = len(self.gateway.answers)
        self.board.feed(encode(self.gateway.command(number, name, argument)))
        self.board.run_until(lambda: len(self.gateway.answers) > known, within_s)
        answer = self.gateway.answers[-1]
        assert answer.id == number
        return answer.status, answer.result

    def records(self, kind: type[Any]) -> list[Any]:
        return [body for _, body in sorted(self.gateway.records.items()) if isinstance(body, kind)]

    def events(self, code: int) -> list[Event]:
        return [e for e in self.records(Event) if e.code == code]

    @property
    def taken(self) -> int:
        return len(self.board.truth.conversions)

    @property
    def arrived(self) -> int:
        return sum(s.n for s in self.records(Samples))


Make = Callable[..., Site]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    if micropython_folder() is None:
        pytest.skip("no MicroPython wheel for this machine")
    made: list[Site] = []

    def create(replaced: dict[str, str] | None = None, settings: dict[str, int] | None = None, **options: Any) -> Site:
        files = {}
        for number, (name, text) in enumerate((replaced or {}).items()):
            files[name] = tmp_path / f"replaced{number}.py"
            files[name].write_text(text)
        made.append(Site(tmp_path / f"board{len(made)}", files, settings or {}, **options))
        return made[-1]

    yield create
    for site in made:
        site.board.close()


class TestBoot:
    def test_says_why_and_what_it_measures(self, make: Make) -> None:
        site = make()
        site.board.run(5)
        assert [e.detail for e in site.events(event.BOOT)] == [(1, event.CAUSE_POWER, "0.1.0")]
        (channels,) = site.records(Channels)
        assert channels.channels == ((1, 0), (2, 0), (3, 0), (5, 0), (6, 0))
        hello = site.gateway.hellos[0][1]
        assert (hello.set_id, hello.board, hello.firmware) == (channels.set_id, "sim", "0.1.0")

    def test_a_node_without_identity_says_so_and_stops(self, tmp_path: Path) -> None:
        if micropython_folder() is None:
            pytest.skip("no MicroPython wheel for this machine")
        with SimulatedBoard(workdir=tmp_path / "board", world=World(virtual=True, start_unix=START)) as board:
            board.run(60)
            assert "no identity" in board.log.output
            assert (board.boots, board.state) == (1, "on")

    def test_a_reset_is_told_from_a_power_cut(self, make: Make) -> None:
        site = make()
        site.board.run(5)
        site.board.reset()
        site.board.run(5)
        assert [e.detail[:2] for e in site.events(event.BOOT)] == [(1, event.CAUSE_POWER), (2, event.CAUSE_HARD)]

    def test_the_clock_is_told_when_it_is_set(self, make: Make) -> None:
        site = make()
        site.board.run(700)
        (told,) = site.events(event.CLOCK_SET)
        boot, uptime_ms, before, after = told.detail
        assert (boot, before) == (1, -1)
        assert abs(int(after) - START * 1000 - int(uptime_ms) - 400) < 1_000


class TestOrders:
    def test_report_sends_what_is_open(self, make: Make) -> None:
        site = make(settings={"report_interval_s": 3600, "batch": 255})
        site.board.run(95)
        assert site.arrived < site.taken - 5, "two batches end early, as the clock was set and its rate measured"
        status, newest = site.order(1, REPORT)
        site.board.run(2)
        assert status == DONE
        assert max(site.gateway.records) == int(newest)
        assert site.arrived == site.taken == 9

    def test_pause_leaves_nothing_behind(self, make: Make) -> None:
        """The way a demonstration ends: all that was taken is there once the newest seq is."""
        site = make(settings={"sample_interval_s": 1, "report_interval_s": 20, "batch": 20})
        site.board.run(47.3)
        status, newest = site.order(1, PAUSE)
        assert status == DONE
        site.board.run_until(lambda: int(newest) in site.gateway.records, 5)
        assert site.arrived == site.taken
        site.board.run(60)
        assert site.arrived == site.taken <= 48
        assert site.order(2, RESUME) == (DONE, "")
        site.board.run(60)
        assert site.taken > 100

    def test_identify_blinks_for_so_long(self, make: Make) -> None:
        site = make()
        site.board.run(5)
        lit: list[bool] = []

        def look() -> None:
            lit.append(bool(site.board.host.pins.levels >> LED & 1))
            site.world.at(site.world.now_us + 100_000, look)

        look()
        assert site.order(1, IDENTIFY, 5) == (DONE, "")
        site.board.run(15)
        assert 20 <= sum(lit) <= 30
        assert not any(lit[-60:])

    def test_unknown_ones_are_answered_so(self, make: Make) -> None:
        site = make()
        site.board.run(5)
        assert site.order(1, 999)[0] == UNKNOWN

    def test_reboot_happens_once_however_often_it_is_asked(self, make: Make) -> None:
        site = make()
        site.board.run(25)
        assert site.order(7, REBOOT) == (DONE, "")
        site.board.run(5)
        assert site.board.boots == 2
        assert site.arrived == site.taken, "the open batch was closed first"
        assert site.order(7, REBOOT) == (DONE, ""), "the answer was lost, and the gateway asks again"
        site.board.run(30)
        assert site.board.boots == 2
        assert site.events(event.BOOT)[1].detail[1] == event.CAUSE_SOFT
        site.order(8, REBOOT)
        site.board.run(5)
        assert site.board.boots == 3

    def test_no_lamp_is_a_refusal(self, make: Make) -> None:
        source = Path(build.firmware_sources()["wayside_node/boards/sim.py"]).read_text()
        site = make({"wayside_node/boards/sim.py": source.replace("LED = 25", "LED = -1")})
        site.board.run(5)
        assert site.order(1, IDENTIFY, 5)[0] == REFUSED


class TestLine:
    def test_garbage_and_ctrl_c_stop_nothing(self, make: Make, seed: int) -> None:
        site = make(settings={"health_interval_s": 60})
        random = Random(seed)
        for _ in range(200):
            site.board.run(1)
            site.board.feed(bytes(random.choice((0, 3, 4, 13, random.randrange(256))) for _ in range(200)))
        site.board.feed(b"\0")
        site.board.run(100)
        assert site.board.boots == 1
        assert site.arrived >= 24
        assert site.records(Health)[-1].values[event.LINK_NOISE] > 10_000

    def test_frames_that_are_too_long_or_do_not_open_are_counted(self, make: Make) -> None:
        site = make(settings={"health_interval_s": 60})
        site.board.run(5)
        site.board.feed(encode(bytes(1 + i % 255 for i in range(FRAME_MAX))) + b"\x05" * 5_000 + b"\0")
        site.board.feed(encode(b"\x85\x02\x19\x03\xe9\x01\x01\x49" + bytes(9)))
        site.board.run(120)
        assert site.records(Health)[-1].values[event.LINK_REFUSED] == 2
        assert site.arrived > 5

    def test_a_computer_that_does_not_read_costs_no_sample(self, make: Make) -> None:
        site = make()
        site.board.run(5)
        site.here = False
        site.board.run(600)
        site.here = True
        site.board.run(60)
        assert site.arrived >= site.taken - 6

    def test_an_outage_drains_newest_and_oldest_in_turns(self, make: Make) -> None:
        site = make()
        site.here = False
        site.board.run(3_600)
        site.here = True
        site.board.run(60)
        order = site.gateway.order
        assert sorted(set(order)) == list(range(1, max(order) + 1))
        assert order[1] < 10 < order[0]
        assert site.arrived >= site.taken - 6


class TestFaults:
    def test_a_sensor_that_vanishes_loses_its_own_channels(self, make: Make) -> None:
        site = make()
        site.board.run(100)
        chips = site.board.host.buses[0].chips
        chip = chips.pop(0x76)
        site.board.run(900)
        chips[0x76] = chip
        site.board.run(900)
        (fault,) = site.events(event.SENSOR_FAULT)
        (end,) = site.events(event.SENSOR_RECOVERED)
        assert fault.detail == ("bme280", "no_ack", 1, 0)
        assert 890 <= int(end.detail[1]) <= 1_300
        assert site.arrived >= 1900 // 10 - 8

    def test_a_bus_that_hangs_costs_no_slot(self, make: Make) -> None:
        site = make()
        site.board.run(100)
        site.board.host.buses[0].fault = 110
        site.board.run(600)
        assert site.events(event.SENSOR_FAULT)[0].detail[1] == "bus"
        assert {s.n for s in site.records(Samples)[2:]} == {6}

    def test_a_station_that_fails_is_told_and_the_others_go_on(self, make: Make) -> None:
        site = make({"wayside_node/health.py": BAD_STATION})
        site.board.run(600)
        crashes = site.events(event.CRASH)
        assert site.board.boots == 1
        assert 5 <= len(crashes) <= 10, "with back-off"
        assert crashes[0].detail == ("health", "ValueError: no good", "wayside_node/health.py:12")
        assert site.arrived >= site.taken - 6

    def test_a_node_that_cannot_start_says_so_and_starts_again(self, make: Make) -> None:
        site = make({"wayside_node/health.py": BAD_STATION.replace("pass", "raise OSError(5)", 1)})
        site.board.run(200)
        assert site.board.boots == 4
        said = "wayside: the node cannot go on: OSError: [Errno 5] EIO wayside_node/health.py:4"
        assert said in site.board.log.output

    @pytest.mark.slow
    def test_a_station_that_never_gives_way_is_reset(self, make: Make) -> None:
        """Nothing can be written any more; what was taken before is there all the same."""
        site = make({"wayside_node/sensors/bme280.py": HANGING_SENSOR})
        site.board.run(60)
        assert site.board.boots >= 2
        assert site.events(event.BOOT)[1].detail[:2] == (2, event.CAUSE_WATCHDOG)
        assert site.arrived >= 2 * (site.board.boots - 1)


class TestMonths:
    @pytest.mark.parametrize("hours", [2, pytest.param(8, marks=[pytest.mark.slow, pytest.mark.timeout(600)])])
    def test_the_heap_stays_as_it_was(self, make: Make, hours: int) -> None:
        """Hours with all that happens to a node: outages and faults."""
        site = make(settings={"health_interval_s": 60})
        free, largest = [], []
        for quarter in range(4 * hours):
            site.here = quarter % 3 != 1
            site.board.run(700)
            site.board.host.buses[0].fault = 110 if quarter % 2 else 0
            site.board.run(200)
        site.here = True
        site.board.run(700)
        for record in site.records(Health):
            free.append(int(record.values[event.HEAP_FREE]))
            largest.append(int(record.values[event.HEAP_LARGEST]))
        assert site.board.boots == 1
        half = len(free) // 2
        assert min(free[half:]) > 0.95 * min(free[half // 2 : half])
        assert min(largest[half:]) > 0.9 * min(largest[half // 2 : half])
        assert min(largest) > 10_000

    @pytest.mark.parametrize("drift", [-0.1, 0.1])
    def test_a_clock_ten_percent_off_says_right_times(self, make: Make, drift: float) -> None:
        site = make(drift=drift)
        site.board.run(3_600)
        measured = [site.world.unix(c.world_us) for c in site.board.truth.conversions]
        plain = [s for s in site.records(Samples) if isinstance(s.t, int)]
        assert sum(s.n for s in plain) > 300
        for record in plain:
            for i in range(record.n):
                said = record.t + i * record.interval_s
                assert min(abs(said - real) for real in measured) <= 2

    def test_totals_never_fall(self, make: Make) -> None:
        from wayside_sim.beams import Walker

        walkers = [Walker(10_000_000 + 5_000_000 * i, "in" if i % 3 else "out") for i in range(100)]
        site = make(settings={"health_interval_s": 60}, walkers=walkers)
        for _ in range(4):
            site.board.run(130)
            site.board.reset()
        site.board.run(130)
        totals = [(int(h.values[9]), int(h.values[10])) for h in site.records(Health)]
        assert totals == sorted(totals)
        assert totals[-1][0] > 40


@needs_micropython
def test_steady_work_leaves_little_garbage(tmp_path: Path) -> None:
    """Bytes on the 64-bit port; a board's objects are half as large. docs/firmware.md has the table."""
    found = run(Path(__file__).parent / "scripts" / "node_garbage.py", str(tmp_path / "data"), mpy=True, heap="2M")
    print(found)
    for idle in ("link_idle", "beams", "watchdog", "sampler_idle"):
        assert found[idle] == 0, idle
    limits = {"sample": 512, "batch": 512, "frame": 640, "ack": 3_200, "hello": 640, "welcome": 3_600}
    assert {name: found[name] for name, limit in limits.items() if found[name] > limit} == {}
