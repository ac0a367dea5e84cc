"""Lays out what goes onto a board's file system: the compiled firmware, and with a node's file who the board is.

    python tools/board_files.py OUT [--node node.json] [--set sample_interval_s=60 …]

`node.json` is what `wayside nodes add --out node.json` wrote. Copy OUT onto the board with mpremote; docs/technician.md
says how. OUT then holds the node's key: delete it.
"""

import argparse
import json
import os
import shutil
import sys
from pathlib import Path

from wayside_sim.build import compile_tree, firmware_sources
from wayside_sim.provision import node_files


def settings_of(texts: list[str]) -> dict[str, int]:
    """NAME=VALUE texts as settings. Raises ValueError."""
    out = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not value.strip().lstrip("-").isdigit():
            raise ValueError(f"--set takes NAME=NUMBER, not {text!r}")
        out[name.strip()] = int(value)
    return out


def lay_out(out: Path, node_file: Path | None, settings: dict[str, int]) -> None:
    """Write all files below OUT, which must not be there yet. Raises OSError, ValueError."""
    known: dict[str, bytes] = {}
    if node_file is not None:
        try:
            given = json.loads(node_file.read_text())
            known = node_files(int(given["node"]), bytes.fromhex(given["key"]), settings)
        except (KeyError, TypeError, json.JSONDecodeError):
            raise ValueError(f"{node_file} is not what `wayside nodes add --out` writes") from None
    elif settings:
        raise ValueError("--set needs --node")
    out.mkdir(mode=0o700)
    shutil.copytree(compile_tree(firmware_sources()), out, dirs_exist_ok=True)
    out.chmod(0o700)
    for name, content in known.items():
        path = out / name.lstrip("/")
        path.parent.mkdir(exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(handle, "wb") as file:
            file.write(content)


def main() -> int:
    """0 done, 1 failed, 2 misused."""
    parser = argparse.ArgumentParser(description="Lay out what goes onto a board's file system.")
    parser.add_argument("out", type=Path, help="folder to make")
    parser.add_argument("--node", type=Path, help="what `wayside nodes add --out` wrote")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=NUMBER", help="a node's setting")
    wanted = parser.parse_args()
    try:
        lay_out(wanted.out, wanted.node, settings_of(wanted.set))
    except FileExistsError as error:
        sys.stderr.write(f"board_files: {error.filename} is there already: name another folder, or delete it\n")
        return 1
    except (OSError, ValueError) as error:
        sys.stderr.write(f"board_files: {error}\n")
        return 1
    private = ", then delete it: it holds a key" if wanted.node else ""
    sys.stdout.write(f"{wanted.out} is ready: copy it with mpremote{private}.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
