"""Nodes with a backlog on one serial line, as a process of its own.

`python -m wayside_tools.bench.feeder NODES FRAMES KEY LINK` seals all frames first, makes a PTY with LINK as its name,
says so on stdout, and feeds as fast as the other end takes when a line comes on stdin. What the gateway sends back is
read and kept: at the end the acks are opened and counted.
"""

import errno
import json
import os
import select
import sys
import time
import tty
from array import array
from pathlib import Path

from wayside_protocol import VERSION, cobs, columns, record, session
from wayside_protocol.cbor import Writer
from wayside_protocol.errors import ProtocolError
from wayside_protocol.frame import DOWNLINK, Opener, Sealer, parse
from wayside_protocol.limits import FRAME_MAX, PLAIN_MAX
from wayside_tools.bench.series import RECORDED, batches, read

FIRST_NODE = 1001
FIRST_SEQ = 70_000
BOOT = 3
SAMPLES = 12
WRITE_SIZE = 65_536
QUIET_S = 0.05  # how long to wait for the line while there is nothing to write
SPAN_S = 300 * 86_400  # the backlog lies in the last 300 days: an older time would not be believed


class Node:
    """Seals the frames of one node, as its firmware would."""

    def __init__(self, node: int, key: bytes) -> None:
        self.node = node
        self.seq = FIRST_SEQ - 1
        self._sealer = Sealer(key)
        self._plain = bytearray(PLAIN_MAX)
        self._frame = bytearray(FRAME_MAX)
        self._coded = bytearray(PLAIN_MAX)
        self._writer = Writer(self._plain)

    def hello(self, newest: int) -> bytes:
        """The node's hello: it holds everything up to `newest`."""
        self._writer.pos = 0
        clock = (int(time.time() * 1000), 1000)
        session.encode_hello(
            self._writer,
            session.Hello(VERSION, 60_000, clock, FIRST_SEQ, newest, 0, 1, "0.1.0", "bench", 1),
        )
        n = self._sealer.session(self._frame, self.node, BOOT, 1, self._plain, self._writer.pos)
        return cobs.encode(self._frame[:n])

    def channels(self, numbers: tuple[int, ...]) -> bytes:
        self._writer.pos = 0
        record.encode_channels(self._writer, 1, [(number, 0) for number in numbers])
        return self._sealed()

    def samples(self, t: int, interval_s: int, numbers: tuple[int, ...], rows: "array[int]") -> bytes:
        n = len(rows) // len(numbers)
        end = columns.encode(self._coded, 0, numbers, rows, n)
        self._writer.pos = 0
        record.encode_samples(self._writer, t, interval_s, 1, n, self._coded, end)
        return self._sealed()

    def _sealed(self) -> bytes:
        self.seq += 1
        return cobs.encode(
            self._frame[: self._sealer.record(self._frame, self.node, self.seq, self._plain, self._writer.pos)]
        )


def prepare(nodes: int, frames: int, key: bytes) -> tuple[bytes, bytes]:
    """What goes on the line: hellos and channels first, then `frames` samples records, the nodes in turn."""
    series = read(RECORDED)
    recorded = [array("i", [value for row in batch.rows for value in row]) for batch in batches(series, SAMPLES)]
    turns = -(-frames // nodes)
    interval_s = max(1, min(series.interval_s, SPAN_S // (turns * SAMPLES)))
    begin = int(time.time()) - (turns + 1) * SAMPLES * interval_s
    all_nodes = [Node(FIRST_NODE + i, key) for i in range(nodes)]
    start = b""
    for i, node in enumerate(all_nodes):
        share = frames // nodes + (i < frames % nodes)
        start += node.hello(FIRST_SEQ + share) + node.channels(series.numbers)
    line = []
    for i in range(frames):
        turn = i // nodes
        rows = recorded[(turn + i % nodes) % len(recorded)]
        t = begin + turn * SAMPLES * interval_s
        line.append(all_nodes[i % nodes].samples(t, interval_s, series.numbers, rows))
    return start, b"".join(line)


class Line:
    """The PTY's master end. The other end stays open here too, so that the gateway may come and go."""

    def __init__(self, link: Path) -> None:
        self.master, self._slave = os.openpty()
        tty.setraw(self._slave)
        link.unlink(missing_ok=True)
        link.symlink_to(os.ttyname(self._slave))
        os.set_blocking(self.master, False)
        self.received = bytearray()

    def send(self, data: bytes) -> None:
        """Give the line all of it, as fast as it takes it, and read what comes back meanwhile."""
        view = memoryview(data)
        at = 0
        poll = select.poll()
        poll.register(self.master, select.POLLIN | select.POLLOUT)
        while at < len(view):
            for _, event in poll.poll():
                if event & select.POLLIN:
                    self._take()
                if event & select.POLLOUT:
                    try:
                        at += os.write(self.master, view[at : at + WRITE_SIZE])
                    except BlockingIOError:
                        time.sleep(0.0002)

    def listen(self, seconds: float) -> None:
        """Read what comes back for so long."""
        if select.select([self.master], [], [], seconds)[0]:
            self._take()

    def _take(self) -> None:
        try:
            self.received += os.read(self.master, WRITE_SIZE)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.EIO:
                raise


def acked(received: bytes, key: bytes) -> tuple[int, int]:
    """How many records the acks name, and how many acks there were."""
    opener = Opener(key)
    names: set[tuple[int, int]] = set()
    acks = 0
    for frame in cobs.Deframer().feed(bytes(received)):
        try:
            parsed = parse(frame)
            said = session.decode_downlink(opener.open(parsed, BOOT)) if parsed.kind == DOWNLINK else None
        except ProtocolError:
            continue
        if isinstance(said, session.Ack):
            acks += 1
            for first, last in said.ranges:
                names.update((parsed.node, seq) for seq in range(first, last + 1))
    return len(names), acks


def main(nodes: int, frames: int, key: bytes, link: Path) -> None:
    """Prints one JSON object when ready, one when all is fed, and one with the acks once stdin is closed."""
    start, line = prepare(nodes, frames, key)
    port = Line(link)
    _say(ready=str(link), bytes=len(start) + len(line))
    sys.stdin.readline()
    port.send(start)
    begun = time.monotonic()
    port.send(line)
    _say(fed=frames, seconds=time.monotonic() - begun)
    while not select.select([sys.stdin], [], [], 0)[0]:
        port.listen(QUIET_S)
    records, acks = acked(port.received, key)
    _say(acked=max(0, records - nodes), acks=acks)


def _say(**values: object) -> None:
    print(json.dumps(values), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), bytes.fromhex(sys.argv[3]), Path(sys.argv[4]))
