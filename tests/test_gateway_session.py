"""The gateway's side of a session, alone: replays, downlink numbers, commands, anchors."""

from itertools import pairwise
from typing import NamedTuple

import pytest

from wayside_gateway.rows import CommandRow, NodeRow
from wayside_gateway.session import COMMAND_CAP_MS, EPOCH_MS, RESERVE, NodeSession, anchor
from wayside_protocol.limits import U32_MAX
from wayside_protocol.session import Hello

NODE = 1001
NOW_MS = EPOCH_MS + 10_000_000
HELLO = Hello(1, 5000, None, 1, 9, 0, 1, "1.0", "sim", 1)


class F(NamedTuple):
    """A session frame's two numbers: boot and n."""

    a: int
    b: int


def greeted(boot: int = 1, n: int = 0, row: NodeRow | None = None, wall_ms: int = NOW_MS) -> NodeSession:
    session = NodeSession(NODE, row, wall_ms)
    assert session.refusal(F(boot, n)) == ""
    session.committed(session.hello(F(boot, n), HELLO, wall_ms, "tty"))
    return session


@pytest.mark.parametrize(
    ("boot", "n", "refusal"),
    [(3, 5, "replayed"), (3, 4, "replayed"), (2, 9, "boot_fell"), (3, 6, ""), (4, 0, ""), (9, 9, "")],
)
def test_a_boot_never_falls_and_a_number_grows_within_it(boot: int, n: int, refusal: str) -> None:
    session = greeted(3, 5)
    assert session.refusal(F(boot, n)) == refusal
    restarted = NodeSession(NODE, session.row, NOW_MS)
    assert restarted.refusal(F(boot, n)) == refusal


def test_a_hello_gives_the_row_to_commit() -> None:
    session = greeted(3, 5)
    assert session.row is not None
    assert session.row[:5] == (NODE, NOW_MS, NOW_MS, 3, 5)
    later = session.hello(F(3, 6), HELLO._replace(newest=20), NOW_MS + 9, "ble")
    assert (later.first_seen_ms, later.hello_ms, later.newest, later.link) == (NOW_MS, NOW_MS + 9, 20, "ble")


def test_an_answer_counts_only_in_its_boot() -> None:
    session = greeted(3, 5)
    assert session.answer(F(4, 0), 1) is None
    row = session.answer(F(3, 6), 1)
    assert row is not None
    assert row.session_n == 6
    assert session.refusal(F(3, 6)) == "replayed"
    assert NodeSession(NODE).answer(F(1, 1), 1) is None


def test_no_downlink_before_its_number_is_on_disk() -> None:
    session = NodeSession(NODE, None, NOW_MS)
    assert session.downlink_n() is None
    row = session.hello(F(1, 0), HELLO, NOW_MS, "tty")
    assert session.downlink_n() is None
    session.committed(row)
    assert session.downlink_n() is not None


def test_downlink_numbers_never_repeat_across_crashes_at_any_moment() -> None:
    used: set[int] = set()
    disk: NodeRow | None = None
    for life in range(30):
        session = NodeSession(NODE, disk, 0)  # a clock that helps nothing: 1970
        row = session.hello(F(life, 0), HELLO, 0, "tty")
        disk = row
        session.committed(row)
        for step in range(life * 300):
            reserve = session.wants_reserve()
            if reserve is not None:
                disk = reserve
                if step % 3:  # else: on disk, but the crash came before we knew
                    session.committed(reserve)
            n = session.downlink_n()
            if n is not None:
                assert n not in used
                used.add(n)
    assert len(used) > 50_000


def test_a_long_session_never_runs_out() -> None:
    session = greeted()
    for _ in range(5 * RESERVE):
        row = session.wants_reserve()
        if row is not None:
            session.committed(row)
        assert session.downlink_n() is not None


def test_a_lost_or_old_store_goes_on_above_what_was_used() -> None:
    session = greeted(wall_ms=NOW_MS)
    old = session.row
    last = max(n for n in (session.downlink_n() for _ in range(500)) if n is not None)
    for row in (None, old):  # a day later: from nothing, or from yesterday's copy
        again = greeted(2, 0, row, NOW_MS + 86_400_000)
        first = again.downlink_n()
        assert first is not None
        assert first > last


def test_numbers_end_rather_than_wrap() -> None:
    row = greeted().row
    assert row is not None
    session = greeted(2, 0, row._replace(downlink_ceiling=U32_MAX - 2))
    numbers = [session.downlink_n() for _ in range(5)]
    assert numbers == [U32_MAX - 2, U32_MAX - 1, None, None, None]


def test_a_clock_in_the_far_future_leaves_numbers_to_use() -> None:
    session = greeted(wall_ms=1 << 50)
    n = session.downlink_n()
    assert n is not None
    assert n < U32_MAX


def command(number: int) -> CommandRow:
    return CommandRow(number, NODE, 1, 5, 0, None, None, None)


def test_commands_go_one_at_a_time_in_order() -> None:
    session = greeted(1, 0)
    session.offer(command(8))
    session.offer(command(7))
    session.offer(command(9))
    due = session.due(1000)
    assert due is not None
    assert due.id == 7
    assert session.due(1001) is None
    session.answer(F(1, 1), 99)  # not ours
    again = session.due(3000)
    assert again is not None
    assert again.id == 7
    session.answer(F(1, 2), 7)
    assert session.due(1 << 40) is None
    session.offer(command(8))
    following = session.due(3001)
    assert following is not None
    assert following.id == 8
    session.withdraw()
    assert session.due(1 << 40) is None


def test_an_unanswered_command_is_sent_ever_more_rarely_up_to_the_cap() -> None:
    session = greeted()
    session.offer(command(1))
    sent = [ms for ms in range(0, 600_000, 500) if session.due(ms)]
    waits = [b - a for a, b in pairwise(sent)]
    assert waits[:5] == [2000, 4000, 8000, 16_000, 32_000]
    assert set(waits[5:]) == {COMMAND_CAP_MS}
    session.hello(F(2, 0), HELLO, NOW_MS, "tty")  # it rebooted: at once again
    assert session.due(600_000) is not None


def test_no_command_before_the_node_was_heard() -> None:
    session = NodeSession(NODE, greeted().row, NOW_MS)
    session.offer(command(1))
    assert session.due(0) is None


def test_an_anchor_takes_the_nodes_own_clock_where_it_agrees_and_is_better() -> None:
    told = HELLO._replace(clock=(NOW_MS + 300, 20))
    assert anchor(NODE, F(1, 0), HELLO, NOW_MS, 100)[2:7] == (5000, NOW_MS, 1100, None, None)
    assert anchor(NODE, F(1, 0), told, NOW_MS, 100)[2:7] == (5000, NOW_MS + 300, 20, NOW_MS + 300, 20)
    wrong = HELLO._replace(clock=(NOW_MS + 99_000, 20))
    assert anchor(NODE, F(1, 0), wrong, NOW_MS, 0)[2:7] == (5000, NOW_MS, 1000, NOW_MS + 99_000, 20)
    vague = HELLO._replace(clock=(NOW_MS + 300, 60_000))
    assert anchor(NODE, F(1, 0), vague, NOW_MS, 0)[2:7] == (5000, NOW_MS, 1000, NOW_MS + 300, 60_000)
