"""`wayside gateway`: run one, and check what it needs before it is needed."""

import os
import sys

import typer

from wayside_tools.commands.common import DEFAULT_SETTINGS, SettingsFile, load_settings
from wayside_tools.output import JsonFlag, print_json, say

app = typer.Typer(help="Run a gateway, and check what it needs.", no_args_is_help=True)


@app.command()
def run(settings: SettingsFile = DEFAULT_SETTINGS) -> None:
    """Run the gateway until SIGTERM or Ctrl-C: ports, store, uplinks. The log goes to stderr."""
    load_settings(settings)
    environment = {"MALLOC_ARENA_MAX": "1", **os.environ}  # glibc's arenas, one a thread, keep some 2 MB for nothing
    os.execve(sys.executable, [sys.executable, "-m", "wayside_tools.gateway_process", str(settings)], environment)


@app.command()
def check(settings: SettingsFile = DEFAULT_SETTINGS, json: JsonFlag = False) -> None:
    """Check settings, keys, ports, store, broker and clock: every problem at once, each with what puts it right."""
    from wayside_tools.check import check_gateway

    findings = check_gateway(settings)
    good = all(finding.good for finding in findings)
    if json:
        print_json({"good": good, "checks": [finding._asdict() for finding in findings]})
    else:
        for finding in findings:
            mark = "ok  " if finding.good else "BAD "
            say(f"{mark} {finding.what}: {finding.found}")
            if finding.fix:
                say(f"     {finding.fix}")
    if not good:
        raise typer.Exit(1)
