"""At which line of a TOML file a value stands: tomllib does not say, and people look for it."""

import re

_HEADER = re.compile(r"^\s*(\[\[?)\s*([^\]]+?)\s*\]\]?\s*(?:#.*)?$")
_PAIR = re.compile(r"^\s*((?:[A-Za-z0-9_-]+|\"[^\"]*\"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|\"[^\"]*\"|'[^']*'))*)\s*=")

Location = tuple[int | str, ...]


def _parts(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip().strip("\"'") for part in dotted.split("."))


class LineIndex:
    """Lines of tables and names. Finds what is written plainly; what is not there has its table's line, or 0."""

    def __init__(self, text: str) -> None:
        self._lines: dict[Location, int] = {}
        table: Location = ()
        counts: dict[tuple[str, ...], int] = {}
        for number, line in enumerate(text.splitlines(), start=1):
            header = _HEADER.match(line)
            pair = _PAIR.match(line)
            if header:
                names = _parts(header[2])
                table = names
                if header[1] == "[[":
                    counts[names] = counts.get(names, -1) + 1
                    table = (*names, counts[names])
                self._lines.setdefault(names, number)
                self._lines.setdefault(table, number)
            elif pair:
                names = _parts(pair[1])
                for size in range(1, len(names) + 1):
                    self._lines.setdefault((*table, *names[:size]), number)

    def line(self, location: Location) -> int:
        """The line of this value, else of the table that it belongs to, else 0."""
        while location:
            if location in self._lines:
                return self._lines[location]
            location = location[:-1]
        return 0
