"""Parts of a node for tests of its stations: real journal, spool and recorder on a folder, time as the test says."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from wayside_node.batch import Batch
from wayside_node.clock import NOW_MASK, Clock
from wayside_node.journal import Journal, JournalError
from wayside_node.sampler import Sampler, channels_of
from wayside_node.seal import Recorder
from wayside_node.spool import Spool
from wayside_protocol import columns
from wayside_protocol.frame import Opener, Sealer, parse
from wayside_protocol.limits import FRAME_MAX
from wayside_protocol.quantity import HUMIDITY, TEMPERATURE, WALKERS_IN
from wayside_protocol.record import Event, Samples, decode

NODE = 1001
KEY = bytes(range(16))
UTC = 1_700_000_000_000
CAPACITY = 8 * 16384


class Sensor:
    """Gives what `give` returns, `ready_ms` after its start. `fail` is raised instead at the step of that name."""

    def __init__(self, channels: tuple[tuple[int, int], ...], give: Callable[[], tuple[int, ...]], name: str) -> None:
        self.name = name
        self.channels = channels
        self.give = give
        self.ready_ms = 10
        self.fail: dict[str, Exception] = {}
        self.starts = 0
        self._at = 0

    def start(self, now_ms: int) -> int:
        self.starts += 1
        self._raise("start")
        self._at = now_ms
        return self.ready_ms

    def poll(self, now_ms: int) -> int:
        self._raise("poll")
        return max(0, self._at + self.ready_ms - now_ms)

    def read(self, out: Any, at: int) -> None:
        self._raise("read")
        for i, value in enumerate(self.give()):
            out[at + i] = value

    def _raise(self, step: str) -> None:
        if step in self.fail:
            raise self.fail[step]


class Parts:
    """A node without link and tasks. `rate` is how fast the board's clock runs."""

    def __init__(
        self, root: Path, boot: int = 1, interval_s: int = 60, report_s: int = 720, size: int = 12, rate: float = 1.0
    ) -> None:
        self.root = root
        self.true_ms = 0.0
        self.rate = rate
        self.boot = boot
        self.journal = Journal(str(root), CAPACITY)
        self.clock = Clock(boot)
        self.clock._advance = self._advance
        self.recorder = Recorder(NODE, self.clock, self.journal, Sealer(KEY))
        self.spool = Spool(str(root))
        self.count = 0
        self.air = Sensor(((TEMPERATURE, 0), (HUMIDITY, 0)), lambda: (2000 + self.count, 500 + self.count), "air")
        self.gate = Sensor(((WALKERS_IN, 0),), lambda: (self.count % 7,), "gate")
        self.sensors = (self.air, self.gate)
        self.recorder.define(1, channels_of(self.sensors))
        self.batch = Batch(self.clock, self.recorder, self.spool, interval_s, report_s, size)
        self.sampler = Sampler(self.clock, self.batch, self.recorder, self.sensors)
        self.times: list[float] = []
        """True times of the samples."""

    def _advance(self) -> None:
        up = int(self.true_ms * self.rate)
        self.clock._s, self.clock._ms = divmod(up, 1000)
        self.clock._now = up & NOW_MASK

    def set_clock(self, early_ms: int = 0, rtt_ms: int = 20) -> None:
        self.clock.sync(UTC + int(self.true_ms) - early_ms, rtt_ms, self.clock.uptime_ms())

    def run(self, seconds: float) -> None:
        """Step the sampler for so long, as its task does."""
        end = self.true_ms + 1000 * seconds
        while self.true_ms < end:
            taken = self.sampler.taken
            began = self.true_ms
            wait = self.sampler.step(self.clock.now())
            if self.sampler.taken > taken:
                self.count += 1
                self.times.append(began - self.air.ready_ms / self.rate)
            self.true_ms = min(end, self.true_ms + max(wait, 0.2) / self.rate)

    def records(self, kind: type[Any] | None = None) -> list[Any]:
        """Everything in the journal, decoded, of one kind or all."""
        out = bytearray(FRAME_MAX)
        found = []
        for seq in range(self.journal.oldest, self.journal.newest + 1):
            n = self.journal.read(seq, out)
            assert n
            body = decode(Opener(KEY).open(parse(bytes(out[:n]))))
            if kind is None or isinstance(body, kind):
                found.append(body)
        return found

    def samples(self) -> list[Samples]:
        return self.records(Samples)

    def events(self, code: int) -> list[Event]:
        return [event for event in self.records(Event) if event.code == code]

    def values(self, record: Samples) -> list[list[int | None]]:
        """Its columns."""
        return columns.decode(record.columns, [q for q, _ in channels_of(self.sensors)], record.n)

    def close(self) -> None:
        self.journal.close()
        self.spool.close()


def add(parts: Parts, *values: int, at_ms: int | None = None) -> None:
    """One sample at an uptime, by default the next place of the batch."""
    if at_ms is None:
        up = parts.clock.uptime_ms()
        at_ms = up + (parts.batch.due_ms(up) if parts.batch.n else 60_000)
    parts.true_ms = at_ms / parts.rate
    row = parts.batch.open_row(at_ms)
    assert row >= 0
    for c, value in enumerate(values or (2000 + parts.count, 500, parts.count % 7)):
        parts.batch.rows[row + c] = value
    parts.batch.close_row()
    parts.count += 1


def refuse(*_: Any) -> NoReturn:
    """A journal on a flash that fails."""
    raise JournalError("journal_write")


Make = Callable[..., Parts]


def boots_on(folder: Path) -> Iterator[Make]:
    """For a fixture. Parts over one folder: each call is a boot that finds what the one before left."""
    made: list[Parts] = []

    def build(**options: float) -> Parts:
        if made:
            made[-1].close()
        options.setdefault("boot", len(made) + 1)
        made.append(Parts(folder, **options))  # type: ignore[arg-type]
        return made[-1]

    yield build
    made[-1].close()
