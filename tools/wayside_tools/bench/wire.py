"""`wayside bench wire`: bytes a reading of a recorded series, every frame opened again and compared with the file."""

from array import array
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wayside_protocol import cobs, columns, record
from wayside_protocol.cbor import Writer
from wayside_protocol.errors import UsageError
from wayside_protocol.frame import Opener, Sealer, parse
from wayside_protocol.limits import FRAME_MAX, PLAIN_MAX
from wayside_tools.bench.peers import peer_sizes
from wayside_tools.bench.series import Batch, Series, batches, read
from wayside_tools.errors import Failure

NODE = 1001
FIRST_SEQ = 70_000  # takes five bytes, as it does on a node that has run for more than a month
SET = 1
KEY = bytes.fromhex("7761797369646562656e636877697265")


@dataclass
class _Wire:
    """One node's way to the frame, with the buffers a node has, and back."""

    numbers: tuple[int, ...]
    interval_s: int
    seq: int = FIRST_SEQ
    coded: bytearray = field(default_factory=lambda: bytearray(PLAIN_MAX))
    plain: bytearray = field(default_factory=lambda: bytearray(PLAIN_MAX))
    frame: bytearray = field(default_factory=lambda: bytearray(FRAME_MAX))

    def __post_init__(self) -> None:
        self.sealer = Sealer(KEY)
        self.opener = Opener(KEY)
        self.writer = Writer(self.plain)

    def seal(self, batch: Batch) -> bytes:
        rows = array("i", [value for row in batch.rows for value in row])
        n = len(batch.rows)
        try:
            end = columns.encode(self.coded, 0, self.numbers, rows, n)
            self.writer.pos = 0
            record.encode_samples(self.writer, batch.t, self.interval_s, SET, n, self.coded, end)
        except UsageError as error:
            if error.reason != "buffer_full":
                raise
            raise Failure(
                f"{n} samples of {len(self.numbers)} channels from {batch.t} on do not fit a frame of "
                f"{FRAME_MAX} bytes: use a smaller --batch"
            ) from None
        self.seq += 1
        return bytes(self.frame[: self.sealer.record(self.frame, NODE, self.seq, self.plain, self.writer.pos)])

    def check(self, frame: bytes, batch: Batch) -> int:
        """Open and decode the frame; return by how many seconds its times are off the file's. Raises Failure."""
        opened = parse(frame)
        said = record.decode(self.opener.open(opened))
        if not isinstance(said, record.Samples) or (opened.node, opened.b) != (NODE, self.seq):
            raise Failure(f"record {self.seq} came back as another one")
        if (said.t, said.interval_s, said.n) != (batch.t, self.interval_s, len(batch.rows)):
            raise Failure(f"record {self.seq}: its times came back changed")
        decoded = columns.decode(said.columns, self.numbers, said.n)
        for i, row in enumerate(batch.rows):
            back = tuple(columns.MISSING if column[i] is None else column[i] for column in decoded)
            if back != row:
                raise Failure(f"record {self.seq}: the sample at {batch.times[i]} came back as {back}, not {row}")
        return max(abs(time - (batch.t + i * self.interval_s)) for i, time in enumerate(batch.times))


def bench_wire(path: Path, size: int, drop: float = 0, seed: int = 1) -> dict[str, Any]:
    """The figures of a file in batches of `size` samples, the last one perhaps smaller. Raises Failure."""
    series = read(path)
    if drop:
        series = series.dropping(drop, seed)
    readings = series.readings()
    if not readings:
        raise Failure("no readings are left: --drop took them all")
    parts = list(batches(series, size))
    frames, line_bytes, off_s = _frames(series, parts)
    total = sum(frames)
    return {
        "file": series.name,
        "batch": size,
        "channels": [quantity.name for quantity in series.quantities],
        "interval_s": series.interval_s,
        "samples": len(series.rows),
        "readings": readings,
        "missing": len(series.rows) * len(series.quantities) - readings,
        "rounded": series.rounded,
        "frames": len(frames),
        "bytes": total,
        "bytes_per_reading": round(total / readings, 4),
        "frame_p95": percentile(frames, 95),
        "frame_max": max(frames),
        "line_bytes_per_reading": round(line_bytes / readings, 4),
        "time_off_max_s": off_s,
        "compared": True,
        "peers": peer_sizes(parts, series.quantities, readings),
    }


def _frames(series: Series, parts: list[Batch]) -> tuple[list[int], int, int]:
    """Size of each frame, their bytes on a serial line, and the largest difference in time."""
    wire = _Wire(series.numbers, series.interval_s)
    sizes = []
    line_bytes = 0
    off_s = 0
    for batch in parts:
        frame = wire.seal(batch)
        off_s = max(off_s, wire.check(frame, batch))
        sizes.append(len(frame))
        line_bytes += len(cobs.encode(frame))
    return sizes, line_bytes, off_s


def percentile(values: list[int], percent: int) -> int:
    """The smallest value that this share of them does not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]
