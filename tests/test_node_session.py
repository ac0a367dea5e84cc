"""The node's session without a line: hello, welcome, records in flight, acks, commands, and whatever a peer sends."""

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest

from fakes.gateway import FakeGateway
from micropython_port import needs_micropython, run
from wayside_node import flight, session
from wayside_node.clock import NOW_MASK, Clock
from wayside_node.downlink import GATEWAYS_MAX, Downlink
from wayside_node.journal import Journal
from wayside_node.links import serial
from wayside_node.links.serial import SerialLink
from wayside_node.orders import ORDERS_MAX, Order, Orders
from wayside_node.session import IDLE, OPEN, SEEKING, About, Numbers, Session
from wayside_protocol.cobs import encode
from wayside_protocol.frame import Opener, Sealer, parse
from wayside_protocol.limits import FRAME_MAX
from wayside_protocol.session import DONE, PAUSE, REPORT

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


class TestHello:
    def test_says_who_it_is(self, node: Node) -> None:
        node.record(3)
        node.exchange()
        n, hello = node.gateway.hellos[0]
        assert n == 1
        assert (hello.oldest, hello.newest, hello.evicted) == (1, 3, 0)
        assert (hello.firmware, hello.board, hello.config, hello.clock) == ("0.1", "test", 3, None)

    def test_is_repeated_with_capped_jittered_backoff(self, node: Node) -> None:
        node.gateway.welcomes = False
        sent = []
        while node.now < 600_000:
            for frame in node.all():
                node.gateway.take(frame)
                sent.append(node.now)
            node.wait(max(1, node.session.wake_ms(node.masked)))
        gaps = [b - a for a, b in pairwise(sent)]
        nominal = [min(1000 * 2**i, session.HELLO_MAX_MS) for i in range(len(gaps))]
        assert all(0.74 * n <= g <= 1.26 * n for g, n in zip(gaps, nominal, strict=True))
        assert len(set(gaps[-8:])) > 4, "no two nodes should keep in step"
        assert [n for n, _ in node.gateway.hellos] == list(range(1, len(sent) + 1))

    def test_nodes_draw_different_waits(self, make: Callable[..., Node], tmp_path: Path) -> None:
        def waits(number: int, boot: int) -> list[int]:
            made = make(tmp_path / f"{number}{boot}", boot=boot)
            made.session._jitter = (number ^ boot << 3) & 0xFFFF or 1
            out = []
            for _ in range(6):
                made.all()
                out.append(made.session.wake_ms(made.masked))
                made.wait(out[-1])
            return out

        assert len({tuple(waits(n, b)) for n in (1, 2, 3, 1001) for b in (1, 2)}) == 8

    def test_comes_again_after_30_s_and_then_every_600_s(self, open_node: Node) -> None:
        sent = []
        while open_node.now < 2_000_000:
            if frames := open_node.all():
                sent.append(open_node.now)
            for frame in frames:
                for answer in open_node.gateway.take(frame):
                    open_node.hear(answer)
            open_node.wait(max(1, open_node.session.wake_ms(open_node.masked)))
        gaps = [round(b - a, -3) for a, b in zip([0, *sent], sent, strict=False)]
        assert gaps[:3] == [30_000, 600_000, 600_000]

    def test_comes_sooner_while_the_rate_is_poorly_known(self, node: Node) -> None:
        """A round trip of 400 ms over 30 s leaves 2.7 %: the clock would be 2 s off after a minute."""
        node.exchange(400)
        node.wait(30_000)
        node.exchange(400)
        assert len(node.gateway.hellos) == 2
        wait = node.session.wake_ms(node.masked)
        assert 29_000 <= wait <= 31_000
        node.wait(wait)
        node.exchange(20)
        assert node.clock.bound_ms(node.now) < 500

    def test_is_not_hurried_by_a_gateway_without_time(self, node: Node) -> None:
        node.gateway.now_ms = lambda: None
        node.exchange()
        assert not node.clock.is_set()
        node.wait(30_000)
        node.exchange()
        assert node.session.wake_ms(node.masked) == session.HELLO_EVERY_MS

    def test_silence_ends_the_session_and_leaves_only_hellos(self, open_node: Node) -> None:
        node = open_node
        node.record(40)
        sent_records = 0
        for _ in range(200):
            for frame in node.all():
                if frame[1] == 0:
                    sent_records += 1
            node.wait(1_000)
        assert node.session.state == SEEKING
        assert sent_records <= session.WINDOW * flight.TRIES_MAX
        before = sent_records
        for _ in range(100):
            assert all(frame[1] == 1 for frame in node.all())
            node.wait(1_000)
        assert before == sent_records
        node.settle(200)  # it comes back by itself

    def test_link_down_is_idle(self, open_node: Node) -> None:
        open_node.record(2)
        open_node.session.link_down()
        assert open_node.all() == []
        assert open_node.session.state == IDLE
        assert open_node.session.wake_ms(0) > 0


class TestTime:
    def test_is_the_gateways_and_half_a_round_trip(self, node: Node) -> None:
        node.wait(5_000)
        frames = node.all()
        node.wait(300)
        answers = node.gateway.take(frames[0])
        node.wait(300)
        node.hear(answers[0])
        assert node.clock.unix_ms(node.now) == UTC + node.now
        assert node.clock.bound_ms(node.now) == pytest.approx(300, abs=2)

    def test_is_not_taken_from_a_welcome_that_was_held_back(self, node: Node) -> None:
        answers = node.gateway.take(node.all()[0])
        node.wait(session.RTT_MAX_MS + 1)
        node.hear(answers[0])
        assert node.session.state == OPEN
        assert not node.clock.is_set()

    def test_is_taken_at_the_bound(self, node: Node) -> None:
        node.gateway.welcomes = False
        first = node.all()[0]
        node.gateway.welcomes = True
        node.wait(session.HELLO_FIRST_MS * 3 // 4 - 1)
        node.hear(node.gateway.take(first)[0])
        assert node.clock.is_set()

    def test_is_not_taken_from_a_welcome_to_an_older_hello(self, node: Node) -> None:
        late = node.gateway.take(node.all()[0])[0]
        node.wait(1_300)
        second = node.all()
        assert len(second) == 1
        node.hear(late)
        assert node.session.state == OPEN, "what it says of records is true all the same"
        assert not node.clock.is_set()
        node.hear(node.gateway.take(second[0])[0])
        assert node.clock.is_set()

    def test_is_not_taken_where_no_record_could_say_it(self, node: Node) -> None:
        node.gateway.now_ms = lambda: session.UNIX_MAX_MS
        node.exchange()
        assert node.session.state == OPEN
        assert not node.clock.is_set()

    def test_is_taken_once_from_a_hello(self, open_node: Node) -> None:
        """A gateway that answers a hello twice, the second time much later, moves nothing."""
        node = open_node
        n, hello = node.gateway.hellos[0]
        node.wait(1_500)
        steps = node.clock.steps
        node.gateway.now_ms = lambda: UTC + 999_000_000
        node.hear(node.gateway.welcome(n, hello))
        assert node.clock.steps == steps


class TestRecords:
    def test_go_only_after_a_welcome(self, node: Node) -> None:
        node.gateway.welcomes = False
        node.record(2)
        assert [frame[1] for frame in node.all()] == [1]

    def test_newest_and_oldest_take_turns(self, node: Node) -> None:
        node.record(20)
        node.settle()
        assert node.gateway.order[:6] == [20, 1, 19, 2, 18, 3]

    def test_a_new_record_goes_before_the_backlog(self, node: Node) -> None:
        node.record(100)
        node.exchange()
        node.exchange()
        node.record()
        node.exchange()
        assert 101 in node.gateway.order[-session.WINDOW :]
        node.settle()
        assert sorted(node.gateway.order) == list(range(1, 102)), "each once"

    @pytest.mark.parametrize("window", [0, 1, 3, 8, 64])
    def test_the_window_is_the_smaller_one(self, make: Callable[..., Node], window: int) -> None:
        node = make(window=window)
        node.record(30)
        node.exchange()
        assert len(node.all()) == min(window, session.WINDOW)

    def test_welcomed_as_held_are_not_sent(self, make: Callable[..., Node]) -> None:
        node = make()
        node.record(10)
        node.settle()
        sent = len(node.gateway.order)
        node.journal.close()
        again = make(boot=2)
        again.gateway = node.gateway
        assert again.journal.waiting == 10, "acks are not on the node's flash"
        again.record(2)
        again.settle()
        assert again.gateway.order[sent:] == [12, 11]

    def test_a_lost_one_goes_again_after_the_round_trip_and_with_backoff(self, open_node: Node) -> None:
        node = open_node
        node.record()
        sent = []
        while node.now < 15_000:
            sent += [node.now for frame in node.all() if frame[1] == 0]
            node.wait(max(1, node.session.wake_ms(node.masked)))
        gaps = [b - a for a, b in pairwise(sent)]
        assert gaps[:3] == [flight.RTO_FIRST_MS, 2 * flight.RTO_FIRST_MS, 4 * flight.RTO_FIRST_MS]
        assert node.session.repeats == len(gaps)

    def test_one_that_later_acks_pass_over_goes_at_once(self, open_node: Node) -> None:
        node = open_node
        node.record(6)
        frames = node.all()
        for frame in frames[1:]:
            for answer in node.gateway.take(frame):
                node.hear(answer)
        again = node.all()
        assert again == [frames[0]], "long before its time is over"

    def test_an_ack_names_what_is_held_and_nothing_else(self, open_node: Node) -> None:
        node = open_node
        node.record(8)
        node.all()
        node.hear(node.gateway.ack([(2, 3), (6, 6)]))
        assert node.journal.waiting == 5
        node.hear(node.gateway.ack([(1, 1), (4, 5), (7, 8)]))
        assert node.journal.waiting == 0

    def test_acks_for_what_is_not_there_do_no_harm(self, open_node: Node) -> None:
        node = open_node
        node.record(2)
        node.hear(node.gateway.ack([(0, 0xFFFFFFFF)]))
        assert node.journal.waiting == 0
        node.record()
        assert node.journal.waiting == 1, "what is journaled later is not held"

    def test_one_that_is_never_acked_does_not_block_the_others(self, open_node: Node) -> None:
        """A record that the gateway cannot accept, on a line that works."""
        node = open_node
        node.record(30)
        for _ in range(400):
            for frame in node.all():
                if frame[:2] == b"\x84\x00" and frame[5] in range(1, 9):
                    continue
                for answer in node.gateway.take(frame):
                    node.hear(answer)
            node.wait(250)
        assert sorted(node.gateway.order) == list(range(9, 31))
        node.settle(700)
        assert sorted(node.gateway.order) == list(range(1, 31)), "and is tried again later"

    def test_unreadable_ones_are_passed_over(self, node: Node) -> None:
        node.record(40)
        segment = next(path for path in (node.root / "journal").iterdir())
        data = bytearray(segment.read_bytes())
        for at in range(300, 900):
            data[at] ^= 0x55
        segment.write_bytes(data)
        node.settle(200)
        assert len(node.gateway.order) < 40
        assert node.journal.loss() is not None

    def test_a_gateway_that_lost_what_it_acked_gets_it_again(self, open_node: Node) -> None:
        """Its database came back from yesterday's copy; a list of 16 ranges may be cut short and says nothing."""
        node = open_node
        node.record(12)
        node.settle()
        for seq in (3, 4, 9):
            del node.gateway.records[seq]
        node.wait(600_000)
        node.exchange()
        node.settle()
        assert sorted(node.gateway.order[12:]) == [3, 4, 9]

    def test_another_gateway_is_not_mistaken_for_it(self, open_node: Node) -> None:
        node = open_node
        node.record(12)
        node.settle()
        first = node.gateway
        node.gateway = FakeGateway(NODE, KEY, lambda: UTC + node.now, number=2)
        node.gateway.boot = 1
        node.wait(600_000)
        node.exchange()
        assert len(node.gateway.hellos) == 1
        node.exchange()
        assert node.gateway.order == [], "the first one has them on its disk"
        assert len(first.order) == 12


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


@pytest.mark.parametrize("start", [0, NOW_MASK - 20_000])
def test_timers_survive_their_wrap(make: Callable[..., Node], start: int) -> None:
    node = make()
    node.now = start
    node.session.link_up(node.masked)
    node.record(3)
    node.gateway.acks = False
    for _ in range(60):
        node.exchange()
        node.wait(1_000)
    node.gateway.acks = True
    node.settle(200)


def test_every_record_arrives_over_any_link(make: Callable[..., Node], seed: int) -> None:
    """Loss, duplication, reordering and cuts, one after another and together; each record's content is checked."""
    random = Random(seed)
    node = make()
    pending: list[tuple[int, int, bytes]] = []
    for step in range(30_000):
        if step < 20_000 and random.random() < 0.02:
            node.record(random.randint(1, 3))
        cut = (step // 3_000) % 3 == 1
        for frame in node.all():
            for _ in range(random.choice((1, 1, 1, 2))):
                if not cut and random.random() > 0.1:
                    pending.append((node.now + random.randint(1, 80), 0, frame))
        for item in sorted(item for item in pending if item[0] <= node.now):
            pending.remove(item)
            if item[1]:
                node.hear(item[2])
            else:
                pending += [(node.now + random.randint(1, 80), 1, a) for a in node.gateway.take(item[2])]
        node.wait(10)
    for _ in range(40_000):
        if not node.journal.waiting:
            break
        node.exchange()
        node.wait(100)
    assert node.journal.waiting == 0
    assert sorted(node.gateway.records) == list(range(1, node.journal.next_seq))
    assert node.session.repeats < 2 * node.journal.next_seq


@needs_micropython
def test_on_a_board_it_says_the_same_bytes(node: Node, tmp_path: Path) -> None:
    """The same few steps in MicroPython: hello, records, a repeat, byte for byte."""
    node.record(3)
    hello = node.all()[0]
    welcome = node.gateway.take(hello)[0]
    node.wait(20)
    node.hear(welcome)
    frames = node.all()
    node.wait(1_000)
    frames += node.all()
    program = Path(__file__).parent / "scripts" / "session_steps.py"
    said = run(program, str(tmp_path / "board"), welcome.hex())
    assert said == [frame.hex() for frame in [hello, *frames]]


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
