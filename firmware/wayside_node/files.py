"""Files as the node needs them: write part of a buffer, read into one, and make it durable.

littlefs commits a file's content when it is synced: after a power cut a file holds what the last sync saw,
and nothing of what was written after it. Everything above relies on that, and on nothing else.
"""

import os
import sys

SEEK_END = 2

if sys.implementation.name == "micropython":

    def write(f, buf, n):
        """The first n bytes of buf; MicroPython's own form makes no slice."""
        return f.write(buf, n)

    def read(f, buf, n):
        """Up to n bytes into buf; return how many came."""
        return f.readinto(buf, n)

    def sync(f):
        """Returns once the file's content is on flash: there `flush` is the file system's sync."""
        f.flush()

else:

    def write(f, buf, n):
        return f.write(memoryview(buf)[:n])

    def read(f, buf, n):
        return f.readinto(memoryview(buf)[:n])

    def sync(f):
        f.flush()
        os.fsync(f.fileno())


def unbuffered(path, mode):
    """The open file, the caller's to close; CPython would otherwise keep its own idea of the file's content."""
    return open(path, mode, 0)


def exists(path):
    """Whether there is a file or folder of this name."""
    try:
        os.stat(path)
    except OSError:
        return False
    return True


def make_folder(path):
    """The folder and those above it; one that is there already is left as it is."""
    at = path.find("/", 1)
    while True:
        part = path if at < 0 else path[:at]
        if part and not exists(part):
            os.mkdir(part)
        if at < 0:
            return
        at = path.find("/", at + 1)


def remove(path):
    """The file, if it is there; return whether it was."""
    try:
        os.remove(path)
    except OSError:
        return False
    return True
