"""What a node makes of what a peer says: replays, forgeries, nonsense, commands; and what comes on a serial line."""

from collections.abc import Callable
from random import Random

import pytest

import node_sessions
from fakes.gateway import FakeGateway
from node_sessions import KEY, NODE, Node
from wayside_node.downlink import GATEWAYS_MAX
from wayside_node.links import serial
from wayside_node.links.serial import SerialLink
from wayside_node.orders import ORDERS_MAX
from wayside_node.session import OPEN
from wayside_protocol.cobs import encode
from wayside_protocol.frame import Opener, parse
from wayside_protocol.session import DONE, PAUSE, REPORT

make = node_sessions.make
node = node_sessions.node
open_node = node_sessions.open_node


class TestPeers:
    def test_a_replayed_downlink_is_refused(self, open_node: Node) -> None:
        node = open_node
        node.record(2)
        ack = node.gateway.ack([(1, 1)])
        node.hear(ack)
        node.hear(ack)
        assert node.downlink.refused == {"replayed": 1}

    def test_a_downlink_of_the_boot_before_does_not_open(self, make: Callable[..., Node], open_node: Node) -> None:
        recorded = open_node.gateway.ack([(1, 1)])
        again = make(boot=2)
        again.hear(recorded)
        assert again.downlink.refused == {"auth": 1}

    def test_each_gateway_has_a_number_of_its_own(self, open_node: Node) -> None:
        node = open_node
        others = [FakeGateway(NODE, KEY, number=n) for n in range(2, GATEWAYS_MAX + 3)]
        for other in others:
            other.boot = 1
            node.hear(other.ack([(1, 1)]))
        assert node.downlink.refused == {"gateways": 2}
        node.hear(others[0].ack([(1, 1)]))
        assert node.downlink.refusals == 2

    def test_forged_foreign_and_echoed_frames_are_counted(self, open_node: Node) -> None:
        node = open_node
        node.record()
        own = node.all()[0]
        node.hear(own)
        forger = FakeGateway(NODE, bytes(16))
        forger.boot = 1
        forger.n = 1000
        node.hear(forger.ack([(1, 1)]))
        other = FakeGateway(NODE + 1, KEY)
        node.hear(other.ack([(1, 1)]))
        assert node.downlink.refused == {"not_downlink": 1, "auth": 1, "other_node": 1}
        assert node.journal.waiting == 1

    def test_nothing_that_opens_raises(self, open_node: Node, seed: int) -> None:
        """A peer with the key that says nonsense."""
        node = open_node
        random = Random(seed)
        for _ in range(2_000):
            if random.random() < 0.5:
                plain = random.randbytes(random.randint(1, 40))
            else:
                plain = bytearray(Opener(KEY).open(parse(node.gateway.command(1, REPORT, 9)), 1))
                plain[random.randrange(len(plain))] ^= 1 << random.randrange(8)
            node.hear(node.gateway.seal(bytes(plain)))
        assert node.downlink.refusals > 1_000
        node.orders._known.clear()
        node.record()
        node.settle()

    def test_random_bytes_do_not_raise(self, open_node: Node, seed: int) -> None:
        random = Random(seed)
        for _ in range(2_000):
            open_node.hear(random.randbytes(random.randint(0, 60)))
        assert open_node.downlink.refusals == 2_000


class TestCommands:
    def test_are_applied_once_and_answered(self, open_node: Node) -> None:
        node = open_node
        for _ in range(3):
            node.hear(node.gateway.command(7, PAUSE))
        assert [(o.id, o.name) for o in node.applied] == [(7, PAUSE)]
        node.exchange()
        assert node.gateway.answers == []
        node.applied[0].finish(DONE, "12")
        node.exchange()
        assert [(a.id, a.status, a.result) for a in node.gateway.answers] == [(7, DONE, "12")]
        node.hear(node.gateway.command(7, PAUSE))
        node.exchange()
        assert len(node.applied) == 1
        assert len(node.gateway.answers) == 2, "the answer was lost, and is said again"

    def test_ids_are_each_gateways_own(self, open_node: Node) -> None:
        node = open_node
        other = FakeGateway(NODE, KEY, number=2)
        other.boot = 1
        node.hear(node.gateway.command(7, REPORT))
        node.hear(other.command(7, REPORT))
        assert [o.gateway for o in node.applied] == [1, 2]

    def test_one_that_is_still_being_applied_is_never_forgotten(self, open_node: Node) -> None:
        node = open_node
        node.hear(node.gateway.command(1, PAUSE))
        for number in range(2, ORDERS_MAX + 20):
            node.hear(node.gateway.command(number, REPORT))
            node.applied[-1].finish(DONE)
        node.hear(node.gateway.command(1, PAUSE))
        assert sum(order.id == 1 for order in node.applied) == 1

    def test_a_reboots_command_is_remembered(self, open_node: Node) -> None:
        node = open_node
        node.orders.remember(1, 9, DONE)
        node.hear(node.gateway.command(9, PAUSE))
        node.exchange()
        assert node.applied == []
        assert node.gateway.answers[0].id == 9


class Port:
    """A serial port that takes `room` bytes at a time."""

    def __init__(self) -> None:
        self.room = 1 << 20
        self.line = bytearray()
        self.stream = None
        self.buf = bytearray(64)

    def write(self, view: memoryview, n: int) -> int:
        taken = min(n, self.room)
        self.line += view[:taken]
        return taken


class TestLine:
    @pytest.fixture
    def line(self, node: Node) -> tuple[Node, Port, SerialLink]:
        port = Port()
        node.clock._advance = lambda: None
        return node, port, SerialLink(node.session, node.clock, port)

    @pytest.mark.parametrize("room", [1, 7, 63, 64, 65, 1 << 20])
    def test_a_port_takes_as_much_as_it_can(self, line: tuple[Node, Port, SerialLink], room: int) -> None:
        node, port, link = line
        node.record(4)
        port.room = room
        answers: list[bytes] = []
        for _ in range(2_000):
            wait = link.sender(node.masked)
            for raw in node.gateway.deframer.feed(bytes(port.line)):
                answers += node.gateway.take(raw)
            port.line.clear()
            for answer in answers:
                node.hear(answer)
            answers.clear()
            node.wait(1 if wait else 0)
        assert sorted(node.gateway.records) == [1, 2, 3, 4]
        assert node.gateway.deframer.noise_bytes == 0
        assert link.dropped == 0

    def test_a_port_that_stalls_costs_a_frame_and_no_more(self, line: tuple[Node, Port, SerialLink]) -> None:
        node, port, link = line
        port.room = 0
        while not link.dropped:
            node.wait(max(1, link.sender(node.masked)))
        assert serial.STALLED_MS <= node.now <= serial.STALLED_MS + 2 * serial.RETRY_MS
        port.room = 1 << 20
        node.wait(link.sender(node.masked))
        link.sender(node.masked)
        assert node.gateway.hear(bytes(port.line))

    def test_what_comes_in_pieces_and_noise_is_found(self, line: tuple[Node, Port, SerialLink], seed: int) -> None:
        node, port, link = line
        random = Random(seed)
        node.record(3)
        link.sender(node.masked)
        answers = node.gateway.hear(bytes(port.line))
        stream = b"boot log\r\n\x03" + answers + random.randbytes(300).replace(b"\0", b"\1") + b"\0"
        stream += b"".join(encode(node.gateway.ack([(seq, seq)])) for seq in (1, 2, 3))
        frames = 0
        while stream:
            n = min(random.randint(1, 64), len(stream))
            port.buf[:n] = stream[:n]
            stream = stream[n:]
            frames += link._take(n, node.masked)
        assert frames >= 4
        assert node.session.state == OPEN
        assert node.journal.waiting == 0
        assert link.noise_bytes + node.downlink.refusals > 0
