"""The node's clock: uptime over the wrap of its counter, rate, bound, slewing and stepping (SPEC §2.3, §2.4)."""

import itertools
from random import Random

import pytest

from micropython_port import needs_micropython, run
from wayside_node import clock as module
from wayside_node.clock import Clock, later, since

UTC = 1_700_000_000_000
TICKS_PERIOD = 1 << 30
"""Of MicroPython's ticks_ms on a 32-bit board."""


class Board:
    """A tick counter that runs `rate` times as fast as true time, and wraps."""

    def __init__(self, start: int = 0, rate: float = 1.0) -> None:
        self.true_ms = 0.0
        self.start = start
        self.rate = rate

    def ticks(self) -> int:
        return (self.start + int(self.true_ms * self.rate)) % TICKS_PERIOD

    def diff(self, end: int, start: int) -> int:
        half = TICKS_PERIOD // 2
        return (end - start + half) % TICKS_PERIOD - half

    def utc(self) -> int:
        return UTC + int(self.true_ms)


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch) -> Board:
    made = Board()
    monkeypatch.setattr(module, "ticks_ms", lambda: made.ticks())
    monkeypatch.setattr(module, "ticks_diff", lambda end, start: made.diff(end, start))
    return made


def welcome(clock: Clock, board: Board, rtt_ms: int = 20, early_ms: int = 0) -> bool:
    """A gateway's time over a round trip, which is `early_ms` off the middle of it."""
    board.true_ms += rtt_ms
    taken: bool = clock.sync(board.utc() - early_ms, rtt_ms, clock.uptime_ms())
    return taken


def error_ms(clock: Clock, board: Board) -> int:
    wrong: int = clock.unix_ms(clock.uptime_ms()) - board.utc()
    return wrong


def test_uptime_goes_on_over_the_counters_wrap(board: Board) -> None:
    board.start = TICKS_PERIOD - 5_000
    clock = Clock(1)
    seen = []
    for _ in range(40):
        board.true_ms += 86_400_000 * 2.5  # within the 6 days that `now` asks for
        seen.append(clock.uptime_ms())
    assert seen == [int(86_400_000 * 2.5) * (i + 1) for i in range(40)]


def test_timers_compare_over_their_wrap() -> None:
    now = module.NOW_MASK - 100
    assert since(later(now, 500), now) == 500
    assert since(now, later(now, 500)) == -500
    assert later(now, 500) == 399


def test_now_counts_as_uptime_does(board: Board) -> None:
    clock = Clock(1)
    board.true_ms = 3 * 86_400_000
    first = clock.now()
    board.true_ms += 4 * 86_400_000 + 77
    assert since(clock.now(), later(first, 4 * 86_400_000)) == 77


def test_an_unset_clock_stamps_boot_and_uptime(board: Board) -> None:
    clock = Clock(7)
    assert clock.bound_ms(0) is None
    assert [clock.stamp(ms) for ms in (0, 499, 500, 61_600)] == [(7, 0), (7, 0), (7, 1), (7, 62)]


def test_a_plain_time_lasts_while_the_bound_allows_two_seconds_rounded(board: Board) -> None:
    """10 % unmeasured: about 13 s. A board 10 % slow has 11.1 % to make up for."""
    clock = Clock(7)
    welcome(clock, board, rtt_ms=20)
    at = clock.uptime_ms()
    assert clock.stamp(at) == round(board.utc() / 1000)
    lasts = next(s for s in range(60) if not clock.plain(at + 1000 * s))
    assert 13 <= lasts <= 15
    assert clock.stamp(at + 20_000) == (7, (at + 20_500) // 1000)


@pytest.mark.parametrize("rate", [0.9, 1.0, 1.1])
def test_two_welcomes_measure_the_rate(board: Board, rate: float) -> None:
    board.rate = rate
    clock = Clock(1)
    board.true_ms = 5_000
    welcome(clock, board)
    board.true_ms += 30_000 / rate  # the node's own 30 s
    assert abs(error_ms(clock, board)) <= (clock.bound_ms(clock.uptime_ms()) or 0)
    welcome(clock, board)
    assert clock.rate_ppm == pytest.approx((1 / rate - 1) * 1e6, abs=2_000)
    board.true_ms += 600_000
    assert abs(error_ms(clock, board)) <= (clock.bound_ms(clock.uptime_ms()) or 0)
    welcome(clock, board)
    assert clock.rate_ppm == pytest.approx((1 / rate - 1) * 1e6, abs=100)
    board.true_ms += 5_400_000
    assert abs(error_ms(clock, board)) <= 300
    assert clock.plain(clock.uptime_ms())


def test_board_time_follows_the_rate(board: Board) -> None:
    board.rate = 1.1
    clock = Clock(1)
    assert clock.board_ms(60_000) == 60_000
    welcome(clock, board)
    board.true_ms += 600_000
    welcome(clock, board)
    assert clock.board_ms(60_000) == pytest.approx(66_000, abs=5)


def test_setting_and_stepping_is_told_slewing_is_not(board: Board) -> None:
    told: list[tuple[int, int, int]] = []
    clock = Clock(1, lambda *step: told.append(step))
    board.true_ms = 1_000
    welcome(clock, board)
    assert told == [(1_020, -1, UTC + 1_020)]
    for _ in range(3):
        board.true_ms += 600_000
        welcome(clock, board)
    assert len(told) == clock.steps == 1
    welcome(clock, board, early_ms=-1_500)  # the gateway's clock was put right by 1.5 s
    assert clock.steps == 1
    assert error_ms(clock, board) == pytest.approx(0, abs=5), "it is worked off slowly"
    board.true_ms += 100_000
    assert error_ms(clock, board) == pytest.approx(500, abs=5)
    board.true_ms += 300_000
    assert error_ms(clock, board) == pytest.approx(1_500, abs=5)
    welcome(clock, board, early_ms=3_600_000)
    assert clock.steps == 2
    assert told[-1][1] - told[-1][2] == pytest.approx(3_600_000, abs=2_000)


def test_a_slewed_clock_never_runs_backwards_and_owns_up_to_what_is_left(board: Board) -> None:
    clock = Clock(1)
    welcome(clock, board)
    board.true_ms += 600_000
    welcome(clock, board)
    welcome(clock, board, early_ms=1_800)
    at = clock.uptime_ms()
    times = [clock.unix_ms(at + 100 * i) for i in range(6_000)]
    assert all(later > earlier for earlier, later in itertools.pairwise(times))
    assert clock.bound_ms(at) >= 1_800
    assert times[-1] == pytest.approx(board.utc() - 1_800 + 599_900, abs=20)
    board.true_ms += 30_000
    welcome(clock, board, early_ms=1_800)  # it takes a second reading to believe a rate again
    board.true_ms += 370_000
    welcome(clock, board, early_ms=1_800)
    assert clock.bound_ms(clock.uptime_ms()) <= 20


def test_a_worse_reading_that_agrees_changes_nothing(board: Board) -> None:
    clock = Clock(1)
    welcome(clock, board, rtt_ms=10)
    board.true_ms += 600_000
    welcome(clock, board, rtt_ms=10)
    board.true_ms += 60_000
    before = error_ms(clock, board)
    assert not welcome(clock, board, rtt_ms=1_900, early_ms=700)
    assert error_ms(clock, board) == pytest.approx(before, abs=2)


def test_a_rate_that_changes_is_measured_anew(board: Board) -> None:
    """The bound that follows from a rate is disproved: nothing measured before may be believed."""
    clock = Clock(1)
    welcome(clock, board)
    board.true_ms += 600_000
    welcome(clock, board)
    assert clock.good_for_ms(1_000) > 600_000
    board.start += int(board.true_ms * (board.rate - 1.02))  # so that the counter does not jump
    board.rate = 1.02
    board.true_ms += 600_000
    welcome(clock, board)
    assert clock.good_for_ms(1_000) < 30_000
    board.true_ms += 30_000
    welcome(clock, board)
    board.true_ms += 60_000
    assert abs(error_ms(clock, board)) <= clock.bound_ms(clock.uptime_ms())


def test_the_bound_holds_whatever_comes(board: Board, seed: int) -> None:
    """Oscillators up to 10 % off, with round trips and waits of all kinds; the gateway's clock is right."""
    random = Random(seed)
    for _ in range(60):
        board.true_ms = 0
        board.start = random.randrange(TICKS_PERIOD)
        board.rate = random.uniform(0.9, 1.1)
        clock = Clock(1)
        for _ in range(25):
            board.true_ms += random.choice((100, 2_000, 31_000, 600_000, 5_000_000)) * random.random()
            if random.random() < 0.6:
                rtt = random.choice((2, 20, 200, 2_000))
                welcome(clock, board, rtt, early_ms=random.randint(-rtt // 2, rtt // 2))
            bound = clock.bound_ms(clock.uptime_ms())
            if bound is not None:
                assert abs(error_ms(clock, board)) <= bound + 2, (board.rate, clock.rate_ppm)


@needs_micropython
def test_on_a_board(seed: int) -> None:
    """The same figures come out of MicroPython."""
    assert run("""
import json
from wayside_node.clock import Clock, later, since
clock = Clock(3)
out = [clock.stamp(61_600), since(later((1 << 29) - 5, 10), (1 << 29) - 5)]
clock.sync(1_700_000_000_000, 20, 5_000)
clock.sync(1_700_000_027_000, 20, 35_000)
out += [clock.rate_ppm, clock.stamp(65_000), clock.bound_ms(65_000), clock.board_ms(60_000)]
print(json.dumps(out))
""") == [[3, 62], 10, -100_000, 1_700_000_054, clock_bound(65_000), 66_666]


def clock_bound(uptime_ms: int) -> int:
    clock = Clock(3)
    clock.sync(1_700_000_000_000, 20, 5_000)
    clock.sync(1_700_000_027_000, 20, 35_000)
    bound: int = clock.bound_ms(uptime_ms)
    return bound
