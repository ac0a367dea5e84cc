"""Boards that run one small program, for the tests of the simulated board."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wayside_sim.board import SimulatedBoard
from wayside_sim.process import default_runtime, micropython_folder
from wayside_sim.world import World

RUNTIME = default_runtime()
MICROPYTHON = [
    pytest.param(
        "micropython",
        marks=[
            pytest.mark.micropython,
            pytest.mark.skipif(micropython_folder() is None, reason="no MicroPython wheel for this machine"),
        ],
    )
]
RUNTIMES = [*MICROPYTHON, "cpython"]
Make = Callable[..., SimulatedBoard]


class Boards:
    """Called with a program, makes and starts a board that runs it, in virtual time unless a world is given."""

    def __init__(self, folder: Path, runtime: str) -> None:
        self._folder = folder
        self._runtime = runtime
        self._made: list[SimulatedBoard] = []

    def __call__(self, program: str, **options: Any) -> SimulatedBoard:
        number = len(self._made)
        main = self._folder / f"main{number}.py"
        main.write_text(program)
        world = options.pop("world", None) or World(virtual=True, start_unix=1_700_000_000)
        board = SimulatedBoard(
            workdir=self._folder / f"board{number}",
            firmware={"main.py": main},
            runtime=self._runtime,
            world=world,
            **options,
        )
        self._made.append(board)
        board.start()
        return board

    def close(self) -> None:
        for board in self._made:
            board.close()
