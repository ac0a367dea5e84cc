"""Times of records: every clock case, against a node whose true time the test knows."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from wayside_gateway.clock import GatewayClock
from wayside_gateway.rows import Anchor, Batch, NodeRow
from wayside_gateway.store import Store
from wayside_gateway.timeline import NEVER, RECONSTRUCTED, SYNCED, WAIT_MS, Time, Timeline

NODE = 1001
T0 = 1_790_000_000  # Unix seconds at which the first boot of every test begins, in truth
YEAR_S = 31_536_000


class World:
    """A store, a gateway clock at a time of the test's own, and a node with a true history."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.now_s = float(T0)
        self.clock = GatewayClock(False, lambda: self.now_s, lambda: self.now_s)
        self.timeline = Timeline(store, self.clock)
        self.newest = 0

    def hello(
        self,
        at_s: float,
        boot: int,
        uptime_s: float,
        clock_s: float | None = None,
        bound_ms: int = 1000,
        dated: bool = True,
    ) -> None:
        """A hello that the gateway takes at true time at_s; clock_s is what the node takes for the time."""
        self.now_s = at_s
        row = NodeRow(NODE, 1, int(at_s * 1000), boot, 0, 0, 1, self.newest, 0, 1, "", "", 0, "")
        batch = Batch(nodes={NODE: row})
        if dated:
            clock_ms = None if clock_s is None else int(clock_s * 1000)
            clock_bound = None if clock_s is None else 500
            batch.anchors.append(
                Anchor(NODE, boot, int(uptime_s * 1000), int(at_s * 1000), bound_ms, clock_ms, clock_bound, self.newest)
            )
        self.store.commit(batch)

    def when(self, boot: int, uptime_s: float) -> Time | None:
        return self.timeline.when(NODE, (boot, round(uptime_s)))

    def plain(self, t: float, seq: int, received_s: float | None = None) -> Time:
        received_ms = 0 if received_s is None else int(received_s * 1000)
        return self.timeline.plain(NODE, int(t), seq, received_ms)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    store = Store(tmp_path / "s.sqlite")
    yield World(store)
    store.close()


def check(time: Time | None, true_s: float, at_most_s: float) -> None:
    """The time is right within its own bound, and the bound is no larger than it need be."""
    assert time is not None
    assert time.unix_s is not None
    assert time.quality == RECONSTRUCTED
    assert abs(time.unix_s - true_s) <= time.bound_s
    assert time.bound_s <= at_most_s


# -- boot and uptime -------------------------------------------------------------------------------------


def test_a_boot_that_nobody_met_yet_waits_and_one_that_ended_is_unknown(world: World) -> None:
    assert world.when(3, 10) is None  # no hello ever
    world.hello(T0, 4, 0, dated=False)
    assert world.when(4, 10) is None  # its gateway's clock may still be set
    assert world.when(5, 10) is None  # a boot whose hello is on its way
    assert world.when(3, 10) == NEVER
    world.hello(T0 + 50, 5, 0)
    assert world.when(4, 10) == NEVER


def test_a_batch_of_a_whole_day_is_synced(world: World) -> None:
    """Report interval 86,400 s, the longest there is: begun a day before the hello, sealed after it."""
    world.hello(T0 + 90_000, 1, 90_000, clock_s=T0 + 90_000)
    assert world.plain(T0 + 3_600, 1, T0 + 90_060) == Time(T0 + 3_600, SYNCED, 2.0)


def test_near_the_only_anchor_there_is_nothing_to_wait_for(world: World) -> None:
    world.hello(T0 + 100, 1, 100, bound_ms=200)
    check(world.when(1, 95), T0 + 95, 2.0)
    check(world.when(1, 104), T0 + 104, 2.0)


def test_far_from_the_only_anchor_the_second_one_is_waited_for(world: World) -> None:
    world.hello(T0 + 86_400, 1, 86_400)
    assert world.when(1, 0) is None
    world.hello(T0 + 86_430, 1, 86_430)
    check(world.when(1, 43_200), T0 + 43_200, 4_400)
    world.hello(T0 + 87_030, 1, 87_030, bound_ms=100)
    check(world.when(1, 43_200), T0 + 43_200, 90)


def test_a_second_anchor_that_never_comes_is_not_waited_for_long(world: World) -> None:
    world.hello(T0 + 86_400, 1, 86_400)
    assert world.when(1, 80_000) is None
    world.now_s += WAIT_MS / 1000 + 1
    check(world.when(1, 80_000), T0 + 80_000, 645)  # a tenth of the distance, as nothing is measured
    world.hello(T0 + 90_000, 2, 5)


def test_an_ended_boot_with_one_anchor_is_not_waited_for(world: World) -> None:
    world.hello(T0 + 1000, 1, 1000)
    world.hello(T0 + 1010, 2, 3)
    check(world.when(1, 400), T0 + 400, 65)


@pytest.mark.parametrize("drift", [-0.1, -0.02, 0.0, 3e-5, 0.1])
def test_a_drifting_node_is_measured(world: World, drift: float) -> None:
    """Uptime runs (1 + drift) as fast as time. Ten hours stored before contact, then an hour of contact."""

    def uptime(true_s: float) -> float:
        return (true_s - T0) * (1 + drift)

    start = T0 + 36_000
    for after_s in (0, 30, 630, 1230, 1830, 2430, 3030, 3630):
        world.hello(start + after_s, 1, uptime(start + after_s), bound_ms=100)
    for true_s in (T0 + 1, T0 + 18_000, start - 100):
        check(world.when(1, uptime(true_s)), true_s, 2 + 0.001 * (start - true_s))
    for true_s in (start + 15, start + 300, start + 3000):
        check(world.when(1, uptime(true_s)), true_s, 1.0)
    world.now_s = start + 3700
    check(world.when(1, uptime(start + 3700)), start + 3700, 1.0)


@pytest.mark.parametrize("seed", range(10))
def test_bounds_are_honest_for_any_history(world: World, seed: int) -> None:
    rng = random.Random(seed)
    true_s = float(T0)
    moments: list[tuple[int, float, float]] = []
    for boot in range(1, 6):
        drift = rng.uniform(-0.1, 0.1)
        begin = true_s
        greeted = rng.random() < 0.7
        for _ in range(rng.randrange(1, 30)):
            true_s += rng.uniform(1, 900)
            uptime_s = (true_s - begin) * (1 + drift)
            if greeted and rng.random() < 0.4:
                late_s = rng.uniform(0, 0.9)  # the hello was under way
                world.hello(true_s + late_s, boot, uptime_s, bound_ms=1000)
            moments.append((boot, uptime_s, true_s))
    world.hello(true_s + 1, 9, 0)
    for boot, uptime_s, true in moments:
        time = world.when(boot, uptime_s)
        assert time is not None
        if time.unix_s is not None:
            assert abs(time.unix_s - true) <= time.bound_s, f"seed {seed}"


def test_anchors_from_before_the_gateways_clock_was_set_are_left_out(world: World) -> None:
    wrong_s = -3 * YEAR_S
    for at_s in (100, 130, 730):
        world.hello(T0 + at_s + wrong_s, 1, at_s)
    for at_s in (1330, 1930):
        world.hello(T0 + at_s, 1, at_s)
    check(world.when(1, 400), T0 + 400, 6)
    world.hello(T0 + 2000, 2, 0)
    check(world.when(1, 1600), T0 + 1600, 2)


def test_a_node_that_rebooted_often_keeps_its_boots_apart(world: World) -> None:
    for boot in range(1, 8):
        world.hello(T0 + 1000 * boot, boot, 100, bound_ms=100)
        world.hello(T0 + 1000 * boot + 40, boot, 140, bound_ms=100)
    for boot in range(1, 8):
        check(world.when(boot, 60), T0 + 1000 * boot - 40, 2)


# -- plain Unix seconds ----------------------------------------------------------------------------------


def test_a_stamp_that_nothing_speaks_against_is_taken(world: World) -> None:
    world.hello(T0 + 100, 1, 100)
    assert world.plain(T0 + 160, 1, T0 + 162) == Time(T0 + 160, SYNCED, 2.0)
    assert world.plain(T0 - 900_000, 1, T0 + 162).quality == SYNCED or world.newest == 0
    assert world.plain(T0 + 60, 1).quality == SYNCED  # our own clock was not believed when it came


@pytest.mark.parametrize("starts_s", [0, 946_684_800])
def test_a_clock_that_starts_at_1970_or_2000_is_not_believed(world: World, starts_s: int) -> None:
    assert world.plain(starts_s + 50, 1, T0 + 100) == NEVER  # nothing known of the boot
    world.hello(T0 + 100, 1, 100, clock_s=starts_s + 100)
    check(world.plain(starts_s + 50, 1, T0 + 100), T0 + 50, 7)


@pytest.mark.parametrize("wrong_s", [2 * YEAR_S, -YEAR_S // 4, 3600, -3600, 30, -30])
def test_a_stepped_clock_is_corrected_where_its_hello_shows_it(world: World, wrong_s: int) -> None:
    world.hello(T0, 1, 1000)
    world.newest = 10
    world.hello(T0 + 600, 1, 1600, clock_s=T0 + 600 + wrong_s)  # records 1 to 10 were stamped by this clock
    for seq in (1, 10):
        check(world.plain(T0 + 300 + wrong_s, seq, T0 + 605), T0 + 300, 7)
    world.newest = 20
    world.hello(T0 + 1200, 1, 2200, clock_s=T0 + 1200)  # the welcome set it right
    assert world.plain(T0 + 900, 15, T0 + 1201).quality == SYNCED


@pytest.mark.parametrize("wrong_s", [2 * YEAR_S, -YEAR_S // 4, 86_400])
def test_a_live_record_of_a_wrong_clock_is_corrected_at_once_or_flagged(world: World, wrong_s: int) -> None:
    world.newest = 10
    world.hello(T0 + 1000, 1, 1000, clock_s=T0 + 1000 + wrong_s)
    time = world.plain(T0 + 1060 + wrong_s, 11, T0 + 1061)
    check(time, T0 + 1060, 10)
    assert world.plain(T0 + 1060, 11, T0 + 1061).quality == SYNCED  # after the welcome


def test_the_future_is_unknown_where_nothing_is_known(world: World) -> None:
    assert world.plain(T0 + 2 * YEAR_S, 1, T0) == NEVER
    assert world.plain(T0 + 6, 1, T0) == NEVER
    assert world.plain(T0 + 4, 1, T0).quality == SYNCED


def test_an_old_record_of_another_boot_is_not_bent_by_this_boots_wrong_clock(world: World) -> None:
    world.newest = 5
    world.hello(T0, 1, 500)
    world.newest = 9  # 6 to 9: the rest of boot 1, rightly stamped, and then a reboot
    world.hello(T0 + 5000, 2, 100, clock_s=T0 + 5000 + YEAR_S)
    assert world.plain(T0 + 3000, 7, T0 + 5001).quality == SYNCED
    check(world.plain(T0 + 4950 + YEAR_S, 9, T0 + 5001), T0 + 4950, 10)


def test_new_anchors_are_seen(world: World) -> None:
    assert world.when(1, 0) is None
    world.hello(T0 + 10, 1, 10)
    assert world.when(1, 5) is not None
