"""Memory that a backlog took and that nothing holds any more, given back to the machine."""

import ctypes
from collections.abc import Callable
from typing import cast


def _found() -> "Callable[[int], int] | None":
    try:
        return cast("Callable[[int], int]", ctypes.CDLL(None).malloc_trim)
    except (OSError, AttributeError):  # not glibc: musl and macOS see to it by themselves
        return None


_malloc_trim = _found()


def give_back() -> None:
    """glibc keeps freed memory below what is still in use (malloc_trim(3)); a call takes about a millisecond."""
    if _malloc_trim is not None:
        _malloc_trim(0)
