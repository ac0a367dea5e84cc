"""What a simulated board's models measured, compared with the records that arrived."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from wayside_protocol import columns
from wayside_protocol.record import Channels, Event, Health, Log, Samples
from wayside_sim.truth import Conversion
from wayside_sim.world import World

PLAIN_OFF_S = 2.0
"""A plain time is right within 2 s (SPEC §2.3)."""
UPTIME_OFF_S = 1.6
"""Of a sample in (boot, uptime): whole seconds, and up to a second off its place in the batch."""

Body = Samples | Event | Health | Channels | Log


@dataclass
class Sample:
    """A sample as it came: its time as its record says it, and its values by quantity."""

    seq: int
    t: int | tuple[int, int]
    values: dict[int, int | None]

    def is_of(self, conversion: Conversion, unix_s: float) -> bool:
        """Could it be this measurement?"""
        wanted = (conversion.read_temperature, conversion.read_humidity, conversion.read_pressure)
        for quantity, value, steps in zip((1, 2, 3), wanted, (100, 10, 10), strict=True):
            got = self.values[quantity]
            if got is None or value is None or abs(got - steps * value) > 1:
                return False
        if isinstance(self.t, int):
            return abs(self.t - unix_s) <= PLAIN_OFF_S
        return abs(self.t[1] - conversion.board_us / 1e6) <= UPTIME_OFF_S


def samples_of(records: Mapping[int, Body]) -> list[Sample]:
    """All samples, in order of seq."""
    out: list[Sample] = []
    sets: dict[int, Channels] = {}
    for seq in sorted(records):
        body = records[seq]
        if isinstance(body, Channels):
            sets[body.set_id] = body
        if not isinstance(body, Samples):
            continue
        quantities = [quantity for quantity, _ in sets[body.set_id].channels]
        found = columns.decode(body.columns, quantities, body.n)
        for i in range(body.n):
            passed = i * body.interval_s
            t = body.t + passed if isinstance(body.t, int) else (body.t[0], body.t[1] + passed)
            out.append(Sample(seq, t, {q: found[c][i] for c, q in enumerate(quantities)}))
    return out


def compare(world: World, conversions: Sequence[Conversion], records: Mapping[int, Body], log: str) -> tuple[int, int]:
    """How many measurements arrived and how many are lost. Each arrived once, in order, with its time and values;
    lost is at most the last one of a boot."""
    samples = samples_of(records)
    at = lost = 0
    boots: dict[int, int] = {}  # the firmware's count: it lacks boots that ended before it could count them
    for i, conversion in enumerate(conversions):
        unix_s = world.unix(conversion.world_us)
        if at < len(samples) and samples[at].is_of(conversion, unix_s):
            t = samples[at].t
            assert isinstance(t, int) or boots.setdefault(t[0], conversion.boot) == conversion.boot
            at += 1
            continue
        lost += 1
        last = i + 1 == len(conversions) or conversions[i + 1].boot != conversion.boot
        near = samples[max(0, at - 1) : at + 2]
        assert last, f"lost: {conversion} at {unix_s}, before {near} of {len(samples)}\n{log}"
    assert at == len(samples), f"no truth behind {samples[at : at + 3]}"
    return len(samples), lost
