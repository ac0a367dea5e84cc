"""A link in memory: the test puts bytes in, and finds in `said` what the gateway sent."""

import asyncio
import time
from collections.abc import AsyncIterator

from wayside_gateway.errors import LinkError


class FakeLink:
    """`put` gives bytes to the gateway, `end` ends the line."""

    def __init__(self, name: str = "fake0") -> None:
        self.name = name
        self.arrived_ms = 0
        self.said = bytearray()
        self.full = False
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue()

    def put(self, data: bytes) -> None:
        self._queue.put_nowait(data)

    def end(self) -> None:
        self._queue.put_nowait(None)

    def take(self) -> bytes:
        data = bytes(self.said)
        self.said.clear()
        return data

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            data = await self._queue.get()
            if data is None:
                raise LinkError("gone", "the test ended it")
            self.arrived_ms = int(time.monotonic() * 1000)
            yield data

    def write(self, data: bytes) -> bool:
        if self.full:
            return False
        self.said += data
        return True
