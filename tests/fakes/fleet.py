"""Many nodes on one line, each quick: frames sealed beforehand, and the session of a node (hello, window, repeats)."""

from random import Random

from wayside_protocol.cbor import Writer
from wayside_protocol.cobs import Deframer, encode
from wayside_protocol.columns import encode as encode_columns
from wayside_protocol.errors import ProtocolError
from wayside_protocol.frame import DOWNLINK, Opener, Sealer, parse
from wayside_protocol.limits import FRAME_MAX, PLAIN_MAX
from wayside_protocol.quantity import HUMIDITY, TEMPERATURE
from wayside_protocol.record import encode_channels, encode_samples
from wayside_protocol.session import Ack, Hello, Welcome, decode_downlink, encode_hello

REPEAT_S = 1.0
"""A record that is not acked within it is sent again."""
SILENCE_S = 1.5
"""Without a word from the gateway for so long: nothing is in flight any more, and hello until it is back."""
HELLO_S = 0.3
SHAPES = 40
"""Different columns among all records: sealing is per record, coding them is not what is proved here."""
SAMPLES = 12


def _columns(rng: Random) -> bytes:
    rows = [value for _ in range(SAMPLES) for value in (2000 + rng.randrange(300), 400 + rng.randrange(99))]
    out = bytearray(PLAIN_MAX)
    return bytes(out[: encode_columns(out, 0, (TEMPERATURE, HUMIDITY), rows, SAMPLES)])


class FleetNode:
    """Records 1..count, the first of them what the columns are. `acked` says what the gateway said it holds."""

    def __init__(self, node: int, key: bytes, count: int, rng: Random, t: int) -> None:
        self.node = node
        self.count = count
        self.bodies: list[bytes] = []
        self.acked = bytearray(count + 2)
        self.acked_count = 0
        self.repeats = self.hellos = self.refused = 0
        self._lines: list[bytes] = []
        self._opener, self._sealer = Opener(key), Sealer(key)
        self._out = bytearray(FRAME_MAX)
        self._heard_n = -1
        self._n = 0
        self._next = 1
        self._flight: dict[int, float] = {}
        self._window = 0
        self._heard_s = 0.0
        self._hello_s = 0.0
        self._seal_all(count, rng, t)

    def _seal_all(self, count: int, rng: Random, t: int) -> None:
        shapes = [_columns(rng) for _ in range(SHAPES)]
        writer = Writer(bytearray(PLAIN_MAX))
        encode_channels(writer, 1, ((TEMPERATURE, 0), (HUMIDITY, 0)))
        self.bodies.append(writer.done())
        for i in range(1, count):
            columns = shapes[i % SHAPES]
            writer = Writer(bytearray(PLAIN_MAX))
            encode_samples(writer, t + 720 * i, 60, 1, SAMPLES, columns, len(columns))
            self.bodies.append(writer.done())
        for seq, body in enumerate(self.bodies, 1):
            length = self._sealer.record(self._out, self.node, seq, bytearray(body), len(body))
            self._lines.append(encode(self._out[:length]))

    @property
    def done(self) -> bool:
        return self.acked_count == self.count

    def lines(self, now_s: float, limit: int) -> list[bytes]:
        """What to say now, at most `limit` records."""
        if now_s - self._heard_s > SILENCE_S:
            self._window = 0
        if not self._window:
            self._flight.clear()
            self._next = 1
            if now_s < self._hello_s:
                return []
            self._hello_s = now_s + HELLO_S
            return [self._hello(now_s)]
        if not self._flight:
            self._heard_s = now_s  # nothing is owed
        out: list[bytes] = []
        for seq, sent_s in self._flight.items():
            if now_s - sent_s > REPEAT_S and len(out) < limit:
                self._flight[seq] = now_s
                self.repeats += 1
                out.append(self._lines[seq - 1])
        while len(self._flight) < self._window and self._next <= self.count and len(out) < limit:
            seq = self._next
            self._next += 1
            if not self.acked[seq]:
                self._flight[seq] = now_s
                out.append(self._lines[seq - 1])
        return out

    def _hello(self, now_s: float) -> bytes:
        self.hellos += 1
        writer = Writer(bytearray(PLAIN_MAX))
        encode_hello(writer, Hello(1, int(now_s * 1000), None, 1, self.count, 0, 1, "1.0", "fleet", 0))
        plain = bytearray(writer.done())
        length = self._sealer.session(self._out, self.node, 1, self._n, plain, len(plain))
        self._n += 1
        return encode(self._out[:length])

    def hear(self, raw: bytes, number: int, now_s: float) -> None:
        """A downlink for this node."""
        try:
            message = decode_downlink(self._opener.open(parse(raw), 1))
        except ProtocolError:
            self.refused += 1
            return
        if number <= self._heard_n:
            self.refused += 1
            return
        self._heard_n = number
        self._heard_s = now_s
        if isinstance(message, Ack):
            self._held(message.ranges)
        elif isinstance(message, Welcome):
            self._held(message.held)
            if message.hello_n == self._n - 1:
                self._window = message.window

    def _held(self, ranges: "tuple[tuple[int, int], ...]") -> None:
        for first, last in ranges:
            for seq in range(first, last + 1):
                if not self.acked[seq]:
                    self.acked[seq] = 1
                    self.acked_count += 1
                self._flight.pop(seq, None)


class Fleet:
    """All nodes of a line. `say` gives the bytes to write, `hear` takes those that were read."""

    def __init__(self, keys: dict[int, bytes], each: int, seed: int, t: int) -> None:
        rng = Random(seed)
        self.nodes = {node: FleetNode(node, key, each, rng, t) for node, key in keys.items()}
        self._deframer = Deframer()

    @property
    def done(self) -> bool:
        return all(node.done for node in self.nodes.values())

    @property
    def acked(self) -> int:
        return sum(node.acked_count for node in self.nodes.values())

    def say(self, now_s: float, limit: int) -> bytes:
        """About `limit` records at most, from all nodes in turn."""
        share = max(1, limit // len(self.nodes))
        return b"".join(line for node in self.nodes.values() for line in node.lines(now_s, share))

    def hear(self, data: bytes, now_s: float) -> None:
        for raw in self._deframer.feed(data):
            try:
                frame = parse(raw)
            except ProtocolError:
                continue
            node = self.nodes.get(frame.node)
            if node is not None and frame.kind == DOWNLINK:
                node.hear(raw, frame.b, now_s)
