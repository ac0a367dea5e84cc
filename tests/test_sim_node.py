"""The project's firmware on the simulated board, in virtual time: what it delivers is what the models measured."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fakes.gateway import FakeGateway
from wayside_protocol import columns, event
from wayside_protocol.record import Channels, Health, Samples
from wayside_sim.board import SimulatedBoard
from wayside_sim.flash import FlashOp, FlashTiming, PowerCut
from wayside_sim.process import micropython_folder
from wayside_sim.profile import BoardProfile
from wayside_sim.street import Street
from wayside_sim.world import World

KEY = bytes(range(16))
NODE = 1001
START = 1_763_800_000
DATA = Path(__file__).parent / "data"
SETTINGS = {"sample_interval_s": 10, "report_interval_s": 60, "batch": 6}

needs_micropython = [
    pytest.mark.micropython,
    pytest.mark.skipif(micropython_folder() is None, reason="no MicroPython wheel for this machine"),
]
RUNTIME = "micropython" if micropython_folder() else "cpython"
RUNTIMES = [pytest.param("micropython", marks=needs_micropython), "cpython"]


class Site:
    """A node in a street with a gateway beside it."""

    def __init__(self, workdir: Path, runtime: str, **options: Any) -> None:
        self.world = World(virtual=True, start_unix=START)
        self.street = Street.read(DATA / "street_1min.csv", seed=3)
        self.board = SimulatedBoard(
            workdir=workdir,
            runtime=runtime,
            node=NODE,
            key=KEY,
            settings=SETTINGS,
            environment=self.street.air,
            walkers=self.street.walkers(),
            world=self.world,
            **options,
        )
        self.gateway = FakeGateway(NODE, KEY, lambda: int(self.world.unix() * 1000))
        self.board.uart_sink = self._hear
        self.board.start()

    def _hear(self, data: bytes) -> None:
        if answer := self.gateway.hear(data):
            self.board.feed(answer)

    def readings(self) -> dict[int, dict[int, int | None]]:
        """Per sample time (Unix s, synced ones): quantity number to value in its step."""
        sets = {r.set_id: r for r in self.gateway.records.values() if isinstance(r, Channels)}
        found: dict[int, dict[int, int | None]] = {}
        for record in self.gateway.records.values():
            if isinstance(record, Samples) and isinstance(record.t, int):
                quantities = [quantity for quantity, _ in sets[record.set_id].channels]
                values = columns.decode(record.columns, quantities, record.n)
                for i in range(record.n):
                    at = record.t + i * record.interval_s
                    found[at] = {q: values[c][i] for c, q in enumerate(quantities)}
        return found


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Callable[..., Site]]:
    made: list[Site] = []

    def build(runtime: str = RUNTIMES[-1], **options: Any) -> Site:  # type: ignore[assignment]
        made.append(Site(tmp_path / str(len(made)), runtime, **options))
        return made[-1]

    yield build
    for one in made:
        one.board.close()


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_what_arrives_is_what_was_measured_and_who_walked_by(site: Callable[..., Site], runtime: str) -> None:
    here = site(runtime)
    here.board.run(1800)
    gateway = here.gateway
    assert here.board.boots == 1
    assert gateway.refused == []
    assert sorted(gateway.records) == list(range(min(gateway.records), max(gateway.records) + 1))
    assert here.board.flash.faults == []
    readings = here.readings()
    assert len(readings) >= 170
    measured = {round(here.world.unix(c.world_us)): c for c in here.board.truth.conversions}
    for at, values in readings.items():
        conversion = next((measured[at + d] for d in (0, 1, -1) if at + d in measured), None)
        assert conversion is not None, f"nothing was measured at {at}"
        assert values[1] == pytest.approx(100 * (conversion.read_temperature or 0), abs=1)
        assert values[2] == pytest.approx(10 * (conversion.read_humidity or 0), abs=1)
        assert values[3] == pytest.approx(10 * (conversion.read_pressure or 0), abs=1)
    for number, direction in ((5, "in"), (6, "out")):
        counted = sum(values[number] or 0 for values in readings.values())
        spans = [(int((at - 10 - START) * 1e6), int((at - START) * 1e6)) for at in readings]
        assert counted == pytest.approx(sum(here.board.truth.count(direction, *span) for span in spans), abs=3)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_nothing_is_lost_by_power_cuts_and_resets(site: Callable[..., Site], runtime: str) -> None:
    here = site(runtime)
    for seconds in (95, 130, 61, 177):
        here.board.run(seconds)
        here.board.kill()
        here.board.run(3)
        here.board.power_on()
    here.board.run(300)
    gateway = here.gateway
    assert here.board.boots == 5
    assert sorted(gateway.records) == list(range(min(gateway.records), max(gateway.records) + 1))
    assert set(gateway.seen.values()) <= {1, 2}
    assert gateway.refused == []


@pytest.mark.parametrize("seed", range(4))
def test_nothing_is_lost_when_the_power_goes_during_flash_operations(site: Callable[..., Site], seed: int) -> None:
    rng = random.Random(seed)
    here = site(RUNTIME)
    left = 0

    def hook(op: FlashOp) -> PowerCut | None:
        nonlocal left
        left -= 1
        return PowerCut(rng.choice([0, len(op.data) // 2, None])) if left == 0 else None

    here.board.flash.hook = hook
    for _ in range(6):
        left = rng.randrange(1, 60)
        here.board.run(200)
        if here.board.state == "off":
            here.board.power_on()
    left = 0
    here.board.run(300)
    gateway = here.gateway
    assert here.board.boots > 1
    assert sorted(gateway.records) == list(range(min(gateway.records), max(gateway.records) + 1))
    assert gateway.refused == []
    assert here.board.flash.faults == []


def without_heap(record: Health) -> dict[int, int | str]:
    return {key: value for key, value in record.values.items() if key not in (event.HEAP_FREE, event.HEAP_LARGEST)}


@pytest.mark.micropython
@pytest.mark.skipif(micropython_folder() is None, reason="no MicroPython wheel for this machine")
def test_both_runtimes_send_the_same_frames(site: Callable[..., Site]) -> None:
    # The two read different files at a boot. With a flash that takes no time their clocks differ by microseconds only.
    profile = BoardProfile(timing=FlashTiming(0, 0, 0, 256, 0))
    sites = [site(runtime, profile=profile) for runtime in ("micropython", "cpython")]
    for one in sites:
        one.board.run(900)
    first, second = (one.gateway for one in sites)
    assert len(first.frames) > 10
    assert first.frames.keys() == second.frames.keys()
    for seq, frame in first.frames.items():
        ours, theirs = first.records[seq], second.records[seq]
        if isinstance(ours, Health) and isinstance(theirs, Health):
            # Only MicroPython has a heap to measure.
            assert ours.t == theirs.t
            assert without_heap(ours) == without_heap(theirs)
        else:
            assert frame == second.frames[seq]
    assert [n for n, _ in sites[0].gateway.hellos] == [n for n, _ in sites[1].gateway.hellos]
