"""Writes docs/settings.md from the docstrings of the settings' own source; with --check only says whether it is so."""

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "gateway" / "wayside_gateway" / "settings.py"
PAGE = ROOT / "docs" / "settings.md"
TABLES = {
    "Settings": "Top of the file",
    "SerialRule": "[[serial]]",
    "MqttSettings": "[mqtt]",
    "Tls": "[mqtt.tls]",
    "StoreSettings": "[store]",
    "ClockSettings": "[clock]",
    "LogSettings": "[log]",
}
HEAD = """# The settings of a gateway

One TOML file, named with `--settings`. `wayside gateway check` tells everything that is wrong with it at once, each
problem with its line and what to write instead. Relative paths count from the file's own directory, but for the `path`
of a port. A whole example with comments is in [operator.md](operator.md#settings).

```toml
gateway = 1
deployment = "my-town"
data = "/var/lib/wayside"

[[serial]]
known = true

[mqtt]
host = "broker.example.org"
```

The keys of the nodes are in a file of their own, which only its owner may read: `wayside nodes add` writes it.
"""


def _default(value: ast.expr | None) -> str:
    """The default as TOML would write it."""
    if value is None:
        return "required"
    if isinstance(value, ast.Call):
        named = {keyword.arg: keyword.value for keyword in value.keywords}
        if "default" not in named:
            return ""
        value = named["default"]
    constants = {"GIB": 1 << 30}
    result = eval(compile(ast.Expression(value), str(SOURCE), "eval"), constants)  # noqa: S307 - our own source
    if result is None or result == ():
        return ""
    return (
        str(result).lower() if isinstance(result, bool) else f'"{result}"' if isinstance(result, str) else str(result)
    )


def _rows(model: ast.ClassDef) -> list[str]:
    rows = []
    for field, text in zip(model.body, [*model.body[1:], None], strict=True):
        if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
            continue
        told = isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
        if not told and "Settings" in ast.unparse(field.annotation):
            continue  # a table of its own
        if not told:
            raise SystemExit(f"{SOURCE}:{field.lineno}: {field.target.id} has no docstring")
        assert isinstance(text, ast.Expr)
        assert isinstance(text.value, ast.Constant)
        words = " ".join(str(text.value.value).split())
        rows.append(f"| `{field.target.id}` | {_default(field.value)} | {words} |".replace("|  |", "| |"))
    return rows


def page() -> str:
    """The whole page."""
    tree = ast.parse(SOURCE.read_text())
    models = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    parts = [HEAD]
    for name, title in TABLES.items():
        words = ast.get_docstring(models[name]) or ""
        shown = title if title.startswith("Top") else f"`{title}`"
        parts.append(f"\n## {shown}\n\n{words}\n\n| setting | default | meaning |\n| --- | --- | --- |\n")
        parts += [row + "\n" for row in _rows(models[name])]
    return "".join(parts)


def main() -> int:
    """Write the page, or compare it."""
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(page())
        return 0
    if PAGE.exists() and PAGE.read_text() == page():
        return 0
    sys.stderr.write("docs/settings.md is not what the settings say: run tools/checks/settings_page.py\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
