"""A TCP proxy before a broker: it cuts connections, and can play a broker that does not know MQTT 5."""

import asyncio
import contextlib
from enum import Enum

CONNACK_VERSION = b"\x20\x02\x00\x01"
"""MQTT 3.1.1's "unacceptable protocol version"."""


class Mqtt5(Enum):
    """What happens to a client that asks for MQTT 5."""

    PASSED = "passed"
    REFUSED = "refused"
    DROPPED = "dropped"


class Proxy:
    """Listens on `port`; everything goes to `target` while `open`."""

    def __init__(self, port: int, target: int, mqtt5: Mqtt5 = Mqtt5.PASSED) -> None:
        self.port = port
        self.target = target
        self.mqtt5 = mqtt5
        self.levels: list[int] = []
        """Protocol level of each CONNECT that came."""
        self._open = True
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "Proxy":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """End all connections at once, whatever is on its way in them."""
        for writer in self._writers:
            writer.transport.abort()

    def close(self) -> None:
        """Cut, and take no new connections until `reopen`."""
        self._open = False
        self.cut()

    def reopen(self) -> None:
        self._open = True

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        try:
            if self._open:
                with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                    await self._relay(reader, writer)
        finally:
            await self._end(writer)
            self._tasks.discard(task)

    async def _end(self, writer: asyncio.StreamWriter) -> None:
        self._writers.discard(writer)
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await reader.read(65536)
        if not first:
            return
        level = first[first.index(b"MQTT") + 4]
        self.levels.append(level)
        if level == 5 and self.mqtt5 is not Mqtt5.PASSED:
            if self.mqtt5 is Mqtt5.REFUSED:
                writer.write(CONNACK_VERSION)
                await writer.drain()
            return
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        self._writers.add(far_writer)
        try:
            far_writer.write(first)
            async with asyncio.TaskGroup() as group:
                group.create_task(_copy(reader, far_writer))
                group.create_task(_copy(far_reader, writer))
        finally:
            await self._end(far_writer)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.transport.abort()
