"""Service mode: the button held at boot leaves the console to a technician, as a running node does not give it."""

from pathlib import Path

import pytest

from wayside_sim.board import SimulatedBoard
from wayside_sim.process import micropython_folder
from wayside_sim.world import World

BUTTON = 15
RUNTIME = "micropython" if micropython_folder() else "cpython"


@pytest.mark.parametrize("held", [True, False])
def test_the_button_held_at_boot_keeps_the_node_from_starting(tmp_path: Path, held: bool) -> None:
    world = World(virtual=True, start_unix=1_800_000_000)
    with SimulatedBoard(workdir=tmp_path / "board", node=1001, key=bytes(16), world=world, runtime=RUNTIME) as board:
        if held:
            board.host.pins.drive(BUTTON, 0)
            board.run(120)
            assert "the console is yours" in board.log.output
            assert board.state == "on"
            assert not board.truth.conversions
            board.host.pins.drive(BUTTON, None)
            board.reset()
        board.run(120)
        assert board.truth.conversions
