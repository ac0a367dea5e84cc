"""The records of a node in flight: in what order they go, when they go again, and that each arrives over any link."""

from collections.abc import Callable
from itertools import pairwise
from random import Random

import pytest

import node_sessions
from fakes.gateway import FakeGateway
from node_sessions import KEY, NODE, UTC, Node
from wayside_node import flight, session

make = node_sessions.make
node = node_sessions.node
open_node = node_sessions.open_node


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
