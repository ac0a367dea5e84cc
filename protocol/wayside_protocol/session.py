"""The messages of a session: what nodes and gateways say beside records (SPEC §6).

    node → gateway   hello  = [0, version, uptime_ms, clock, oldest, newest, evicted, set, firmware, board, config]
                     answer = [1, id, status, result]
    gateway → node   welcome = [0, hello_n, unix_ms / null, window, ranges]
                     ack     = [1, ranges]
                     command = [2, id, name, argument]

`clock` is null or [unix_ms, bound_ms]; `ranges` are first and last numbers in turn, inclusive, ascending,
not touching. oldest..newest are the records on the node's flash; newest = oldest - 1 when there are none.
"""

from wayside_protocol.cbor import Writer, loads
from wayside_protocol.errors import MessageError, UsageError
from wayside_protocol.limits import HELD_MAX, RANGES_MAX, TEXT_MAX, U32_MAX, WINDOW_MAX

HELLO = 0
ANSWER = 1
WELCOME = 0
ACK = 1
COMMAND = 2

# Commands by number. Each is applied once; the node remembers the last id.
IDENTIFY = 1  # blink for the argument's seconds
REPORT = 2  # close the open batch and send it now
PAUSE = 3  # stop sampling until RESUME or a reboot, after closing the batch
RESUME = 4
REBOOT = 5
COMMANDS = {IDENTIFY: "identify", REPORT: "report", PAUSE: "pause", RESUME: "resume", REBOOT: "reboot"}

DONE, REFUSED, UNKNOWN = 0, 1, 2  # status of an answer

TIME_MAX_MS = 1 << 42  # Unix milliseconds to the year 2109, as 32-bit seconds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NamedTuple

    Range = tuple[int, int]

    class Hello(NamedTuple):
        """Opens a session, and again from time to time: who I am, my clocks, what I hold."""

        version: int
        uptime_ms: int
        clock: tuple[int, int] | None
        oldest: int
        newest: int
        evicted: int
        set_id: int
        firmware: str
        board: str
        config: int

    class Answer(NamedTuple):
        """What became of a command: a status, and a result for people."""

        id: int
        status: int
        result: str

    class Welcome(NamedTuple):
        """Answers the hello of that number; unix_ms is None where the gateway does not trust its clock."""

        hello_n: int
        unix_ms: int | None
        window: int
        held: tuple[Range, ...]

    class Ack(NamedTuple):
        """Records that are on the gateway's disk."""

        ranges: tuple[Range, ...]

    class Command(NamedTuple):
        """An order, by number, with one integer."""

        id: int
        name: int
        argument: int

else:
    from collections import namedtuple

    Hello = namedtuple(
        "Hello",
        ("version", "uptime_ms", "clock", "oldest", "newest", "evicted", "set_id", "firmware", "board", "config"),
    )
    Answer = namedtuple("Answer", ("id", "status", "result"))
    Welcome = namedtuple("Welcome", ("hello_n", "unix_ms", "window", "held"))
    Ack = namedtuple("Ack", ("ranges",))
    Command = namedtuple("Command", ("id", "name", "argument"))


def encode_hello(w: Writer, hello: Hello) -> None:
    w.array(11)
    w.integer(HELLO)
    for value in hello:
        w.value(value)


def encode_answer(w: Writer, answer: Answer) -> None:
    w.value((ANSWER, answer.id, answer.status, answer.result))


def _write_ranges(w: Writer, ranges: "Sequence[Range]", limit: int) -> None:
    if len(ranges) > limit:
        raise UsageError("ranges_count")
    w.array(2 * len(ranges))
    for first, last in ranges:
        w.integer(first)
        w.integer(last)


def encode_welcome(w: Writer, welcome: Welcome) -> None:
    w.array(5)
    w.integer(WELCOME)
    w.integer(welcome.hello_n)
    w.value(welcome.unix_ms)
    w.integer(welcome.window)
    _write_ranges(w, welcome.held, HELD_MAX)


def encode_ack(w: Writer, ranges: "Sequence[Range]") -> None:
    w.array(2)
    w.integer(ACK)
    _write_ranges(w, ranges, RANGES_MAX)


def encode_command(w: Writer, command: Command) -> None:
    w.value((COMMAND, command.id, command.name, command.argument))


def _uint(value: object, limit: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= limit:
        raise MessageError("session_form")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value.encode()) > TEXT_MAX:
        raise MessageError("session_form")
    return value


def _ranges(value: object, limit: int) -> "tuple[Range, ...]":
    if not isinstance(value, list) or len(value) > 2 * limit or len(value) & 1:
        raise MessageError("session_form")
    out = []
    low = 0
    for i in range(0, len(value), 2):
        first = _uint(value[i], U32_MAX)
        last = _uint(value[i + 1], U32_MAX)
        if first > last or first < low:
            raise MessageError("session_ranges")
        out.append((first, last))
        low = last + 2  # ranges that touch would be one
    return tuple(out)


def _clock(value: object) -> "tuple[int, int] | None":
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != 2:
        raise MessageError("session_form")
    return _uint(value[0], TIME_MAX_MS), _uint(value[1], U32_MAX)


def _message(plain: bytes) -> "tuple[int, list[object]]":
    item = loads(plain)
    if not isinstance(item, list) or not item:
        raise MessageError("session_form")
    return _uint(item[0], 0xFF), item[1:]


def _hello(parts: "list[object]") -> Hello:
    if len(parts) != 10:
        raise MessageError("session_form")
    version, uptime, clock, oldest, newest, evicted, set_id, firmware, board, config = parts
    oldest = _uint(oldest, U32_MAX)
    newest = _uint(newest, U32_MAX)
    if newest + 1 < oldest:
        raise MessageError("session_form")
    return Hello(
        _uint(version, 0xFF),
        _uint(uptime, TIME_MAX_MS),
        _clock(clock),
        oldest,
        newest,
        _uint(evicted, U32_MAX),
        _uint(set_id, U32_MAX),
        _text(firmware),
        _text(board),
        _uint(config, U32_MAX),
    )


def decode_uplink(plain: bytes) -> "Hello | Answer":
    """A session message of a node. Raises CborError or MessageError."""
    kind, parts = _message(plain)
    if kind == HELLO:
        return _hello(parts)
    if kind != ANSWER:
        raise MessageError("session_kind")
    if len(parts) != 3:
        raise MessageError("session_form")
    return Answer(_uint(parts[0], U32_MAX), _uint(parts[1], 0xFF), _text(parts[2]))


def decode_downlink(plain: bytes) -> "Welcome | Ack | Command":
    """A message of a gateway. Raises CborError or MessageError."""
    kind, parts = _message(plain)
    if kind == WELCOME and len(parts) == 4:
        unix_ms = None if parts[1] is None else _uint(parts[1], TIME_MAX_MS)
        window = _uint(parts[2], WINDOW_MAX)
        return Welcome(_uint(parts[0], U32_MAX), unix_ms, window, _ranges(parts[3], HELD_MAX))
    if kind == ACK and len(parts) == 1:
        return Ack(_ranges(parts[0], RANGES_MAX))
    if kind == COMMAND and len(parts) == 3:
        return Command(_uint(parts[0], U32_MAX), _uint(parts[1], 0xFFFF), _uint(parts[2], U32_MAX))
    raise MessageError("session_kind" if kind > COMMAND else "session_form")
