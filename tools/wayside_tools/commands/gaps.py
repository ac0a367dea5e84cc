"""`wayside gaps`: what is missing, since when, and why."""

from typing import Annotated, Any

import typer

from wayside_tools.commands.common import DEFAULT_SETTINGS, SettingsFile, load_settings, open_read_only, time_of
from wayside_tools.output import JsonFlag, print_json, print_table, say

REASONS = {
    "evicted": "the node's journal was full before a gateway took them",
    "journal_lost": "the node lost its journal; numbers go on above those it may have used",
    "corrupt": "the node's flash gave back something else than was written",
    "waiting": "still on the node, or on its way",
    "elsewhere": "the node no longer has them: another gateway took them, or it will say why",
}


def gaps(
    settings: SettingsFile = DEFAULT_SETTINGS,
    node: Annotated[int | None, typer.Option(min=1, max=0xFFFFFFFF, help="Of this node only.")] = None,
    json: JsonFlag = False,
) -> None:
    """What is missing, since when and why: of all nodes, also while the gateway runs. Exit code 0 also with gaps."""
    from wayside_gateway.gaps import find
    from wayside_gateway.keys import KeyFile

    loaded = load_settings(settings)
    names = {number: key.name for number, key in KeyFile(loaded.keys_path).load().items()}
    store = open_read_only(loaded)
    try:
        report = find(store, names, node).as_json()
    finally:
        store.close()
    if json:
        print_json(report)
    else:
        _show(report)


def _show(report: dict[str, Any]) -> None:
    say(f"{report['missing']:,} records will not come, {report['waiting']:,} are still on their nodes.")
    rows = [_row(node, gap) for node in report["nodes"] for gap in node["gaps"]]
    if rows:
        print_table(["node", "name", "records", "count", "after", "before", "why"], rows)
    if report["not_sent"]:
        say("Stored, but never sent upstream:")
        columns = ["node", "uplink", "first", "last", "count", "reason", "at"]
        print_table(columns, ([_cell(name, row[name]) for name in columns] for row in report["not_sent"]))
    if report["behind"]:
        say("In the store, and not confirmed upstream yet:")
        columns = ["uplink", "count", "since", "state", "why"]
        print_table(columns, ([_cell(name, row[name]) for name in columns] for row in report["behind"]))
    if report["aside"]:
        say("Put aside by an uplink until something that they need is there:")
        columns = ["uplink", "reason", "count", "since"]
        print_table(columns, ([_cell(name, row[name]) for name in columns] for row in report["aside"]))
    if report["conflicting"]:
        say("Kept out, because another record had their number: two boards under one number, or one that was replaced:")
        columns = ["node", "count", "first", "last", "since"]
        print_table(columns, ([_cell(name, row[name]) for name in columns] for row in report["conflicting"]))
    if report["refused"]:
        say("Frames that were not taken (unknown_node: no key; auth: another key; boot_fell: an older boot):")
        columns = ["node", "reason", "frames", "first", "last", "link"]
        print_table(columns, ([_cell(name, row[name]) for name in columns] for row in report["refused"]))


def _row(node: dict[str, Any], gap: dict[str, Any]) -> list[object]:
    span = f"{gap['first']}…{gap['last']}" if gap["count"] > 1 else str(gap["first"])
    why = f"{gap['reason']}: {REASONS.get(gap['reason'], 'unknown')}"
    return [node["node"], node["name"], span, gap["count"], _time(gap["after"]), _time(gap["before"]), why]


def _time(unix_s: float | None) -> str | None:
    return time_of(None if unix_s is None else int(unix_s * 1000))


def _cell(name: str, value: object) -> object:
    times = ("at", "since", "last", "first")
    return _time(value) if name in times and isinstance(value, float) else value
