"""Where the firmware's and the protocol's source files are: in a checkout, or in an installed wheel."""

from pathlib import Path

import wayside_protocol

_PACKAGE = Path(__file__).resolve().parent


def firmware_dir() -> Path:
    """The folder with `main.py` and `wayside_node/`. FileNotFoundError if this installation has none."""
    for folder in (_PACKAGE / "_firmware", _PACKAGE.parents[1] / "firmware"):
        if (folder / "wayside_node").is_dir():
            return folder
    raise FileNotFoundError("this installation of wayside has no firmware in it")


def protocol_dir() -> Path:
    """The folder that holds the package `wayside_protocol`."""
    return Path(wayside_protocol.__file__).resolve().parents[1]
