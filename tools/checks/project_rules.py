"""Rules of this project that no linter knows: what tracked files must not contain, and what must be documented."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BINARY = {".png", ".gz", ".mpy", ".bin", ".jpg", ".woff2"}

# Each is a pattern and what to do instead.
FORBIDDEN = [
    (r"(?<![\w.])/(?:work|root|home/\w+|Users/\w+)/", "a path of one machine: make it relative"),
    (
        r"files\.pythonhosted\.org|pypi\.org/simple|registry\.npmjs\.org|deb\.debian\.org",
        "names a registry: leave it to the client",
    ),
    (r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----", "a private key: make one when the test runs"),
    (r"\b(?:ghp|gho|glpat|xox[bp])[-_][A-Za-z0-9_-]{16,}", "a token"),
    (r"(?m)^(?:<{7} |>{7} |={7}$)", "a merge conflict"),
]
# Habit: a file that a newcomer reads at a sitting. Beyond this it is split.
LINES_MAX = 400


def tracked() -> list[Path]:
    """Files under version control that are there."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def forbidden_strings(path: Path, text: str) -> Iterator[str]:
    """What this file must not contain."""
    if path == Path(__file__).resolve():
        return
    for pattern, instead in FORBIDDEN:
        for match in re.finditer(pattern, text):
            line = text.count("\n", 0, match.start()) + 1
            yield f"{path.relative_to(ROOT)}:{line}: {match.group()!r}: {instead}"


def too_long(path: Path, text: str) -> Iterator[str]:
    """Source files that have outgrown one reading."""
    lines = text.count("\n")
    if path.suffix == ".py" and lines > LINES_MAX:
        yield f"{path.relative_to(ROOT)}: {lines} lines, at most {LINES_MAX}: split it"


def dead_links(path: Path, text: str) -> Iterator[str]:
    """Links of a page to files that are not there."""
    if path.suffix != ".md":
        return
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        if "://" not in target and not target.startswith("mailto:") and not (path.parent / target).exists():
            yield f"{path.relative_to(ROOT)}: no such file: {target}"


def main() -> int:
    """Print each breach on a line; 1 if there is any."""
    breaches: list[str] = []
    for path in tracked():
        if path.suffix in BINARY:
            continue
        text = path.read_text(encoding="utf-8")
        for rule in (forbidden_strings, too_long, dead_links):
            breaches.extend(rule(path, text))
    print("\n".join(breaches), end="\n" if breaches else "")
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main())
