"""What the documentation says of commands and settings, held against the commands and settings there are."""

import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import typer

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "firmware"), str(ROOT / "tools" / "checks")]

import settings_page  # noqa: E402 - a neighbour

from wayside_gateway.errors import SettingsError  # noqa: E402
from wayside_gateway.settings import parse  # noqa: E402
from wayside_node.settings import TABLE  # noqa: E402
from wayside_tools import cli  # noqa: E402

ABSENT = {("flash",), ("provision",), ("gateway", "backup")}
"""Commands that the pages name to say that they are not there yet."""
_END = {"|", "||", "&&", ";", ">", "<", "2>", "&"}
_PLACEHOLDER = re.compile(r"[A-Z…]|\[")


def pages() -> list[Path]:
    """All pages for people."""
    return [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/*.md")), *sorted(ROOT.glob("protocol/*.md"))]


def shown(text: str) -> Iterator[tuple[int, str]]:
    """Every `wayside …` command of a page, with its line: in blocks of code, and in code within a line."""
    fenced = ""
    for number, line in enumerate(text.split("\n"), start=1):
        if line.startswith("```"):
            fenced = "" if fenced else line
            continue
        code = [line] if fenced or line.startswith("    ") else re.findall(r"`([^`]+)`", line)
        for part in code:
            found = re.search(r".*(?:^|\s|/)(?<!-o )(?<!-u )wayside (?=[a-z]|--)(.*)", part)
            if found and not re.match(r"\s*(#|wayside: |User=|sudo useradd)", part):
                yield number, found.group(1)


def wrong(arguments: str) -> str:
    """Why this is no command line of `wayside`; "" if it is one."""
    words = shlex.split(arguments.replace("'", "´"), comments=True)
    node = typer.main.get_command(cli.app)
    path: tuple[str, ...] = ()
    options = _options(node)
    for word in words:
        if word in _END:
            break
        if word.startswith("-") and word != "-":
            if word.split("=")[0] not in options:
                return f"`wayside {' '.join(path)}` has no option {word}"
        elif hasattr(node, "commands") and not _PLACEHOLDER.match(word):
            path = (*path, word)
            if path in ABSENT:
                return ""
            if word not in node.commands:
                return f"there is no `wayside {' '.join(path)}`"
            node = node.commands[word]
            options = _options(node)
    return ""


def _options(command: object) -> set[str]:
    return {"-h", "--help", *(name for p in getattr(command, "params", []) for name in p.opts)}


def commands() -> Iterator[str]:
    """Commands and options that are not, and those without a word of help."""
    for page in pages():
        for number, arguments in shown(page.read_text()):
            if reason := wrong(arguments):
                yield f"{page.relative_to(ROOT)}:{number}: {reason}"
    yield from _silent(typer.main.get_command(cli.app), ("wayside",))
    for path in sorted(ABSENT):
        node: object = typer.main.get_command(cli.app)
        for word in path:
            node = getattr(node, "commands", {}).get(word)
        if node is not None:
            yield f"`wayside {' '.join(path)}` is there now: the pages that say it is not are out of date"


def _silent(command: object, path: tuple[str, ...]) -> Iterator[str]:
    if not getattr(command, "help", ""):
        yield f"`{' '.join(path)}` has no help"
    for parameter in getattr(command, "params", []):
        if not getattr(parameter, "help", "") and not getattr(parameter, "hidden", False):
            yield f"`{' '.join(path)}`: {parameter.name} has no help"
    for name, child in getattr(command, "commands", {}).items():
        yield from _silent(child, (*path, name))


def settings() -> Iterator[str]:
    """Settings without a line, or with another line than the source says."""
    if settings_page.PAGE.read_text() != settings_page.page():
        yield "docs/settings.md is not what the settings say: run tools/checks/settings_page.py"
    technician = (ROOT / "docs" / "technician.md").read_text()
    for name, *figures in TABLE:
        row = f"| `{name}` | " + " | ".join(map(str, figures)) + " | "
        if row not in technician:
            yield f"docs/technician.md: no line that begins with: {row}"
    example = re.search(r"<!-- settings -->\n```toml\n(.*?)```", (ROOT / "docs" / "operator.md").read_text(), re.S)
    text = example.group(1) if example else ""
    try:
        parse(text, "docs/operator.md")
    except SettingsError as error:
        yield str(error)
    for name in re.findall(r"^\| `(\w+)` \|", settings_page.page(), re.M):
        if not re.search(rf"^(# |\[+|\[mqtt\.)?{name}\b", text, re.M):
            yield f"docs/operator.md: the example does not show {name}"


def anchors() -> Iterator[str]:
    """Links to headings that are not there. Dead links to files are found by project_rules.py."""
    for page in pages():
        for target, heading in re.findall(r"\]\(([^)#\s]*)#([^)\s]+)\)", page.read_text()):
            other = (page.parent / target) if target else page
            if "://" in target or other.suffix != ".md" or not other.exists():
                continue
            titles = re.findall(r"^#+ (.*)$", other.read_text(), re.M)
            if heading not in {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}:
                yield f"{page.relative_to(ROOT)}: {other.name} has no heading #{heading}"


def files() -> Iterator[str]:
    """Files that a page names in passing and that are not there."""
    named = re.compile(r"(?<![\w/.-])((?:docs|firmware|gateway|protocol|requirements|tests|tools)/[\w./-]+\.\w+)")
    for page in pages():
        for name in sorted(set(named.findall(page.read_text()))):
            if not (ROOT / name).exists():
                yield f"{page.relative_to(ROOT)}: no such file: {name}"


def main() -> int:
    """Print each breach on a line; 1 if there is any."""
    breaches = [*commands(), *settings(), *anchors(), *files()]
    print("\n".join(breaches), end="\n" if breaches else "")
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main())
