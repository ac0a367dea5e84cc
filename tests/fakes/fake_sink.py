"""A sink that can fail in every way, and the far side that outlives it."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Sequence

from wayside_gateway.uplinks.sink import Advance, Block, Item, Part, Unavailable

TAKEN = 1
"""The sink's one stage: it has the block, and only has to be asked to keep it."""


class Broker:
    """The far side: what it was handed, and what it kept. It outlives the uplinks that talk to it."""

    def __init__(self) -> None:
        self.kept: list[tuple[int, bytes]] = []
        self.held: dict[int, bytes] = {}
        self.present = True


class FakeSink:
    """Delivers in two steps, as QoS 2 does; `fault` is asked before each and may raise."""

    window = 4

    def __init__(self, broker: Broker, limit: int = 20, fault: Callable[[str, Part], None] | None = None) -> None:
        self.broker = broker
        self.limit = limit
        self.fault = fault or (lambda *_: None)
        self.connects = 0
        self.spoiled: set[int] = set()
        self._gone = asyncio.Event()

    def render(self, items: Sequence[Item], whole: bool = False) -> list[Part]:
        parts: list[Part] = []
        for node in sorted({item.node for item in items}):
            mine = [item for item in items if item.node == node]
            size = len(mine) if whole else self.limit
            for at in range(0, len(mine), max(1, size)):
                parts.append(Part(node, "all", mine[at : at + size], self._payload(mine[at : at + size])))
        return parts

    def _payload(self, items: list[Item]) -> bytes:
        out = []
        for item in items:
            if item.seq in self.spoiled:
                raise RuntimeError("a fault in the sink")
            out.append([item.node, item.seq, item.time and (item.time.unix_s, item.time.quality)])
        return json.dumps(out).encode()

    async def connect(self, resume: bool) -> bool:
        self.connects += 1
        self._gone.clear()
        self.fault("connect", Part(0, "", [], b""))
        present, self.broker.present = self.broker.present, True
        if not present:
            self.broker.held.clear()
        return resume and present

    async def watch(self) -> None:
        await self._gone.wait()
        raise Unavailable("gone", "The connection ended.")

    def drop(self) -> None:
        self._gone.set()

    async def deliver(self, block: Block, advance: Advance) -> None:
        if block.stage != TAKEN:
            self.fault("send", block.part)
            self.broker.held.setdefault(block.number, block.part.payload)
            await asyncio.sleep(0)
            self.fault("taken", block.part)
            await advance(TAKEN)
        self.fault("keep", block.part)
        payload = self.broker.held.pop(block.number, None)
        if payload is not None:
            self.broker.kept.append((block.number, payload))
        await asyncio.sleep(0)
        self.fault("kept", block.part)

    async def close(self, orderly: bool) -> None:
        pass


def came(broker: Broker) -> Counter[tuple[int, int]]:
    return Counter((node, seq) for _, payload in broker.kept for node, seq, _ in json.loads(payload))


def times_of(broker: Broker) -> dict[tuple[int, int], object]:
    return {(node, seq): time for _, payload in broker.kept for node, seq, time in json.loads(payload)}
