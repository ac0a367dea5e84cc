"""The power of a node goes at any moment: in its sleep, in a measurement, in the middle of any write to its flash.

The project's firmware in real MicroPython on the simulated board, in virtual time, compared with what the board's
models measured: at most the reading that was being taken is lost, nothing is there twice, no seq is used twice, times
are right.
"""

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from fakes.board_truth import compare
from fakes.gateway import FakeGateway
from wayside_protocol.cobs import encode
from wayside_protocol.session import PAUSE
from wayside_sim.board import SimulatedBoard
from wayside_sim.flash import FlashOp, PowerCut
from wayside_sim.process import micropython_folder
from wayside_sim.street import Street
from wayside_sim.world import World

NODE = 1001
KEY = bytes(range(16))
START = 1_800_000_000
DATA = Path(__file__).parent / "data"
SETTINGS = {"sample_interval_s": 2, "report_interval_s": 20, "batch": 5, "health_interval_s": 60}

pytestmark = [
    pytest.mark.micropython,
    pytest.mark.skipif(micropython_folder() is None, reason="no MicroPython wheel for this machine"),
]


class Site:
    """A node in a street, a gateway that is sometimes away, and somebody at the node's switch."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.rng = Random(seed)
        self.world = World(virtual=True, start_unix=START)
        street = Street.read(DATA / "street_1min.csv", seed=seed & 0xFFFF)
        self.board = SimulatedBoard(
            workdir=folder,
            node=NODE,
            key=KEY,
            settings=SETTINGS,
            environment=street.air,
            walkers=street.walkers(),
            world=self.world,
        )
        self.gateway = FakeGateway(NODE, KEY, lambda: int(self.world.unix() * 1000))
        self.cuts: dict[str, int] = {}
        self._here = True
        self.board.uart_sink = self._heard
        self.board.flash.hook = self._operation
        self._left = -1

    def _heard(self, data: bytes) -> None:
        if self._here and (answer := self.gateway.hear(data)):
            self.board.feed(answer)

    def _operation(self, op: FlashOp) -> PowerCut | None:
        if self._left < 0:
            return None
        self._left -= 1
        if self._left >= 0:
            return None
        size = len(op.data) if op.kind == "program" else 4096
        return PowerCut(self.rng.choice((0, None, self.rng.randrange(size))))

    def suffer(self) -> None:
        """One boot, and its end."""
        self._here = self.rng.random() < 0.7
        self.gateway.acks = self.rng.random() < 0.7
        if self.rng.random() < 0.5:
            self.board.run(self.rng.uniform(0.2, 30))
            self.board.kill()
            self._note("anywhere")
        else:
            self._left = self.rng.randrange(1, self.rng.choice((40, 200)))
            for _ in range(100):
                self.board.run(1)
                if self.board.state == "off":
                    break
            self._note("in a write" if self.board.state == "off" else "none")
            self.board.kill()
        self._left = -1
        self.board.run(self.rng.uniform(0, 3))
        self.board.power_on()

    def _note(self, what: str) -> None:
        self.cuts[what] = self.cuts.get(what, 0) + 1

    def settle(self) -> None:
        """The gateway is there, and the power stays: everything comes, with the open batch closed on command."""
        self._here = self.gateway.acks = True
        self.board.run(65)
        self.board.feed(encode(self.gateway.command(1, PAUSE)))
        self.board.run_until(lambda: bool(self.gateway.answers), 30)
        self.board.run(20)

    def check(self) -> str:
        """Compare with the truth; return the figures."""
        gateway, conversions = self.gateway, self.board.truth.conversions
        assert self.board.flash.faults == []
        seqs = sorted(gateway.records)
        assert seqs == list(range(1, seqs[-1] + 1)), "a gap in the numbers"
        arrived, lost = compare(self.world, conversions, gateway.records, str(self.board.log))
        return (
            f"boots {self.board.boots}, cuts {self.cuts}, measured {len(conversions)}, arrived {arrived},"
            f" lost {lost}, records {len(seqs)}, came again {sum(n - 1 for n in gateway.seen.values())}"
        )


@pytest.fixture
def site(tmp_path: Path, seed: int) -> Iterator[Site]:
    made = Site(tmp_path / "board", seed)
    made.board.start()
    yield made
    made.board.close()


def play(site: Site, cuts: int) -> None:
    for _ in range(cuts):
        site.suffer()
    site.settle()
    print(site.check())


@pytest.mark.timeout(120)
def test_cut_at_any_moment_a_node_loses_at_most_the_reading_being_taken(site: Site) -> None:
    play(site, 25)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("draw", range(4))
def test_cut_at_any_moment_many_times(site: Site, draw: int) -> None:
    play(site, 150)
