"""The seam between links and the rest of the gateway: nothing wider than this is seen of a link."""

from collections.abc import AsyncIterator
from typing import Protocol


class Link(Protocol):
    """An open line to one or more nodes.

    Iterating gives bytes as they come, in pieces of any size, and ends by LinkError when the line is gone.
    """

    @property
    def name(self) -> str:
        """What a person calls the line: a device's path or an adapter's address."""

    @property
    def arrived_ms(self) -> int:
        """Monotonic milliseconds at which the oldest byte of the last piece was read."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    def write(self, data: bytes) -> bool:
        """Queue bytes for sending; False if the line takes no more, and then nothing of them was queued."""
