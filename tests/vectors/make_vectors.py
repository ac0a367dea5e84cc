"""Makes `protocol.json`: columns, messages and frames as an independent implementation would write them.

    python tests/vectors/make_vectors.py

CBOR is cbor2's, sealing pycose's, columns those of `columns_reference.py`, the rest is SPEC.md: nothing comes from
`wayside_protocol`. A change of this file's output is a change of the protocol.
"""

import csv
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import cbor2  # noqa: E402
from pycose.algorithms import AESCCM1664128  # noqa: E402
from pycose.headers import IV, Algorithm  # noqa: E402
from pycose.keys.symmetric import SymmetricKey  # noqa: E402
from pycose.messages.enc0message import Enc0Message  # noqa: E402

import columns_reference as reference  # noqa: E402

SEED = 2
KEY = bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c")
U16, U32 = 0xFFFF, 0xFFFFFFFF
TOP = 2**27 - 1
NAMES = {"temperature": (1, 2), "humidity": (2, 1), "pressure": (3, 1), "pm2_5": (4, 1)}
NAMES |= {"walkers_in": (5, 0), "walkers_out": (6, 0)}

Cells = list[int | None]


def cbor(item: object) -> bytes:
    return cbor2.dumps(item, canonical=True)


def street(start: int, n: int) -> list[Cells]:
    """Recorded columns in steps."""
    with (HERE.parent / "data" / "street_1min.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))[start : start + n]
    return [[round(float(row[name]) * 10**decimals) for row in rows] for name, (_, decimals) in NAMES.items()]


def holes(columns: list[Cells], rng: Random, share: float) -> list[Cells]:
    """The same with readings taken out."""
    return [[None if rng.random() < share else cell for cell in column] for column in columns]


def columns(rng: Random) -> list[dict[str, Any]]:
    """Coded batches: recorded ones, and what a recording has never."""
    six = [number for number, _ in NAMES.values()]
    cases: list[tuple[str, list[int], Sequence[Sequence[int | None]]]] = [
        ("the example of SPEC 4.5", [1], [[2100, 2103, 2103, 2102]])
    ]
    cases += [(f"street, {n} samples", six, street(20 * n, n)) for n in (1, 2, 12, 60, 150, 255)]
    cases.append(("street, 150 samples that have an escape", [4], [street(1350, 150)[3]]))
    cases += [(f"street with {share:.0%} missing", six, holes(street(500, 12), rng, share)) for share in (0.05, 0.5)]
    cases.append(("nothing there", six, [[None] * 12 for _ in six]))
    cases.append(("one reading of each", six, [[7 if j == i else None for j in range(12)] for i in range(6)]))
    cases.append(("constant", six, [[5 if c < 4 else 0 for _ in range(12)] for c in range(6)]))
    many: list[Cells] = [[20 * i + j for j in range(5)] for i in range(16)]
    cases.append(("16 channels", [1, 5] * 8, many))
    cases.append(("ends of the ranges", [1, 2, 3, 4], [[-4000, 8500], [0, 1000], [3000, 11000], [0, 10000]]))
    cases.append(("beyond the ranges", [1, 2, 3, 4], [[-4001, 8501], [-1, 1001], [2999, 11001], [-1, 10001]]))
    cases.append(("extremes", [1, 2, 5], [[TOP, -TOP, TOP], [-TOP, TOP, None], [TOP, 0, TOP]]))
    zeros: list[Cells] = [[0 if j < 11 else last for j in range(12)] for last in (15, 16)]
    cases.append(("15 and 16 zeros", [5, 5], zeros))
    for k in range(14):
        column: Cells = [rng.randint(0, 2 << k) for _ in range(40)]
        cases.append((f"counts about 2^{k}", [5], [column]))
        gauge: Cells = [rng.randint(0, 2 << k) for _ in range(40)]
        cases.append((f"a gauge that moves about 2^{k}", [4], [gauge]))
    return [
        {
            "name": name,
            "quantities": quantities,
            "rows": [column[i] for i in range(len(table[0])) for column in table],
            "n": len(table[0]),
            "coded": reference.encode(quantities, table).hex(),
        }
        for name, quantities, table in cases
    ]


def message(kind: str, fields: Sequence[object], item: object) -> dict[str, Any]:
    """A message: its kind, the fields that its encoder takes, and its plaintext."""
    return {"kind": kind, "fields": fields, "plain": cbor(item).hex()}


def messages() -> list[dict[str, Any]]:
    """One or more of every kind."""
    out = []
    coded = reference.encode([1, 5], [[2100, 2101], [0, 3]])
    for t in (0, 1_700_000_000, U32, [1, 2], [U32, U32]):
        out.append(message("samples", [t, 60, 1, 2, coded.hex()], [0, t, 60, 1, 2, coded]))
        out.append(message("event", [t, 1, [3, 1, "1.0"]], [1, t, 1, [3, 1, "1.0"]]))
        out.append(message("log", [t, 4, "µg/m³"], [4, t, 4, "µg/m³"]))
    out.append(message("samples", [5, 86400, U32, 255, "ff" * 900], [0, 5, 86400, U32, 255, b"\xff" * 900]))
    detail = [7, 70000, "", "é" * 100, -1, -(2**62), 2**62]
    out.append(message("event", [9, U16, detail], [1, 9, U16, detail]))
    values = {1: 99, 24: -1, 2: 2**40, 300: "new", U16: 0}
    out.append(message("health", [9, [list(pair) for pair in values.items()]], [2, 9, values]))
    out.append(message("health", [[3, 4], []], [2, [3, 4], {}]))
    for n in (1, 6, 16):
        pairs = [[1 + i % 6, i] for i in range(n)]
        out.append(message("channels", [n, pairs], [3, n, pairs]))
    hello: list[object] = [1, 123_456, None, 5, 70_000, 0, 1, "1.0.0", "esp32", 3]
    out.append(message("hello", hello, [0, *hello]))
    hello = [255, 2**42, [1_700_000_000_000, 250], 7, 6, U32, U32, "", "é", U32]
    out.append(message("hello", hello, [0, *hello]))
    out.append(message("answer", [U32, 2, "unknown command"], [1, U32, 2, "unknown command"]))
    for held in ([], [[0, 0]], [[24 * i, 24 * i + 9] for i in range(16)]):
        flat = [number for pair in held for number in pair]
        out.append(message("welcome", [9, 1_700_000_000_000, 64, held], [0, 9, 1_700_000_000_000, 64, flat]))
        out.append(message("welcome", [U32, None, 0, held], [0, U32, None, 0, flat]))
    for ranges in ([], [[0, U32]], [[300 * i, 300 * i + 298] for i in range(32)]):
        out.append(message("ack", [ranges], [1, [number for pair in ranges for number in pair]]))
    out.append(message("command", [1, 2, 0], [2, 1, 2, 0]))
    out.append(message("command", [U32, U16, U32], [2, U32, U16, U32]))
    return out


def frame(kind: int, node: int, a: int, b: int, boot: int, plain: bytes) -> dict[str, Any]:
    """A frame as pycose seals it."""
    clear = [kind, node, b] if kind == 0 else [kind, node, a, b]
    nonce = b"".join(part.to_bytes(size, "big") for part, size in ((kind, 1), (node, 4), (a, 4), (b, 4)))
    sealed = Enc0Message(
        phdr={Algorithm: AESCCM1664128},
        uhdr={IV: nonce},
        payload=plain,
        external_aad=cbor([*clear, boot] if kind == 2 else clear),
        key=SymmetricKey(k=KEY),
    ).encrypt()
    whole = cbor([*clear, sealed]).hex()
    return {"kind": kind, "node": node, "a": a, "b": b, "boot": boot, "plain": plain.hex(), "frame": whole}


def frames(rng: Random) -> list[dict[str, Any]]:
    """Every kind with every number at every edge, and bodies about the lengths of AES blocks and heads."""
    out = []
    for edge in (0, 23, 24, 255, 256, 65535, 65536, U32):
        out.append(frame(0, edge, 0, 7, 0, b"edge"))
        out.append(frame(0, 1001, 0, edge, 0, b"edge"))
        out.append(frame(1, edge, edge, edge, 0, b"edge"))
        out.append(frame(2, 1001, min(edge, U16), edge, 7, b"edge"))
        out.append(frame(2, 1001, 1, 2, edge, b"edge"))
    for n in (1, 7, 8, 15, 16, 17, 23, 24, 31, 32, 33, 247, 248, 996):
        out.append(frame(n % 3, U32, 0 if n % 3 == 0 else n, U32, U32, rng.randbytes(n)))
    return out


def made() -> dict[str, Any]:
    """All vectors."""
    rng = Random(SEED)
    return {
        "source": "tests/vectors/make_vectors.py",
        "key": KEY.hex(),
        "columns": columns(rng),
        "messages": messages(),
        "frames": frames(rng),
    }


def text() -> str:
    """The file's content, one vector a line."""
    parts = made()
    lines = [f' "{name}": {json.dumps(value)}' for name, value in parts.items() if isinstance(value, str)]
    for name, value in parts.items():
        if isinstance(value, list):
            lines.append(f' "{name}": [\n' + ",\n".join("  " + json.dumps(case) for case in value) + "\n ]")
    return "{\n" + ",\n".join(lines) + "\n}\n"


if __name__ == "__main__":
    (HERE / "protocol.json").write_text(text(), encoding="utf-8")
