"""The board's file system seen from outside: put files into a flash image before the first boot, and read them
afterwards."""

from pathlib import Path
from typing import Any

from littlefs import LittleFS

from wayside_sim.profile import BoardProfile


def _mount(image: Path, profile: BoardProfile, *, make: bool) -> LittleFS:
    fs = LittleFS(
        block_size=profile.block_size,
        block_count=profile.blocks,
        read_size=profile.program_size,
        prog_size=profile.program_size,
        cache_size=max(64, 4 * profile.program_size),
        lookahead_size=32,
        mount=False,
    )
    context: Any = fs.context
    if make:
        fs.format()
    else:
        context.buffer = bytearray(image.read_bytes())
    fs.mount()
    return fs


def _write(fs: LittleFS, image: Path, files: dict[str, bytes]) -> None:
    for path, content in files.items():
        folder = str(Path(path).parent)
        if folder not in (".", "/"):
            fs.makedirs(folder, exist_ok=True)
        with fs.open(path, "wb") as f:
            f.write(content)
    context: Any = fs.context
    image.write_bytes(bytes(context.buffer))


def make(image: Path, profile: BoardProfile, files: dict[str, bytes]) -> None:
    """A new image with these files, by their path on the board."""
    fs = _mount(image, profile, make=True)
    _write(fs, image, files)


def read(image: Path, profile: BoardProfile) -> dict[str, bytes]:
    """Every file of an image. The board must be off, or at rest."""
    fs = _mount(image, profile, make=False)
    found: dict[str, bytes] = {}
    for folder, _, names in fs.walk("/"):
        for name in names:
            path = f"{folder.rstrip('/')}/{name}"
            with fs.open(path, "rb") as f:
                found[path] = f.read()
    return found


def put(image: Path, profile: BoardProfile, files: dict[str, bytes]) -> None:
    """Write files into an existing image, as a provisioning tool would. The board must be off."""
    fs = _mount(image, profile, make=False)
    _write(fs, image, files)
