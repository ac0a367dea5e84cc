"""A gateway in plain Python: opens what a node says, keeps its records, answers. For tests of the node's side."""

from collections.abc import Callable

from wayside_protocol.cbor import Writer
from wayside_protocol.cobs import Deframer, encode
from wayside_protocol.errors import ProtocolError
from wayside_protocol.frame import RECORD, Opener, Sealer, parse
from wayside_protocol.limits import FRAME_MAX, PLAIN_MAX
from wayside_protocol.record import Channels, Event, Health, Log, Samples, decode
from wayside_protocol.session import (
    Answer,
    Command,
    Hello,
    Welcome,
    decode_uplink,
    encode_ack,
    encode_command,
    encode_welcome,
)

Body = Samples | Event | Health | Channels | Log


class FakeGateway:
    """`hear` takes bytes of the line and returns the bytes to answer. `now_ms` gives its clock, None for unknown.

    records  by seq, decoded; a record that comes again with other content is an error
    seen     how often each seq came
    """

    def __init__(
        self, node: int, key: bytes, now_ms: Callable[[], int | None] = lambda: None, number: int = 1, window: int = 16
    ) -> None:
        self.node = node
        self.number = number
        self.now_ms = now_ms
        self.window = window
        self.acks = True
        self.welcomes = True
        self.boot = 0
        self.last_n = 0
        self.n = 0
        self.frames: dict[int, bytes] = {}
        self.records: dict[int, Body] = {}
        self.seen: dict[int, int] = {}
        self.order: list[int] = []
        self.hellos: list[tuple[int, Hello]] = []
        self.answers: list[Answer] = []
        self.sessions: dict[tuple[int, int], bytes] = {}
        self.refused: list[str] = []
        self.deframer = Deframer()
        self._opener = Opener(key)
        self._sealer = Sealer(key)
        self._out = bytearray(FRAME_MAX)

    def hear(self, data: bytes) -> bytes:
        """Take bytes of the line; what is to be answered, as it goes on the line."""
        return b"".join(encode(frame) for raw in self.deframer.feed(data) for frame in self.take(raw))

    def take(self, raw: bytes) -> list[bytes]:
        """Take a frame; return the frames of the answer."""
        try:
            frame = parse(raw)
            if frame.node != self.node:
                raise ProtocolError("other_node")
            plain = self._opener.open(frame)
        except ProtocolError as error:
            self.refused.append(error.reason)
            return []
        if frame.kind == RECORD:
            return self._record(frame.b, raw, plain)
        assert self.sessions.setdefault((frame.a, frame.b), raw) == raw, "a nonce was used twice"
        if (frame.a, frame.b) <= (self.boot, self.last_n):
            self.refused.append("replayed")
            return []
        self.boot, self.last_n = frame.a, frame.b
        message = decode_uplink(plain)
        if isinstance(message, Answer):
            self.answers.append(message)
            return []
        self.hellos.append((frame.b, message))
        if not self.welcomes:
            return []
        return [self.welcome(frame.b, message)]

    def _record(self, seq: int, raw: bytes, plain: bytes) -> list[bytes]:
        assert self.frames.setdefault(seq, raw) == raw, f"seq {seq} was used twice"
        self.records[seq] = decode(plain)
        self.seen[seq] = self.seen.get(seq, 0) + 1
        self.order.append(seq)
        return [self.ack([(seq, seq)])] if self.acks else []

    def held(self, oldest: int, newest: int) -> tuple[tuple[int, int], ...]:
        """Ranges of what is here, the lowest 16."""
        out: list[tuple[int, int]] = []
        for seq in sorted(seq for seq in self.records if oldest <= seq <= newest):
            if out and out[-1][1] == seq - 1:
                out[-1] = (out[-1][0], seq)
            else:
                out.append((seq, seq))
        return tuple(out[:16])

    def welcome(self, hello_n: int, hello: Hello) -> bytes:
        writer = Writer(bytearray(PLAIN_MAX))
        encode_welcome(writer, Welcome(hello_n, self.now_ms(), self.window, self.held(hello.oldest, hello.newest)))
        return self.seal(writer.done())

    def ack(self, ranges: list[tuple[int, int]]) -> bytes:
        writer = Writer(bytearray(PLAIN_MAX))
        encode_ack(writer, ranges)
        return self.seal(writer.done())

    def command(self, number: int, name: int, argument: int = 0) -> bytes:
        writer = Writer(bytearray(PLAIN_MAX))
        encode_command(writer, Command(number, name, argument))
        return self.seal(writer.done())

    def seal(self, plain: bytes, boot: int | None = None) -> bytes:
        """A downlink for the node's boot."""
        self.n += 1
        length = self._sealer.downlink(
            self._out, self.node, self.number, self.n, self.boot if boot is None else boot, bytearray(plain), len(plain)
        )
        return bytes(self._out[:length])
