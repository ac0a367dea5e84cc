"""The live table of a demonstration."""

import shutil
import time
from collections.abc import Iterable

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from wayside_protocol.quantity import BY_NAME
from wayside_tools.demo.account import QUANTITIES, Account
from wayside_tools.demo.readings import Reading, by_node
from wayside_tools.demo.run import Demo

COLUMNS = ("node", "link", "samples", "taken", "arrived", "waiting", *QUANTITIES, "in/out", "time", "age")
WIDE = 110
LEFT_OUT_WHEN_NARROW = ("samples", "humidity", "pressure")


def table(demo: Demo, accounts: dict[int, Account], started: float) -> Group:
    """The state of all nodes."""
    narrow = shutil.get_terminal_size().columns < WIDE
    shown = [not narrow or name not in LEFT_OUT_WHEN_NARROW for name in COLUMNS]
    names = [name for name, keep in zip(COLUMNS, shown, strict=True) if keep]
    out = Table(*names, box=box.SIMPLE_HEAD, title_justify="left", collapse_padding=True)
    arrived = by_node(demo.stored.readings)
    for node in demo.nodes:
        one = accounts[node.number]
        readings = arrived.get(node.number, [])
        last = _last(readings)
        waiting = one.taken - one.delivered
        row = [
            str(node.number),
            node.board.state,
            str(len(node.board.truth.conversions)),
            str(one.taken),
            str(one.delivered),
            str(waiting),
            *(_value(last.get(name)) for name in QUANTITIES),
            f"{_sum(readings, 'walkers_in')} / {_sum(readings, 'walkers_out')}",
            _quality(last.get("temperature")),
            _age(last.get("temperature")),
        ]
        out.add_row(*(cell for cell, keep in zip(row, shown, strict=True) if keep))
    bad = sum(one.duplicates + one.wrong + one.untimely for one in accounts.values())
    line = f"{time.monotonic() - started:.0f} s, {demo.stored.records} records in the store"
    trouble = f", {bad} readings that should not be so" if bad else ""
    return Group(out, Text(f"{line}{trouble}. Ctrl-C stops the nodes, waits for what is under way, and accounts."))


def _last(readings: Iterable[Reading]) -> dict[str, Reading]:
    out: dict[str, Reading] = {}
    for reading in readings:
        out[reading.quantity] = reading
    return out


def _value(reading: Reading | None) -> str:
    if reading is None:
        return "–"
    quantity = BY_NAME[reading.quantity]
    return f"{reading.steps / 10**quantity.decimals:.{quantity.decimals}f} {quantity.unit}"


def _sum(readings: Iterable[Reading], quantity: str) -> int:
    return sum(reading.steps for reading in readings if reading.quantity == quantity)


def _quality(reading: Reading | None) -> str:
    if reading is None:
        return "–"
    return reading.quality


def _age(reading: Reading | None) -> str:
    if reading is None or reading.unix_s is None:
        return "–"
    return f"{time.time() - reading.unix_s:.0f} s"
