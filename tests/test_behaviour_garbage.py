"""Hours of rubbish on a line: a link that still works afterwards, in memory that did not grow."""

import asyncio
import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import psutil
import pytest

from fakes.gateway import FakeGateway
from fakes.link import FakeLink
from fakes.node import KEY, FakeNode
from wayside_gateway.clock import GatewayClock
from wayside_gateway.errors import LinkError
from wayside_gateway.ingest import Ingest
from wayside_gateway.keys import NodeKey
from wayside_gateway.refusals import REFUSALS_MAX
from wayside_gateway.store import Store
from wayside_protocol.cobs import encode
from wayside_protocol.event import HEAP_FREE
from wayside_protocol.frame import Sealer
from wayside_protocol.record import Health
from wayside_sim.board import SimulatedBoard
from wayside_sim.process import micropython_folder
from wayside_sim.world import World

NODE = 1001
MIB = 1 << 20
CHUNK = 1 << 16
FEED = 50 * MIB
SETTLE = 6 * MIB
"""Fed before the measuring begins: the allocator's own pools fill first."""
GROWTH_MAX = 8 * MIB
"""The counters, the refusals' table and the allocator's whims; a leak by the byte would be several times as much."""


def noise(rng: Random) -> bytes:
    """What a line with a wrong baud rate gives."""
    return rng.randbytes(CHUNK)


def silence(rng: Random) -> bytes:
    """No zero for a long time: a chunk that never ends."""
    return rng.randbytes(CHUNK).replace(b"\0", b"\1")


def strangers(rng: Random) -> bytes:
    """Well-formed frames of nodes that nobody knows, each another one."""
    sealer, out, plain = Sealer(rng.randbytes(16)), bytearray(1024), bytearray(200)
    parts = []
    for _ in range(CHUNK // 250):
        length = sealer.record(out, rng.randrange(1 << 32), rng.randrange(1 << 32), plain, 200)
        parts.append(encode(out[:length]))
    return b"".join(parts) * 4


def forgeries(rng: Random) -> bytes:
    """Well-formed frames under our node's number, of another key."""
    sealer, out, plain = Sealer(rng.randbytes(16)), bytearray(1024), bytearray(900)
    parts = []
    for _ in range(CHUNK // 1000):
        length = sealer.record(out, NODE, rng.randrange(1 << 32), plain, 900)
        parts.append(encode(out[:length]))
    return b"".join(parts) * 4


def log_output(rng: Random) -> bytes:
    """A board that crashes again and again."""
    text = b'Traceback (most recent call last):\r\n  File "main.py", line %d, in <module>\r\nOSError: 5\r\n'
    return b"".join(text % rng.randrange(999) for _ in range(700))


@pytest.mark.parametrize("kind", [noise, silence, strangers, forgeries, log_output], ids=lambda kind: kind.__name__)
async def test_50_mb_of_it_into_the_gateway(kind: Callable[[Random], bytes], tmp_path: Path, seed: int) -> None:
    rng = Random(seed)
    pieces = [kind(rng) for _ in range(8)]
    store = Store(tmp_path / "s.sqlite")
    ingest = Ingest(store, {NODE: NodeKey(KEY)}, 7, GatewayClock(require_ntp=False), commit_interval_ms=5)
    link, node, stop = FakeLink(), FakeNode(NODE), asyncio.Event()
    tasks = [asyncio.create_task(ingest.run(stop)), asyncio.create_task(ingest.serve(link))]
    process = psutil.Process(os.getpid())
    fed = before = 0
    while fed < FEED:
        piece = pieces[fed // CHUNK % len(pieces)]
        link.put(piece)
        fed += len(piece)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        if not before and fed > SETTLE:
            before = process.memory_info().rss
    await asyncio.sleep(0.05)
    grown = process.memory_info().rss - before
    link.put(b"\0" + node.hello() + node.channels() + node.samples())
    async with asyncio.timeout(20):
        while len(node.acked) < 2:
            await asyncio.sleep(0.01)
            node.hear(link.take())
    assert len(store.after(0, 9)) == 2
    assert len(ingest.refusals.take()) <= REFUSALS_MAX
    stop.set()
    link.end()
    for task in tasks:
        with contextlib.suppress(LinkError):
            await task
    store.close()
    print(f"{fed >> 20} MiB of {kind.__name__}: grew by {grown >> 10} KiB; {ingest.metrics.snapshot()}")
    assert grown < GROWTH_MAX


@pytest.fixture
def board(tmp_path: Path) -> Iterator[SimulatedBoard]:
    settings = {"sample_interval_s": 10, "report_interval_s": 60, "batch": 4, "health_interval_s": 60}
    made = SimulatedBoard(
        workdir=tmp_path / "board", node=NODE, key=KEY, settings=settings, world=World(virtual=True, start_unix=1.8e9)
    )
    made.start()
    yield made
    made.close()


@pytest.mark.micropython
@pytest.mark.skipif(micropython_folder() is None, reason="no MicroPython wheel for this machine")
def test_minutes_of_it_into_a_node(board: SimulatedBoard, seed: int) -> None:
    """As fast as 115,200 baud gives it. The node goes on, and its heap is what it was."""
    rng = Random(seed)
    gateway = FakeGateway(NODE, KEY, lambda: int(board.world.unix() * 1000))
    deaf = [False]

    def heard(data: bytes) -> None:
        answer = gateway.hear(data)
        if answer and not deaf[0]:
            board.feed(answer)

    board.uart_sink = heard
    board.run(130)
    deaf[0] = True
    for second in range(10):
        piece = (noise, silence, strangers, forgeries, log_output)[second % 5](rng)[:11_520]
        for at in range(0, len(piece), 1152):
            board.feed(piece[at : at + 1152])
            board.run(0.1)
    deaf[0] = False
    board.feed(b"\0")
    board.run(300)
    assert board.boots == 1, str(board.log)
    assert sorted(gateway.records) == list(range(1, max(gateway.records) + 1))
    free = [int(body.values[HEAP_FREE]) for body in gateway.records.values() if isinstance(body, Health)]
    assert len(free) >= 6
    print(f"heap free: {free}")
    assert free[-1] > free[1] - 4096
