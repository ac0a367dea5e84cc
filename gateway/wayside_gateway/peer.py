"""What the gateway knows of one node while it runs: its key's ciphers, its session and where it was heard."""

from wayside_gateway.links.base import Link
from wayside_gateway.ranges import Range, RangeSet, ranges_of
from wayside_gateway.session import NodeSession
from wayside_protocol.cbor import Writer
from wayside_protocol.cobs import encode
from wayside_protocol.frame import Frame, Opener, Sealer
from wayside_protocol.limits import FRAME_MAX, HELD_MAX, RANGES_MAX, WINDOW_MAX
from wayside_protocol.session import Command, Hello, Welcome, encode_ack, encode_command, encode_welcome


class Peer:
    """One node. `seqs`, `hello_n` and `link`: what the next commit lets us answer; `touched`: there is any of it."""

    __slots__ = (
        "_line",
        "_plain",
        "heard_ms",
        "hello_n",
        "key",
        "link",
        "node",
        "open",
        "sealer",
        "seqs",
        "session",
        "touched",
        "undated",
    )

    def __init__(self, node: int, key: bytes, session: NodeSession) -> None:
        self.node = node
        self.key = key
        self.open = Opener(key).open
        self.sealer = Sealer(key)
        self.session = session
        self.seqs: list[int] = []
        self.hello_n: int | None = None
        self.link: Link | None = None
        self.touched = False
        self.undated: tuple[Frame, Hello, int, int] | None = None
        """The last hello, and when it came (monotonic ms, and how late), while our own clock was not believed."""
        self.heard_ms = 0
        """Monotonic ms at which it was last heard, 0: not since the start."""
        self._plain = bytearray(FRAME_MAX)
        self._line = bytearray(FRAME_MAX)

    def _sealed(self, gateway: int, writer: Writer) -> bytes:
        n = self.session.downlink_n()
        if n is None:
            return b""
        length = self.sealer.downlink(self._line, self.node, gateway, n, self.session.boot, self._plain, writer.pos)
        return encode(self._line[:length])

    def acks(self, gateway: int, seqs: list[int]) -> bytes:
        """Ack frames, as they go on the line, that name exactly these seqs; fewer while numbers run out."""
        ranges = ranges_of(seqs)
        out: list[bytes] = []
        for at in range(0, len(ranges), RANGES_MAX):
            writer = Writer(self._plain)
            encode_ack(writer, ranges[at : at + RANGES_MAX])
            out.append(self._sealed(gateway, writer))
        return b"".join(out)

    def welcome(self, gateway: int, hello_n: int, unix_ms: int | None, held: RangeSet) -> bytes:
        """The answer to this hello; empty while numbers run out."""
        row = self.session.row
        if row is None:
            return b""
        writer = Writer(self._plain)
        ranges = tuple(short_of(held.within(row.oldest, row.newest)))
        encode_welcome(writer, Welcome(hello_n, unix_ms, WINDOW_MAX, ranges))
        return self._sealed(gateway, writer)

    def command(self, gateway: int, command: Command) -> bytes:
        """An order; empty while numbers run out."""
        writer = Writer(self._plain)
        encode_command(writer, command)
        return self._sealed(gateway, writer)


def short_of(held: list[Range]) -> list[Range]:
    """At most HELD_MAX ranges: the lowest, and the newest one, whose repeats would cost the most."""
    return held if len(held) <= HELD_MAX else [*held[: HELD_MAX - 1], held[-1]]
