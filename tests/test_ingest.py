"""Ingest: from bytes to the store to acks, with everything a line can bring."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fakes.link import FakeLink
from fakes.node import KEY, FakeNode
from wayside_gateway.clock import GatewayClock
from wayside_gateway.errors import LinkError, StoreError
from wayside_gateway.ingest import Ingest
from wayside_gateway.keys import NodeKey
from wayside_gateway.rows import UNREADABLE, Batch
from wayside_gateway.store import Store
from wayside_protocol import event
from wayside_protocol.cobs import Deframer, encode

NODE = 1001


class Rig:
    """An ingest on a real store, and one link to it."""

    def __init__(self, path: Path, nodes: tuple[int, ...] = (NODE,)) -> None:
        self.store = Store(path)
        self.believed = True
        self.clock = GatewayClock(synchronised=lambda: self.believed)
        self.keys = {node: NodeKey(KEY) for node in nodes}
        self.ingest = Ingest(self.store, self.keys, 7, self.clock, commit_interval_ms=5)
        self.link = FakeLink()
        self.stop = asyncio.Event()

    async def settle(self, until: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not until():  # noqa: ASYNC110 - the condition is on disk or on a line
                await asyncio.sleep(0.002)

    async def exchange(self, node: FakeNode, until: Callable[[], bool]) -> None:
        """Let the node hear what the gateway says until the condition holds."""

        def heard() -> bool:
            node.hear(self.link.take())
            return until()

        await self.settle(heard)


Running = Callable[..., Awaitable[Rig]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Running]:
    rigs: list[tuple[Rig, list[asyncio.Task[None]]]] = []

    async def run(nodes: tuple[int, ...] = (NODE,)) -> Rig:
        rig = Rig(tmp_path / "s.sqlite", nodes)
        tasks = [asyncio.create_task(rig.ingest.run(rig.stop)), asyncio.create_task(rig.ingest.serve(rig.link))]
        rigs.append((rig, tasks))
        return rig

    yield run
    for rig, tasks in rigs:
        rig.stop.set()
        rig.link.end()
        for task in tasks:
            with contextlib.suppress(LinkError, StoreError):
                await task
        rig.store.close()


async def test_a_record_is_stored_and_then_acked(start: Running) -> None:
    rig, node = await start(), FakeNode()
    rig.link.put(node.hello())
    rig.link.put(node.channels() + node.samples() + node.samples())
    await rig.exchange(node, lambda: node.acked == {1, 2, 3})
    assert [(row.seq, row.kind, row.body) for row in rig.store.after(0, 9)] == [
        (seq, kind, node.bodies[seq]) for seq, kind in ((1, 3), (2, 0), (3, 0))
    ]
    assert rig.store.definition(NODE, 1, 2) == node.bodies[1]
    assert len(node.welcomes) == 1
    assert node.refused == 0


async def test_what_is_sent_again_is_acked_again_and_stored_once(start: Running) -> None:
    rig, node = await start(), FakeNode()
    rig.link.put(node.hello() + b"".join(node.samples() for _ in range(5)))
    await rig.exchange(node, lambda: len(node.acked) == 5)
    node.acked.clear()
    rig.link.put(node.again() * 3)
    await rig.exchange(node, lambda: len(node.acked) == 5)
    assert len(rig.store.after(0, 99)) == 5
    assert rig.ingest.metrics.value("records_repeated") >= 5


@pytest.mark.parametrize("number", range(6))
async def test_noise_and_rubbish_between_frames_cost_nothing_but_themselves(start: Running, number: int) -> None:
    rng = random.Random(number)
    rig, node = await start(), FakeNode()
    stranger, forger = FakeNode(node=4242), FakeNode(key=bytes(16))
    line = node.hello()
    for _ in range(60):
        good = node.samples()
        broken = bytearray(node.seal(b"\x86\x00broken", seq=9000))
        broken[rng.randrange(2, len(broken) - 1)] ^= 1 << rng.randrange(8)
        rubbish: list[Callable[[], bytes]] = [
            lambda: b"\0" + rng.randbytes(rng.randrange(40)) + b"\0",
            lambda: b"\0" + b"Traceback (most recent call last):\r\n" * 3 + b"\0",
            lambda: b"\0" + rng.randbytes(3000).replace(b"\0", b"\1") + b"\0",
            stranger.samples,
            forger.samples,
            lambda broken=bytes(broken): broken,  # type: ignore[misc]
            lambda: encode(bytes([2, 1, 1])),
            lambda: node.seal(rng.randbytes(20)),
            lambda: b"",
        ]
        line += rng.choice(rubbish)() + good
    while line:
        size = rng.choice((1, 3, 50, 2000))
        rig.link.put(line[:size])
        line = line[size:]
    await rig.exchange(node, lambda: set(node.records) <= node.acked)
    seqs = sorted(row.seq for row in rig.store.after(0, 999) if row.seq < 9000)
    assert seqs == sorted(node.records)
    assert node.acked - {9000} == set(node.records)


async def test_an_unreadable_record_that_is_genuine_is_kept_and_acked(start: Running) -> None:
    rig, node = await start(), FakeNode()
    rig.link.put(node.hello() + node.seal(b"\x84\x01garbage") + node.seal(b"\xff") + node.seal(b"\x83\x09\x00\x00"))
    await rig.exchange(node, lambda: node.acked == {1, 2, 3})
    assert [row.kind for row in rig.store.after(0, 9)] == [UNREADABLE] * 3
    assert rig.ingest.metrics.value("records_unreadable") == 3


async def test_who_is_not_known_or_does_not_open_is_noted(start: Running) -> None:
    rig, node = await start(), FakeNode()
    rig.link.put(FakeNode(node=5).samples() * 2 + FakeNode(key=bytes(16)).samples() + node.samples())
    await rig.settle(lambda: rig.ingest.metrics.value("records_stored") == 1)
    rows = [(row.node, row.reason, row.frames, row.link) for row in rig.ingest.refusals.rows()]
    assert rows == [(5, "unknown_node", 2, "fake0"), (NODE, "auth", 1, "fake0")]
    assert rig.ingest.metrics.value("frames_refused", "unknown_node") == 2
    assert rig.ingest.metrics.value("frames_refused", "auth") == 1


async def test_claimed_numbers_are_bounded(start: Running) -> None:
    rig = await start()
    node = FakeNode()
    for number in range(2000, 3000):
        node.node = number
        rig.link.put(node.seal(b"\x80", seq=1))
    await rig.settle(lambda: rig.ingest.metrics.value("frames_refused", "unknown_node") == 1000)
    assert len(rig.ingest.refusals.rows()) == 256
    await rig.store.run(rig.store.save_refusals, rig.ingest.refusals.take(), 256)
    assert len(rig.store.refusals()) == 256


async def test_a_node_that_is_added_is_heard_at_once(start: Running) -> None:
    rig = await start(nodes=())
    node = FakeNode()
    rig.link.put(node.samples())
    await rig.settle(lambda: rig.ingest.metrics.value("frames_refused", "unknown_node") == 1)
    rig.ingest.set_keys({NODE: NodeKey(KEY)})
    rig.link.put(node.hello() + node.again())
    await rig.exchange(node, lambda: node.acked == {1})
    rig.ingest.set_keys({})
    rig.link.put(node.samples())
    await rig.settle(lambda: rig.ingest.metrics.value("frames_refused", "unknown_node") == 2)


async def test_losses_that_a_node_reports_are_kept(start: Running) -> None:
    rig, node = await start(), FakeNode()
    rig.link.put(node.hello() + node.event(event.LOST, (3, 9, event.LOST_EVICTED)) + node.event(event.LOST, (9, 3, 1)))
    rig.link.put(node.event(event.LOST, (1 << 63, 1 << 63, 1)) + node.event(event.LOST, ("x",)))
    await rig.exchange(node, lambda: len(node.acked) == 4)
    assert [(row.first, row.last, row.reason) for row in rig.store.lost(NODE)] == [(3, 9, "evicted")]


async def test_acks_name_what_is_on_disk_and_nothing_else(start: Running) -> None:
    rig, node = await start(), FakeNode()
    lines = [node.samples() for _ in range(80)]
    rig.link.put(node.hello())
    kept = [line for n, line in enumerate(lines) if n % 2]  # forty ranges: more than one ack frame holds
    rig.link.put(b"".join(kept))
    await rig.exchange(node, lambda: len(node.acked) == 40)
    assert node.acked == {seq for seq in node.records if seq % 2 == 0}
    assert node.acked == {row.seq for row in rig.store.after(0, 999)}


async def test_no_ack_without_a_commit(start: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    rig, node = await start(), FakeNode()
    rig.link.put(node.hello())
    await rig.exchange(node, lambda: len(node.welcomes) == 1)
    works = rig.store.commit

    def fails(_batch: Batch) -> None:
        raise StoreError("disk_full", "the disk is full")

    monkeypatch.setattr(rig.store, "commit", fails)
    rig.link.put(node.samples())
    await rig.settle(lambda: rig.ingest.metrics.value("commits_failed", "disk_full") == 1)
    assert not rig.link.said
    monkeypatch.setattr(rig.store, "commit", works)
    running = asyncio.create_task(rig.ingest.run(rig.stop))
    rig.link.put(node.again())
    await rig.exchange(node, lambda: node.acked == {1})
    rig.stop.set()
    await running


async def test_a_slow_disk_holds_the_links_back(start: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wayside_gateway.commits.PENDING_RECORDS", 600)
    rig, node = await start(), FakeNode()
    free = asyncio.Event()
    works = rig.store.commit_async

    async def slow(batch: Batch) -> object:
        await free.wait()
        return await works(batch)

    monkeypatch.setattr(rig.store, "commit_async", slow)
    rig.link.put(node.hello())
    for _ in range(60):
        rig.link.put(b"".join(node.samples() for _ in range(50)))
    await rig.settle(lambda: rig.ingest.metrics.value("backpressure") > 0)
    await asyncio.sleep(0.05)
    assert rig.ingest.metrics.value("frames") < 1900
    free.set()
    await rig.exchange(node, lambda: len(node.acked) == 3000)


async def test_a_stranger_with_the_same_key_is_told(start: Running) -> None:
    rig, node, clone = await start(), FakeNode(), FakeNode()
    rig.link.put(node.hello() + node.samples())
    await rig.exchange(node, lambda: node.acked == {1})
    rig.link.put(clone.samples(columns=bytes(30)))
    await rig.settle(lambda: rig.ingest.metrics.value("records_conflicting") == 1)
    assert rig.store.read("SELECT node, seq, body FROM conflict") == [(NODE, 1, clone.bodies[1])]
    row = rig.store.record(NODE, 1)
    assert row is not None
    assert row.body == node.bodies[1]


async def test_a_command_is_sent_until_it_is_answered(start: Running) -> None:
    rig, node = await start(), FakeNode()
    first = rig.store.add_command(NODE, 1, 5, 0)
    second = rig.store.add_command(NODE, 2, 0, 0)
    rig.ingest.offer_commands()
    rig.ingest.pulse()
    assert not rig.link.said  # nobody there yet
    rig.link.put(node.hello())
    await rig.exchange(node, lambda: len(node.welcomes) == 1)
    rig.ingest.pulse()
    rig.ingest.pulse()
    node.hear(rig.link.take())
    assert [(c.id, c.name, c.argument) for c in node.commands] == [(first, 1, 5)]
    answer = node.answer(first, 0, "blinked")
    rig.link.put(answer + answer)
    await rig.settle(lambda: rig.store.commands(NODE)[0].status == 0)
    assert rig.store.commands(NODE)[0].result == "blinked"
    assert rig.ingest.metrics.value("frames_refused", "replayed") == 1
    rig.ingest.offer_commands()
    rig.ingest.pulse()
    node.hear(rig.link.take())
    assert [c.id for c in node.commands] == [first, second]


async def test_a_full_line_drops_the_ack_and_the_repeat_gets_it(start: Running) -> None:
    rig, node = await start(), FakeNode()
    rig.link.put(node.hello())
    await rig.exchange(node, lambda: len(node.welcomes) == 1)
    rig.link.full = True
    rig.link.put(node.samples())
    await rig.settle(lambda: rig.ingest.metrics.value("downlinks_dropped", "ack") == 1)
    rig.link.full = False
    rig.link.put(node.again())
    await rig.exchange(node, lambda: node.acked == {1})


async def test_a_restarted_gateway_goes_on(start: Running, tmp_path: Path) -> None:
    rig, node = await start(), FakeNode()
    rig.link.put(node.hello() + b"".join(node.samples() for _ in range(4)))
    await rig.exchange(node, lambda: len(node.acked) == 4)
    rig.stop.set()
    again = await start()  # the same file: the first one is still open, as a crashed one would be
    again.link.put(node.samples())  # no hello: the node noticed nothing
    await again.exchange(node, lambda: 5 in node.acked)
    assert node.refused == 0
    replayed = FakeNode()
    again.link.put(replayed.hello() + FakeNode(boot=0).hello())
    await again.settle(lambda: again.ingest.metrics.value("frames_refused") == 2)
    assert again.ingest.metrics.value("frames_refused", "replayed") == 1
    assert [(row.node, row.reason) for row in again.ingest.refusals.rows()] == [(NODE, "boot_fell")]


async def test_nobody_is_told_a_time_that_is_not_believed_and_it_is_made_up_for(start: Running) -> None:
    rig, node = await start(), FakeNode()
    rig.believed = False
    rig.clock._asked_s = -10
    rig.ingest.pulse()
    node.uptime_ms = 40_000
    rig.link.put(node.hello() + node.samples())
    await rig.exchange(node, lambda: node.acked == {1})
    assert node.welcomes[0].unix_ms is None
    assert rig.store.anchors(NODE) == []
    assert rig.store.after(0, 1)[0].received_ms == 0
    said_ms = rig.clock.wall_ms()
    await asyncio.sleep(0.2)
    rig.believed = True
    rig.clock._asked_s = -10
    rig.ingest.pulse()
    await rig.settle(lambda: len(rig.store.anchors(NODE)) == 1)
    found = rig.store.anchors(NODE)[0]
    assert (found.boot, found.uptime_ms) == (1, 40_000)
    assert abs(found.utc_ms - said_ms) < 150  # the hello's own moment, not when the clock was set
    rig.ingest.pulse()
    rig.link.put(node.hello())
    await rig.exchange(node, lambda: len(node.welcomes) == 2)
    assert abs((node.welcomes[1].unix_ms or 0) - rig.clock.wall_ms()) < 1000


async def test_a_hello_that_waited_in_our_own_buffers_dates_nothing(start: Running) -> None:
    rig, node = await start(), FakeNode()
    rig.clock.pulse()
    rig.clock._pulse_s = rig.clock._monotonic_s() - 60  # this process stood still for a minute
    rig.link.put(node.hello())
    await rig.exchange(node, lambda: len(node.welcomes) == 1)
    assert rig.store.anchors(NODE) == []
    rig.clock.pulse()
    node.uptime_ms += 30_000
    rig.link.put(node.hello())
    await rig.settle(lambda: len(rig.store.anchors(NODE)) == 1)


async def test_a_welcome_names_its_hello_and_what_is_held(start: Running) -> None:
    rig, node = await start(), FakeNode()
    for _ in range(40):
        line = node.samples()
        if node.next_seq % 2:
            rig.link.put(line)
    rig.link.put(node.hello())
    await rig.exchange(node, lambda: len(node.welcomes) == 1)
    welcome = node.welcomes[0]
    assert welcome.hello_n == 0
    assert len(welcome.held) == 16
    assert welcome.held[0] == (2, 2)
    assert welcome.held[-1] == (40, 40)
    node.reboot()
    node.next_seq = 31
    rig.link.put(node.hello(oldest=11))
    await rig.exchange(node, lambda: len(node.welcomes) == 2)
    assert node.welcomes[1].held == tuple((n, n) for n in range(12, 31, 2))


@given(st.lists(st.binary(max_size=60), max_size=10), st.integers(0, 1 << 30))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_nothing_that_a_line_brings_raises(tmp_path: Path, frames: list[bytes], number: int) -> None:
    rng = random.Random(number)
    node = FakeNode()

    async def feed() -> None:
        rig = Rig(tmp_path / f"{number}.sqlite")
        genuine = [node.seal(rng.randbytes(rng.randrange(1, 40))), node.hello(), node.answer(rng.randrange(99))]
        damaged = [bytearray(line) for line in genuine]
        for line in damaged:
            line[rng.randrange(len(line))] = rng.randrange(256)
        raw = [*frames, *Deframer().feed(b"".join(genuine)), *Deframer().feed(b"".join(damaged))]
        rng.shuffle(raw)
        rig.ingest.feed(rig.link, raw)
        await rig.ingest.flush()
        rig.store.close()

    asyncio.run(feed())
