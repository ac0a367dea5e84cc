"""A demonstration's nodes: real firmware on simulated boards, each on its own stretch of a recorded street."""

import secrets
from pathlib import Path

from wayside_sim.board import SimulatedBoard
from wayside_sim.process import micropython_folder
from wayside_sim.street import Street
from wayside_tools.bench.series import RECORDED
from wayside_tools.demo.account import Taken
from wayside_tools.errors import Failure

FIRST_NODE = 1001
SAMPLE_S = 1
BATCH = 5
REPORT_S = 5
SECONDS_A_ROW = 1
"""The recording has a row a minute; the air of the demonstration changes by one a second. People come as recorded."""
FIRST_ROWS = (0, 540, 1260)
"""Where in the day the nodes start: three of its busier hours."""
DRIFTS = (0.0, 0.02, -0.03)
"""What the nodes' clocks gain, as cheap oscillators do and more."""


def default_runtime() -> str:
    """MicroPython where its unix port can be had, else CPython."""
    return "micropython" if micropython_folder() else "cpython"


class DemoNode:
    """One board and what it is fed."""

    def __init__(self, number: int, folder: Path, runtime: str, seed: int) -> None:
        self.number = number
        self.key = secrets.token_bytes(16)
        index = number - FIRST_NODE
        first_row = FIRST_ROWS[index % len(FIRST_ROWS)] + index
        air = Street.read(RECORDED, interval_s=SECONDS_A_ROW, offset=first_row)
        people = Street.read(RECORDED, seed=seed + index, offset=first_row)
        settings = {"sample_interval_s": SAMPLE_S, "report_interval_s": REPORT_S, "batch": BATCH}
        try:
            self.board = SimulatedBoard(
                workdir=folder / str(number),
                name=f"node {number}",
                runtime=runtime,
                node=number,
                key=self.key,
                settings=settings,
                environment=air.air,
                walkers=people.walkers(),
                drift=DRIFTS[index % len(DRIFTS)],
            )
        except (RuntimeError, OSError) as error:
            raise Failure(f"the simulated board of node {number} cannot be made: {error}") from None

    def taken(self) -> list[Taken]:
        """Every value that the board's sensors measured so far, at the world's true time."""
        out = []
        for conversion in list(self.board.truth.conversions):
            unix_s = self.board.world.unix(conversion.world_us)
            for quantity in ("temperature", "humidity", "pressure"):
                value = getattr(conversion, f"read_{quantity}")
                if value is not None:
                    out.append(Taken(quantity, value, unix_s))
        return out

    def people(self) -> int:
        """Who walked through between the first sample and the last: the counts after the first one are of them."""
        conversions = self.board.truth.conversions
        if not conversions:
            return 0
        first, last = conversions[0].world_us, conversions[-1].world_us
        return sum(first < passage.world_us <= last for passage in list(self.board.truth.passages))
