"""Walkers, recorded streets and recorded streams, at the pins of a board that nobody switched on."""

import functools
from pathlib import Path

import pytest

from wayside_sim.beams import Beams, Walker, read_stream
from wayside_sim.pins import Pins
from wayside_sim.street import Row, Street
from wayside_sim.truth import Truth
from wayside_sim.world import World

DATA = Path(__file__).parent / "data"
Edge = tuple[int, int, int]


class Gate:
    """Two beams, and every edge of theirs as (world µs, beam, blocked)."""

    def __init__(self, blocked_level: int = 1) -> None:
        self.world = World(virtual=True)
        self.truth = Truth()
        self.edges: list[Edge] = []
        self.pins = Pins(48, lambda pin, flags: None)
        self.beams = Beams(self.world, self.pins, self.truth, (16, 17), blocked_level)
        for beam, pin in enumerate((16, 17)):
            self.pins.listen(pin, functools.partial(self._edge, beam, blocked_level))

    def _edge(self, beam: int, blocked_level: int, level: int) -> None:
        self.edges.append((self.world.now_us, beam, int(level == blocked_level)))


@pytest.mark.parametrize("level", [0, 1])
def test_a_walker_blocks_the_beams_in_the_order_of_their_direction(level: int) -> None:
    gate = Gate(level)
    gate.beams.walk(Walker(1_000_000, "in", speed_m_s=1.0, length_m=0.3))
    gate.beams.walk(Walker(5_000_000, "out", speed_m_s=2.0, length_m=0.4))
    gate.world.advance(10_000_000)
    assert gate.edges == [
        (1_000_000, 0, 1), (1_200_000, 1, 1), (1_300_000, 0, 0), (1_500_000, 1, 0),
        (5_000_000, 1, 1), (5_100_000, 0, 1), (5_200_000, 1, 0), (5_300_000, 0, 0),
    ]  # fmt: skip
    assert [(p.direction, p.world_us) for p in gate.truth.passages] == [("in", 1_250_000), ("out", 5_150_000)]


def test_two_abreast_block_a_beam_once() -> None:
    gate = Gate()
    gate.beams.walk_all([Walker(0, "in", 1.0, 0.3), Walker(100_000, "in", 1.0, 0.3)])
    gate.world.advance(2_000_000)
    assert [e for e in gate.edges if e[1] == 0] == [(0, 0, 1), (400_000, 0, 0)]
    assert gate.truth.count("in") == 2


def test_a_recorded_stream_is_replayed_to_the_microsecond() -> None:
    recorded = list(read_stream(DATA / "one_5.beams.csv.gz"))
    gate = Gate()
    gate.beams.replay(recorded, from_us=1_000)
    gate.world.advance(recorded[-1][0] + 2_000)
    # An edge that changes nothing (a beam said to be blocked twice) is none at the pin.
    seen = [(t - 1_000, beam, blocked) for t, beam, blocked in gate.edges]
    state: list[int] = [0, 0]
    expected = []
    for t, beam, blocked in recorded:
        if state[beam] != blocked:
            expected.append((t, beam, blocked))
        state[beam] = blocked
    assert len(recorded) > 1000
    assert seen == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [("x\n", ":1: not a stream"), ("t_us,beam,blocked\n1,2,3\n", ":2: "), ("t_us,beam,blocked\n1\n", ":2: ")],
)
def test_a_bad_stream_is_refused_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=said):
        list(read_stream(path))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_as_many_walk_in_each_interval_as_were_recorded(seed: int) -> None:
    street = Street.read(DATA / "street_1min.csv", seed=seed, offset=seed)
    gate = Gate()
    gate.beams.walk_all(street.walkers())
    minutes = 120
    gate.world.advance(minutes * 60_000_000)
    for minute in range(minutes):
        row = street.rows[(minute + seed) % len(street.rows)]
        span = (minute * 60_000_000, (minute + 1) * 60_000_000)
        assert (gate.truth.count("in", *span), gate.truth.count("out", *span)) == (row.walkers_in, row.walkers_out)
    # Nobody overlaps while there is room: each walker is four edges.
    people = sum(r.walkers_in + r.walkers_out for r in (street.row_at(m * 60_000_000) for m in range(minutes)))
    assert len(gate.edges) == 4 * people
    assert street.air(0) == (street.rows[seed].temperature, street.rows[seed].humidity, street.rows[seed].pressure)


def test_a_street_is_the_same_for_the_same_seed_only() -> None:
    def first(seed: int) -> list[Walker]:
        walkers = Street([Row(walkers_in=5, walkers_out=5)], seed=seed).walkers()
        return [next(walkers) for _ in range(30)]

    assert first(1) == first(1) != first(2)


def test_a_street_with_too_many_people_lets_them_overlap() -> None:
    walkers = Street([Row(walkers_in=200)], interval_s=60).walkers()
    times = [next(walkers).at_us for _ in range(400)]
    assert times == sorted(times)
    assert all(t < 60_000_000 for t in times[:200])


def test_a_bad_street_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "street.csv"
    path.write_text("time,temperature\n1,2\n2,warm\n")
    with pytest.raises(ValueError, match=":3: "):
        Street.read(path)
    path.write_text("time,temperature\n")
    with pytest.raises(ValueError, match="no rows"):
        Street.read(path)
