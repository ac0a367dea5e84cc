"""A node in plain Python: journal in memory, hello, records, acks. For tests of the gateway's side."""

from wayside_protocol.cbor import Writer
from wayside_protocol.cobs import Deframer, encode
from wayside_protocol.errors import ProtocolError
from wayside_protocol.frame import DOWNLINK, Opener, Sealer, parse
from wayside_protocol.limits import FRAME_MAX, PLAIN_MAX
from wayside_protocol.record import encode_channels, encode_event, encode_samples
from wayside_protocol.session import (
    Ack,
    Answer,
    Command,
    Hello,
    Welcome,
    decode_downlink,
    encode_answer,
    encode_hello,
)

KEY = bytes(range(16))


class FakeNode:
    """Records are frames by seq, dropped when acked. `line` is what it has to say; `hear` takes what it is told."""

    def __init__(self, node: int = 1001, key: bytes = KEY, boot: int = 1, oldest: int = 1) -> None:
        self.node = node
        self.boot = boot
        self.session_n = 0
        self.uptime_ms = 1_000
        self.clock: tuple[int, int] | None = None
        self.oldest = self.next_seq = oldest
        self.records: dict[int, bytes] = {}
        self.bodies: dict[int, bytes] = {}
        self.acked: set[int] = set()
        self.welcomes: list[Welcome] = []
        self.commands: list[Command] = []
        self.refused = 0
        self.last_down: dict[int, int] = {}
        self._sealer = Sealer(key)
        self._opener = Opener(key)
        self._out = bytearray(FRAME_MAX)
        self._deframer = Deframer()

    # -- what it says, as it goes on the line -------------------------------------------------------------

    def seal(self, body: bytes, seq: int | None = None) -> bytes:
        """A record frame; with a seq of the caller's nothing is kept."""
        number = self.next_seq if seq is None else seq
        length = self._sealer.record(self._out, self.node, number, bytearray(body), len(body))
        frame = bytes(self._out[:length])
        if seq is None:
            self.records[number] = frame
            self.bodies[number] = body
            self.next_seq += 1
        return encode(frame)

    def samples(self, t: int | tuple[int, int] | None = None, columns: bytes = bytes(60)) -> bytes:
        writer = Writer(bytearray(PLAIN_MAX))
        when = t if t is not None else (self.boot, self.uptime_ms // 1000)
        encode_samples(writer, when, 60, 1, 12, columns, len(columns))
        return self.seal(writer.done())

    def event(self, code: int, detail: "tuple[int | str, ...]") -> bytes:
        writer = Writer(bytearray(PLAIN_MAX))
        encode_event(writer, (self.boot, self.uptime_ms // 1000), code, detail)
        return self.seal(writer.done())

    def channels(self, set_id: int = 1) -> bytes:
        writer = Writer(bytearray(PLAIN_MAX))
        encode_channels(writer, set_id, [(1, 0), (2, 0)])
        return self.seal(writer.done())

    def again(self) -> bytes:
        """Everything that is not acked."""
        return b"".join(encode(self.records[seq]) for seq in sorted(self.records) if seq not in self.acked)

    def hello(self, **changes: object) -> bytes:
        hello = Hello(1, self.uptime_ms, self.clock, self.oldest, self.next_seq - 1, 0, 1, "1.0", "fake", 1)
        writer = Writer(bytearray(PLAIN_MAX))
        encode_hello(writer, hello._replace(**changes))  # type: ignore[arg-type]
        return self._session(writer)

    def answer(self, number: int, status: int = 0, result: str = "") -> bytes:
        writer = Writer(bytearray(PLAIN_MAX))
        encode_answer(writer, Answer(number, status, result))
        return self._session(writer)

    def _session(self, writer: Writer) -> bytes:
        plain = bytearray(writer.done())
        length = self._sealer.session(self._out, self.node, self.boot, self.session_n, plain, len(plain))
        self.session_n += 1
        return encode(self._out[:length])

    def reboot(self) -> None:
        self.boot += 1
        self.session_n = 0
        self.uptime_ms = 0
        self.last_down.clear()

    # -- what it is told ---------------------------------------------------------------------------------

    def hear(self, data: bytes) -> None:
        for raw in self._deframer.feed(data):
            try:
                frame = parse(raw)
                if frame.kind != DOWNLINK or frame.node != self.node:
                    continue
                message = decode_downlink(self._opener.open(frame, self.boot))
            except ProtocolError:
                self.refused += 1
                continue
            if frame.b <= self.last_down.get(frame.a, -1):
                self.refused += 1
                continue
            self.last_down[frame.a] = frame.b
            if isinstance(message, Ack):
                self.acked.update(seq for first, last in message.ranges for seq in range(first, last + 1))
            elif isinstance(message, Welcome):
                self.welcomes.append(message)
                self.acked.update(seq for first, last in message.held for seq in range(first, last + 1))
            else:
                self.commands.append(message)
