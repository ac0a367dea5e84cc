"""How every command prints: one JSON object for programs, tables and lines for people."""

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import typer

JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON document, for programs.")]


def print_json(value: Any) -> None:
    """`value` as one line of JSON; in a terminal, indented."""
    indent = 2 if sys.stdout.isatty() else None
    print(json.dumps(value, indent=indent, ensure_ascii=False))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], title: str | None = None) -> None:
    """A table as wide as it must be; through a pipe it is never cut."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for row in rows:
        table.add_row(*(Text("–" if cell is None else str(cell)) for cell in row))
    console = Console()
    if not console.is_terminal:
        console.width = max(console.width, 200)
    console.print(table)


def say(text: str = "") -> None:
    """A line for people."""
    print(text)


def warn(text: str) -> None:
    """A line for people on stderr, where it never mixes with what a program reads."""
    print(text, file=sys.stderr)
