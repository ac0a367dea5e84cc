"""Replacing a small file: whoever looks sees the old one or the new one, whole, also after a power cut."""

import contextlib
import os
import tempfile
from pathlib import Path


def write_private(path: Path, data: bytes, sync: bool = True) -> None:
    """Put data at path, readable by its owner only. Raises OSError; then the old file is as it was.

    Without `sync` a power cut may take the new content: for what is only a view of something else.
    """
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # made with mode 0600
    try:
        with open(handle, "wb") as file:
            file.write(data)
            file.flush()
            if sync:
                os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
    if sync:
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
