"""`wayside demo`: the whole way of a reading on this machine, and an account of every one."""

import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wayside_tools.errors import Misuse
from wayside_tools.output import JsonFlag, print_json, say, warn

if TYPE_CHECKING:
    from wayside_tools.demo.run import Demo

TABLE_S = 1.0


def demo(
    seconds: Annotated[
        float | None, typer.Option(min=1, max=86_400, help="Stop after so long; without it at Ctrl-C.")
    ] = None,
    nodes: Annotated[int, typer.Option(min=1, max=50, help="Simulated nodes.")] = 3,
    runtime: Annotated[
        str | None, typer.Option(help="What runs the firmware: micropython or cpython; the first that can be had.")
    ] = None,
    mqtt: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Send on to this broker, and account there.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the walkers' steps.")] = 1,
    keep: Annotated[
        Path | None, typer.Option(file_okay=False, help="Keep settings, store, log and flash here.")
    ] = None,
    json: JsonFlag = False,
) -> None:
    """A gateway and simulated nodes on a recorded street: every reading that the sensors took, accounted for.

    Ends with 0 only if all that was taken arrived once, as it was, with the right time.
    """
    from wayside_tools.demo.nodes import default_runtime
    from wayside_tools.demo.run import result, running_demo

    runtime = runtime or default_runtime()
    if runtime not in ("micropython", "cpython"):
        raise Misuse(f"--runtime is micropython or cpython, not {runtime!r}")
    broker = _broker(mqtt)
    signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGINT))
    with running_demo(nodes, runtime, seed, broker, keep) as running:
        begun = time.monotonic()
        try:
            _watch(running, seconds, json)
        except KeyboardInterrupt:
            warn("stopping the nodes and waiting for what is under way …")
        lasted = time.monotonic() - begun
        drained = running.drain()
        outcome = result(running, runtime, lasted, drained, "broker" if broker else "store")
        good = drained and outcome["taken"] > 0 and _good(outcome)
    if json:
        print_json(outcome)
    else:
        _tell(outcome)
    if not good:
        raise typer.Exit(1)


def _good(outcome: dict[str, Any]) -> bool:
    bad = ("duplicates", "missing", "wrong", "untimely")
    return outcome["taken"] == outcome["delivered"] and not any(outcome[name] for name in bad)


def _broker(text: str | None) -> tuple[str, int] | None:
    if text is None:
        return None
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65_536:
        raise Misuse(f"--mqtt is HOST:PORT, not {text!r}")
    return host, int(port)


def _watch(running: "Demo", seconds: float | None, quiet: bool) -> None:
    """Until the time is over; shows the live table to people."""
    begun = time.monotonic()

    def left() -> float:
        return TABLE_S if seconds is None else min(TABLE_S, begun + seconds - time.monotonic())

    if quiet:
        while (pause := left()) > 0:
            time.sleep(pause)
        return
    from rich.live import Live

    from wayside_tools.demo.live import table

    with Live(auto_refresh=False, transient=True) as live:
        while (pause := left()) > 0:
            live.update(table(running, running.accounts(), begun), refresh=True)
            time.sleep(pause)


def _tell(outcome: dict[str, Any]) -> None:
    taken, delivered, people = outcome["taken"], outcome["delivered"], outcome["people"]
    say(f"{outcome['nodes']} nodes ({outcome['runtime']}) took {taken} readings in {outcome['seconds']:.0f} s.")
    say(
        f"{delivered} arrived at the {outcome['delivered_at']}: {outcome['missing']} are missing, "
        f"{outcome['duplicates']} came twice, {outcome['wrong']} are wrong."
    )
    quality = ", ".join(f"{count} {name}" for name, count in outcome["time_quality"].items()) or "none"
    off_s, untimely = outcome["time_off_max_s"], outcome["untimely"]
    say(f"Times: {quality}; at most {off_s:.1f} s off the truth, {untimely} by more than they admit.")
    say(f"People: {people['fed']} walked through, {people['counted']} were counted.")
    if not outcome["drained"]:
        say("Not everything arrived in time.")
