"""A node's session on a real journal, for tests: no line, and time is what the test says."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fakes.gateway import FakeGateway
from wayside_node.clock import NOW_MASK, Clock
from wayside_node.downlink import Downlink
from wayside_node.journal import Journal
from wayside_node.orders import Order, Orders
from wayside_node.session import OPEN, About, Numbers, Session
from wayside_protocol.frame import Opener, Sealer
from wayside_protocol.limits import FRAME_MAX

NODE = 1001
KEY = bytes(range(16))
UTC = 1_700_000_000_000
CAPACITY = 8 * 16384
LOG = b"\x84\x04\x00\x07\x60"
"""A log record without a word."""


class Node:
    """A session on a real journal; time is what the test says."""

    def __init__(self, root: Path, boot: int = 1, window: int = 16) -> None:
        self.now = 0
        self.root = root
        self.boot = boot
        self.gateway = FakeGateway(NODE, KEY, lambda: UTC + self.now, window=window)
        self.journal = Journal(str(root), CAPACITY)
        self.sealer = Sealer(KEY)
        self.applied: list[Order] = []
        self.orders = Orders(self.applied.append)
        self.downlink = Downlink(NODE, boot, Opener(KEY))
        self.numbers = Numbers()
        self.clock = Clock(boot)
        self.clock._advance = lambda: None
        self.out = bytearray(FRAME_MAX)
        self.session = self.make()
        self.session.link_up(self.masked)

    @property
    def masked(self) -> int:
        masked: int = self.now & NOW_MASK
        return masked

    def make(self) -> Session:
        about = About(NODE, self.boot, "0.1", "test", 3)
        return Session(about, self.clock, self.journal, self.sealer, self.downlink, self.orders, self.numbers)

    def record(self, count: int = 1) -> None:
        """Journal records."""
        for _ in range(count):
            seq = self.journal.make_room(200)
            plain = bytearray(LOG)
            n = self.sealer.record(self.out, NODE, seq, plain, len(plain))
            self.journal.append(self.out, n, 0)

    def poll(self) -> bytes:
        """The next frame; empty if there is none."""
        self.clock._s, self.clock._ms = divmod(self.now, 1000)
        n = self.session.poll(self.masked, self.out)
        return bytes(self.out[:n])

    def hear(self, frame: bytes) -> None:
        self.clock._s, self.clock._ms = divmod(self.now, 1000)
        self.session.receive(bytearray(frame), len(frame), self.masked)

    def all(self) -> list[bytes]:
        """All frames that go out at this moment."""
        frames = []
        while frame := self.poll():
            frames.append(frame)
            assert len(frames) < 1000, "it never stops"
        return frames

    def exchange(self, rtt_ms: int = 20) -> None:
        """What the node has to say, to the gateway, and the answers back."""
        frames = self.all()
        self.now += rtt_ms
        for frame in frames:
            for answer in self.gateway.take(frame):
                self.hear(answer)

    def settle(self, within_s: int = 100) -> None:
        """Until the gateway has everything."""
        end = self.now + 1000 * within_s
        while self.journal.waiting and self.now < end:
            self.exchange()
            self.wait(min(self.session.wake_ms(self.masked), 1000))
        assert not self.journal.waiting

    def wait(self, ms: int) -> None:
        self.now += ms


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Node]]:
    def build(root: Path = tmp_path, **options: int) -> Node:
        made.append(Node(root, **options))
        return made[-1]

    made: list[Node] = []
    yield build
    for node in made:
        node.journal.close()


@pytest.fixture
def node(make: Callable[..., Node]) -> Node:
    return make()


@pytest.fixture
def open_node(node: Node) -> Node:
    node.exchange()
    assert node.session.state == OPEN
    return node
