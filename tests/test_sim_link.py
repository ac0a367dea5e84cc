"""The two ends of the link to a board process agree, and the clock between them holds."""

import re

import pytest

from wayside_sim import build, wire
from wayside_sim.clock import BoardClock
from wayside_sim.world import World

CONSTANT = re.compile(
    r"^(_OP_\w+|_BREAK|_TIMERS|_PORT|_IRQ_MAX|_RATE_BITS) = (?:const\()?(0x[0-9A-Fa-f]+|\d+)\)?$", re.M
)
NAMES = {
    "_BREAK": wire.BREAK,
    "_TIMERS": wire.TIMERS,
    "_PORT": wire.USB_PORT,
    "_IRQ_MAX": wire.IRQ_MAX,
    "_RATE_BITS": wire.RATE_BITS,
}


def test_the_shims_use_the_hosts_numbers() -> None:
    used = set()
    for path in build.SHIMS.glob("*.py"):
        for name, text in CONSTANT.findall(path.read_text()):
            expected = wire.Op[name[4:]] if name.startswith("_OP_") else NAMES[name]
            assert int(text, 0) == expected, f"{path.name}: {name}"
            used.add(name)
    assert {f"_OP_{op.name}" for op in wire.Op} <= used


@pytest.mark.parametrize("drift", [0.0, 0.1, -0.1, 0.000_037, -0.5])
def test_a_clock_shows_a_deadline_no_earlier_than_when_it_is_due(drift: float) -> None:
    world = World(virtual=True)
    clock = BoardClock(world, drift=drift)
    for ticks in (0, 1, 999, 1_000_000, 86_400_000_000, 10**12 + 7):
        due = clock.world_us(ticks)
        assert clock.ticks_us(due) >= ticks
        assert due == 0 or clock.ticks_us(due - 1) < ticks
        assert clock.ticks_us(due) == pytest.approx(due * (1 + drift), abs=2 + due * 1e-6)


def test_a_clock_goes_on_from_where_it_is_when_its_rate_changes() -> None:
    world = World(virtual=True)
    clock = BoardClock(world)
    world.advance(1_000_000)
    clock.drift = 0.1
    assert clock.ticks_us(1_000_000) == 1_000_000
    world.advance(2_000_000)
    assert clock.ticks_us(2_000_000) == pytest.approx(2_100_000, abs=2)
    clock.boot(power_on=False)
    assert clock.ticks_us(2_000_000) == 0


def test_a_world_does_what_is_due_in_order_of_time_and_of_asking() -> None:
    world = World(virtual=True)
    seen: list[tuple[int, str]] = []

    def note(word: str) -> None:
        seen.append((world.now_us, word))

    def first() -> None:
        note("a")
        world.after(5, lambda: note("between"))

    world.at(20, lambda: note("b"))
    world.at(10, first)
    world.at(20, lambda: note("c"))
    world.at(15, lambda: note("never")).cancelled = True
    world.advance(100)
    assert seen == [(10, "a"), (15, "between"), (20, "b"), (20, "c")]
    assert (world.now_us, world.next_us()) == (100, None)


def test_a_world_refuses_to_stand_still() -> None:
    with pytest.raises(ValueError, match="speed"):
        World(speed=0)
