"""The account: what the sensors' models really measured against what arrived, reading by reading.

The truth is the simulator's, not the firmware's: each conversion of a simulated chip, with the world's own time and the
values that the data sheet's formulas give. A reading arrived if it came with that value and with a time that is right
to within the bound that came with it.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from wayside_protocol.quantity import BY_NAME
from wayside_tools.demo.readings import Reading

STEPS_OFF = 1.001
"""Steps that a reading may be off the data sheet's formula: that is in floating point, the node's in integers."""
TIME_SLACK_S = 1.1
"""A sample may be a second off the place that its record gives it, and its conversion takes milliseconds."""
QUANTITIES = ("temperature", "humidity", "pressure")


@dataclass(frozen=True)
class Taken:
    """One value that a sensor's model measured."""

    quantity: str
    value: float
    unix_s: float


@dataclass
class Account:
    """Of one node, or of all together."""

    taken: int = 0
    delivered: int = 0
    duplicates: int = 0
    missing: int = 0
    wrong: int = 0
    """Arrived, but nobody measured that."""
    untimely: int = 0
    """Arrived with a time further off than its bound says."""
    time_off_max_s: float = 0.0
    quality: Counter[str] = field(default_factory=Counter)
    people_fed: int = 0
    people_counted: int = 0

    @property
    def good(self) -> bool:
        """All that was taken arrived once, as it was, with the right time."""
        return self.taken == self.delivered and not (self.duplicates or self.missing or self.wrong or self.untimely)

    def add(self, other: "Account") -> None:
        for name in (
            "taken",
            "delivered",
            "duplicates",
            "missing",
            "wrong",
            "untimely",
            "people_fed",
            "people_counted",
        ):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.time_off_max_s = max(self.time_off_max_s, other.time_off_max_s)
        self.quality.update(other.quality)

    def as_json(self) -> dict[str, Any]:
        return {
            "taken": self.taken,
            "delivered": self.delivered,
            "duplicates": self.duplicates,
            "missing": self.missing,
            "wrong": self.wrong,
            "untimely": self.untimely,
            "time_off_max_s": round(self.time_off_max_s, 3),
            "time_quality": dict(self.quality),
            "people": {"fed": self.people_fed, "counted": self.people_counted},
        }


def account(taken: Iterable[Taken], arrived: Iterable[Reading]) -> Account:
    """Of one node. `taken` and `arrived` in any order."""
    out = Account()
    once: dict[tuple[int, int, str], Reading] = {}
    for reading in arrived:
        key = (reading.seq, reading.place, reading.quantity)
        if key in once:
            out.duplicates += 1
        else:
            once[key] = reading
    by_quantity: dict[str, list[Reading]] = {}
    for key in sorted(once):
        by_quantity.setdefault(key[2], []).append(once[key])
    everything = list(taken)
    for quantity in QUANTITIES:
        truth = sorted((item for item in everything if item.quantity == quantity), key=lambda item: item.unix_s)
        _match(out, truth, by_quantity.get(quantity, []))
    for quantity in ("walkers_in", "walkers_out"):
        # The first count is also of the time before the node was up, when nobody could count.
        out.people_counted += sum(reading.steps for reading in by_quantity.get(quantity, [])[1:])
    return out


def _match(out: Account, truth: Sequence[Taken], arrived: Sequence[Reading]) -> None:
    """Both in the order they were taken in: each reading that arrived finds its own among those not found yet."""
    out.taken += len(truth)
    at = 0
    for reading in arrived:
        found = at
        while found < len(truth) and not _same(truth[found], reading):
            found += 1
        if found == len(truth) or (found > at and _far(truth[found], reading)):
            if at and _same(truth[at - 1], reading) and not _far(truth[at - 1], reading):
                out.duplicates += 1
            else:
                out.wrong += 1
            continue
        out.missing += found - at
        out.delivered += 1
        _timed(out, truth[found], reading)
        at = found + 1
    out.missing += len(truth) - at


def _same(item: Taken, reading: Reading) -> bool:
    off: float = item.value * 10 ** BY_NAME[reading.quantity].decimals - reading.steps
    return -STEPS_OFF <= off <= STEPS_OFF


def _far(item: Taken, reading: Reading) -> bool:
    """So far off in time that it must be another one that happens to be alike."""
    return reading.unix_s is not None and abs(reading.unix_s - item.unix_s) > reading.bound_s + TIME_SLACK_S


def _timed(out: Account, item: Taken, reading: Reading) -> None:
    out.quality[reading.quality] += 1
    if reading.unix_s is None:
        return
    off_s = abs(reading.unix_s - item.unix_s)
    out.time_off_max_s = max(out.time_off_max_s, off_s)
    if off_s > reading.bound_s + TIME_SLACK_S:
        out.untimely += 1
