"""Both ends joined: the firmware's stations, a line, the gateway's, and a witness between them."""

import asyncio
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from fakes.board import Board, Build
from fakes.line import PERFECT, Damage, Line
from fakes.station import Station, Witness
from fakes.virtual_loop import VirtualLoop
from wayside_node.sampler import PAUSED

START_UNIX = 1_800_000_000
DRAIN_S = 4 * 3600.0
"""On a line that is perfect again, all is delivered well before."""
LOOK_S = 5.0


@dataclass
class Run:
    """One run's two ends and what lies between."""

    loop: VirtualLoop
    rng: Random
    line: Line
    board: Board
    station: Station
    witness: Witness
    evicted: int = 0

    async def drain(self) -> float:
        """On a perfect line and with the power on, until the node has nothing that waits; return the seconds taken."""
        begun_s = self.loop.time()
        while not self.board.on:  # noqa: ASYNC110 - no event of the firmware's tells it
            await asyncio.sleep(LOOK_S)
        self.board.pause()
        while self.board.journal.waiting or self.board.sampler.state != PAUSED:
            assert self.loop.time() - begun_s < DRAIN_S, f"{self.board.journal.waiting} records still wait"
            await asyncio.sleep(LOOK_S)
        return self.loop.time() - begun_s


def make(folder: Path, seed: int, damage: Damage = PERFECT, build: Build | None = None) -> Run:
    loop, rng = VirtualLoop(), Random(seed)
    loop.disk_s = lambda: rng.uniform(0.001, 0.05)
    build = replace(build or Build(), seed=seed)
    line, witness = Line(loop, rng, damage), Witness(build.key)

    def true_s() -> float:
        return START_UNIX + loop.time()

    board = Board(loop, folder / "flash", line, build, true_s)
    station = Station(loop, folder / "store.sqlite", line, witness, true_s)
    station.know(build.node, build.key)
    hand = line.up.send

    def overheard(data: bytes) -> None:
        witness.hear(data, 0)
        hand(data)

    line.up.send = overheard  # type: ignore[method-assign]
    return Run(loop, rng, line, board, station, witness)
