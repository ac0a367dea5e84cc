"""The node's session without a line: hello, welcome and the time it brings; timers over their wrap."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

import node_sessions
from micropython_port import needs_micropython, run
from node_sessions import UTC, Node
from wayside_node import flight, session
from wayside_node.clock import NOW_MASK
from wayside_node.session import IDLE, OPEN, SEEKING

make = node_sessions.make
node = node_sessions.node
open_node = node_sessions.open_node


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
