"""`wayside nodes`: which nodes a gateway knows, and their keys."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from wayside_tools.commands.common import DEFAULT_SETTINGS, SettingsFile, load_settings
from wayside_tools.errors import Failure, Misuse
from wayside_tools.output import JsonFlag, print_json, print_table, say

app = typer.Typer(help="The nodes of a gateway: list, add, show, remove.", no_args_is_help=True)

Number = Annotated[int, typer.Argument(min=1, max=0xFFFFFFFF, help="The node's number.")]


@app.command("list")
def list_nodes(settings: SettingsFile = DEFAULT_SETTINGS, json: JsonFlag = False) -> None:
    """All nodes that have a key here or were ever heard, one a line."""
    from wayside_tools.fleet import Fleet

    with Fleet(load_settings(settings)) as fleet:
        rows = [fleet.summary(number) for number in fleet.numbers()]
    if json:
        print_json({"nodes": rows})
        return
    if not rows:
        say("No node has a key here, and none was heard: wayside nodes add")
        return
    columns = ["node", "name", "heard", "link", "boot", "firmware", "records", "clock"]
    for row in rows:
        if row["link"] and not row["connected"]:
            row["link"] += ", gone"
    print_table(columns, ([row[column] for column in columns] for row in rows))


@app.command()
def add(
    settings: SettingsFile = DEFAULT_SETTINGS,
    number: Annotated[int | None, typer.Argument(min=1, max=0xFFFFFFFF, help="Its number; the next free one.")] = None,
    key: Annotated[
        str | None,
        typer.Option(help="Its key, 32 hex digits, or - to read it from stdin; a new one is made if not given."),
    ] = None,
    name: Annotated[str, typer.Option(help="What people call it.")] = "",
    out: Annotated[Path | None, typer.Option(help="Write what the node is to be given here, not to stdout.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Give a node that is known another key.")] = False,
    json: JsonFlag = False,
) -> None:
    """Add a node, and show once what it is to be given: its number and key. A running gateway knows it at once."""
    from wayside_gateway.errors import KeyFileError
    from wayside_gateway.keys import KeyFile, new_key, parse_key
    from wayside_tools.fleet import Fleet, free_number, provisioning, write_private_json

    loaded = load_settings(settings)
    if key == "-":
        key = sys.stdin.readline().strip()
    secret = parse_key(key) if key is not None else new_key()
    node = number if number is not None else free_number(loaded)
    if out is not None and out.exists():
        raise Misuse(f"{out} is there already: it is not overwritten")
    with Fleet(loaded) as fleet:
        used = fleet.holds(node)
    loaded.keys_path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        KeyFile(loaded.keys_path).add(node, secret, name, replace)
    except KeyFileError as error:
        if error.reason != "known":
            raise
        raise Failure(
            f"{error.message} --replace gives it another one; until the node has that, it is not heard."
        ) from None
    given = provisioning(loaded, node, secret, name)
    if out is not None:
        write_private_json(out, given)
        given = {**given, "key": None, "file": str(out)}
    if json:
        print_json(given)
        return
    say(f"Node {node} is added to {loaded.keys_path}.")
    if used:
        say(
            "There are records of this number here. An erased board, or another one, would number its own from 1 again,"
        )
        say("and they would be kept out: give such a board a number that was never used.")
    if out is not None:
        say(f"What it is to be given is in {out}, for your eyes only: delete it once the node has it.")
    else:
        say("Give it this; it is not shown again, and whoever has the key can read and forge what the node says:")
        say(f"  node = {node}\n  key  = {given['key']}")


@app.command()
def show(number: Number, settings: SettingsFile = DEFAULT_SETTINGS, json: JsonFlag = False) -> None:
    """All that is known of a node, but not its key."""
    from wayside_tools.fleet import Fleet

    with Fleet(load_settings(settings)) as fleet:
        details = fleet.details(number)
    if json:
        print_json(details)
        return
    for name, value in details.items():
        say(f"{name:16} {_shown(value)}")


@app.command()
def remove(
    number: Number,
    settings: SettingsFile = DEFAULT_SETTINGS,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json: JsonFlag = False,
) -> None:
    """Forget a node's key: from then on its frames are not taken. What it sent is kept."""
    from wayside_gateway.keys import KeyFile

    loaded = load_settings(settings)
    if not yes:
        if not sys.stdin.isatty():
            raise Misuse("this forgets a key for ever: say --yes")
        typer.confirm(f"Forget the key of node {number} for ever?", abort=True)
    KeyFile(loaded.keys_path).remove(number)
    if json:
        print_json({"removed": number})
    else:
        say(f"Node {number} is forgotten.")


def _shown(value: Any) -> str:
    if value is None or value == "":
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return "  ".join(f"{name}={_shown(part)}" for name, part in value.items()) or "–"
    if isinstance(value, list):
        if all(isinstance(part, list) for part in value):
            return ", ".join(f"{first}…{last}" for first, last in value) or "–"
        if not any(isinstance(part, dict) for part in value):
            return ", ".join(_shown(part) for part in value) or "–"
        return "".join("\n" + " " * 17 + _shown(part) for part in value) or "–"
    return str(value)
