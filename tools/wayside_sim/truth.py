"""What happened on a simulated board, for people and for tests: the board's log, and the truth of what its models
did."""

import logging
from collections import deque
from dataclasses import dataclass, field

from wayside_sim.world import World

LOG_MAX = 10_000
PRINTED_MAX = 262_144

_log = logging.getLogger("wayside_sim")


@dataclass(frozen=True)
class Entry:
    """One line of the log."""

    world_us: int
    level: str
    text: str


class BoardLog:
    """The last entries, and the last of what the board printed."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.entries: deque[Entry] = deque(maxlen=LOG_MAX)
        self._printed = bytearray()

    def add(self, level: str, text: str) -> None:
        self.entries.append(Entry(self._world.now_us, level, text))
        _log.log(getattr(logging, level.upper()), "%s", text)

    def printed(self, data: bytes) -> None:
        self._printed += data
        del self._printed[:-PRINTED_MAX]

    @property
    def output(self) -> str:
        """What the board printed, all boots together."""
        return self._printed.decode(errors="replace")

    def __str__(self) -> str:
        return "\n".join(f"{e.world_us / 1e6:12.6f} {e.level:7} {e.text}" for e in self.entries)


@dataclass(frozen=True)
class Conversion:
    """One conversion of an environment sensor. Values in °C, %RH, hPa: as wished, and as the data sheet's
    compensation gives them back from the registers (None: not measured)."""

    world_us: int
    board_us: int
    boot: int
    temperature: float
    humidity: float
    pressure: float
    read_temperature: float | None
    read_humidity: float | None
    read_pressure: float | None


@dataclass(frozen=True)
class Passage:
    """Somebody who passed: when the middle of the gate was crossed, and which way."""

    world_us: int
    direction: str
    kind: str = "walker"


@dataclass
class Truth:
    """What the models really measured and fed."""

    conversions: list[Conversion] = field(default_factory=list)
    passages: list[Passage] = field(default_factory=list)

    def count(self, direction: str, from_us: int = 0, to_us: int | None = None) -> int:
        """Passages in a direction (`in`, `out`) with from_us <= time < to_us."""
        return sum(
            p.direction == direction and from_us <= p.world_us and (to_us is None or p.world_us < to_us)
            for p in self.passages
        )
