"""`wayside sim`: simulated boards by themselves."""

import secrets
import tempfile
import threading
import time
from pathlib import Path
from typing import Annotated

import typer

from wayside_tools.errors import Misuse
from wayside_tools.output import JsonFlag, print_json, say

app = typer.Typer(help="Simulated boards by themselves.", no_args_is_help=True)


@app.command()
def node(
    number: Annotated[int, typer.Option("--node", min=1, max=0xFFFFFFFF, help="The node's number.")] = 1001,
    key: Annotated[str | None, typer.Option(help="Its key, 32 hex digits; a new one if not given.")] = None,
    runtime: Annotated[str | None, typer.Option(help="micropython or cpython; the first that can be had.")] = None,
    speed: Annotated[float, typer.Option(min=0.01, max=100, help="How fast the world goes.")] = 1.0,
    drift: Annotated[float, typer.Option(min=-0.2, max=0.2, help="Of the board's clock: 0.1 gains 10 %.")] = 0.0,
    interval: Annotated[int, typer.Option(min=1, max=3600, help="Seconds between samples.")] = 10,
    report: Annotated[int | None, typer.Option(min=1, max=86_400, help="Seconds a reading may wait at most.")] = None,
    seed: Annotated[int, typer.Option(help="Of the walkers' steps.")] = 1,
    street: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="CSV of the street to replay.")
    ] = None,
    workdir: Annotated[Path | None, typer.Option(file_okay=False, help="Its flash is kept here.")] = None,
    seconds: Annotated[float | None, typer.Option(min=0.1, help="Stop after so long; without it at Ctrl-C.")] = None,
    json: JsonFlag = False,
) -> None:
    """A simulated board with the real firmware; prints the path of its serial port, and runs until Ctrl-C."""
    from wayside_gateway.keys import parse_key
    from wayside_sim.board import SimulatedBoard
    from wayside_sim.street import Street
    from wayside_tools.bench.series import RECORDED
    from wayside_tools.demo.nodes import default_runtime

    runtime = runtime or default_runtime()
    if runtime not in ("micropython", "cpython"):
        raise Misuse(f"--runtime is micropython or cpython, not {runtime!r}")
    secret = parse_key(key) if key is not None else secrets.token_bytes(16)
    try:
        recorded = Street.read(street or RECORDED, seed=seed)
    except ValueError as error:
        raise Misuse(str(error)) from None
    settings = {"sample_interval_s": interval, "report_interval_s": max(interval, report or 6 * interval)}
    with tempfile.TemporaryDirectory(prefix="wayside-sim-") as folder:
        board = SimulatedBoard(
            workdir=workdir or Path(folder),
            name=f"node {number}",
            runtime=runtime,
            node=number,
            key=secret,
            settings=settings,
            environment=recorded.air,
            walkers=recorded.walkers(),
            speed=speed,
            drift=drift,
        )
        with board:
            told = {"node": number, "key": secret.hex(), "tty": str(board.tty), "runtime": runtime}
            if json:
                print_json(told)
            else:
                for name, value in told.items():
                    say(f"{name:8} {value}")
            _until(seconds)
        truth = board.truth
    end = {"conversions": len(truth.conversions), "passages": len(truth.passages), "boots": board.boots}
    if json:
        print_json(end)
    else:
        say(f"{end['conversions']} measurements, {end['passages']} people, {end['boots']} boots")


def _until(seconds: float | None) -> None:
    try:
        if seconds is None:
            threading.Event().wait()
        else:
            time.sleep(seconds)
    except KeyboardInterrupt:
        return
