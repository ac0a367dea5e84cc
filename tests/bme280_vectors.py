"""Bosch's worked example and a public test's raw values, and how a chip holds such trimming values."""

import json
import struct
from pathlib import Path
from typing import Any

VECTORS = json.loads((Path(__file__).parent / "data" / "bme280_vectors.json").read_text())


def trimming_blocks(cal: dict[str, Any]) -> tuple[bytes, bytes]:
    """The two register blocks that hold these values (data sheet, table 16)."""
    h = cal["H"] or [0] * 6
    part_1 = struct.pack("<HhhHhhhhhhhhBB", *cal["T"], *cal["P"], 0, h[0])
    shared = (h[3] & 0x0F) | (h[4] & 0x0F) << 4
    part_2 = struct.pack("<hBBBBb", h[1], h[2], h[3] >> 4 & 0xFF, shared, h[4] >> 4 & 0xFF, h[5])
    return part_1, part_2


def half_away(value: float) -> int:
    return int(value + 0.5) if value >= 0 else -int(-value + 0.5)
