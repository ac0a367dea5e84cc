"""One boot of a board on CPython. Started by the host with the firmware's sources as arguments, each `name on the
board=file`."""

import sys
from pathlib import Path

from wayside_sim import build
from wayside_sim.cpython import files, modules
from wayside_sim.cpython.board_asyncio import BoardAsyncio
from wayside_sim.cpython.loader import BoardLoader
from wayside_sim.cpython.scheduler import Core


def main() -> None:
    """Boot, run boot.py and main.py, then wait as a REPL would. The host ends the process."""
    sources = {board: Path(source) for board, _, source in (word.partition("=") for word in sys.argv[1:])}
    shims = {p.name: p for p in build.SHIMS.glob("*.py") if p.name != "_sim_boot.py"}
    loader = BoardLoader(
        {**sources, **shims},
        {"utime": modules.Utime(), "micropython": modules.Micropython(), "gc": modules.Gc(), "os": modules.real_os()},
    )
    loader.modules["sys"] = modules.Sys(loader.modules)
    loader.define(open=modules.Pipe, print=modules.print_now)
    link = loader.load("_sim")
    for name in ("time", "select", "machine", "_sim_tasks", "_sim_flash"):
        loader.load(name)
    for name in ("sys", "micropython"):
        loader.modules[name] = loader.load(f"_sim_{name}")
    link.hello()
    core = Core(loader.modules["_sim_tasks"], loader.modules["time"], loader.modules["select"])
    loader.modules["asyncio.core"] = core
    loader.modules["asyncio"] = BoardAsyncio(core)
    core.exception_handler = loader.modules["sys"].print_exception
    fs = files.mount(loader.load("_sim_flash").Flash(), int(link.config[11]))
    loader.modules["os"] = files.BoardOs(fs)
    loader.define(open=files.opener(fs))
    _run(loader, "boot.py")
    _run(loader, "main.py")
    modules.print_now("CPython on a simulated board\n>>> ", end="")
    while True:
        link.wait(-1, 0)


def _run(loader: BoardLoader, program: str) -> None:
    try:
        loader.run_main(program)
    except SystemExit:
        loader.load("machine").soft_reset()
    except BaseException as error:  # noqa: BLE001 -- a board prints it and goes on to its prompt
        loader.modules["sys"].print_exception(error)


main()
