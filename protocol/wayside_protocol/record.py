"""What a record says: samples, events, health, channels, log lines (SPEC §4).

Encoders write into a `cbor.Writer` of the caller's; `decode` turns an opened record into a value.
A record's time t is Unix seconds, or a pair (boot, uptime in seconds) where the node's clock was not
good to 2 s when it was taken.
"""

from wayside_protocol.cbor import Writer, loads
from wayside_protocol.errors import MessageError, UsageError
from wayside_protocol.limits import CHANNELS_MAX, INTERVAL_MAX_S, SAMPLES_MAX, TEXT_MAX, U32_MAX

SAMPLES = 0
EVENT = 1
HEALTH = 2
CHANNELS = 3
LOG = 4

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NamedTuple

    Time = int | tuple[int, int]

    class Samples(NamedTuple):
        """n samples of a set's channels; sample i was taken at t + i * interval_s."""

        t: Time
        interval_s: int
        set_id: int
        n: int
        columns: bytes

    class Event(NamedTuple):
        """Something happened: a code of `event`, and its detail, each item an integer or text."""

        t: Time
        code: int
        detail: tuple[int | str, ...]

    class Health(NamedTuple):
        """How the node is: keys of `event`'s health table."""

        t: Time
        values: dict[int, int | str]

    class Channels(NamedTuple):
        """What the columns of a set are, in order: (quantity, place)."""

        set_id: int
        channels: tuple[tuple[int, int], ...]

    class Log(NamedTuple):
        """A line of the node's log; level as syslog's severity (RFC 5424): 3 error … 7 debug."""

        t: Time
        level: int
        text: str

else:
    from collections import namedtuple

    Samples = namedtuple("Samples", ("t", "interval_s", "set_id", "n", "columns"))
    Event = namedtuple("Event", ("t", "code", "detail"))
    Health = namedtuple("Health", ("t", "values"))
    Channels = namedtuple("Channels", ("set_id", "channels"))
    Log = namedtuple("Log", ("t", "level", "text"))


def _write_time(w: Writer, t: "Time") -> None:
    if isinstance(t, int):
        w.integer(t)
    else:
        w.array(2)
        w.integer(t[0])
        w.integer(t[1])


def encode_samples(
    w: Writer, t: "Time", interval_s: int, set_id: int, n: int, columns: "bytes | bytearray", length: int
) -> None:
    """The first `length` bytes of columns are the coded readings."""
    w.array(6)
    w.integer(SAMPLES)
    _write_time(w, t)
    w.integer(interval_s)
    w.integer(set_id)
    w.integer(n)
    w.blob(columns, length)


def _cut(part: "int | str") -> "int | str":
    """Text cut to TEXT_MAX bytes, at a character: a reader refuses longer one."""
    if isinstance(part, str):
        while len(part.encode()) > TEXT_MAX:
            part = part[: len(part) * 7 // 8]
    return part


def encode_event(w: Writer, t: "Time", code: int, detail: "Sequence[int | str]") -> None:
    """Text beyond TEXT_MAX bytes is cut, here and in health."""
    w.array(4)
    w.integer(EVENT)
    _write_time(w, t)
    w.integer(code)
    w.array(len(detail))
    for part in detail:
        w.value(_cut(part))


def encode_health(w: Writer, t: "Time", values: "dict[int, int | str]") -> None:
    w.array(3)
    w.integer(HEALTH)
    _write_time(w, t)
    w.map(len(values))
    for key in sorted(values):
        w.integer(key)
        w.value(_cut(values[key]))


def encode_channels(w: Writer, set_id: int, channels: "Sequence[tuple[int, int]]") -> None:
    if not 0 < len(channels) <= CHANNELS_MAX:
        raise UsageError("channels_count")
    w.array(3)
    w.integer(CHANNELS)
    w.integer(set_id)
    w.value(channels)


def encode_log(w: Writer, t: "Time", level: int, text: str) -> None:
    """A line beyond TEXT_MAX bytes is cut."""
    w.array(4)
    w.integer(LOG)
    _write_time(w, t)
    w.integer(level)
    w.value(_cut(text))


def _uint(value: object, limit: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= limit:
        raise MessageError("record_form")
    return value


def _time(value: object) -> "Time":
    if isinstance(value, list):
        if len(value) != 2:
            raise MessageError("record_form")
        return _uint(value[0], U32_MAX), _uint(value[1], U32_MAX)
    return _uint(value, U32_MAX)


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value.encode()) > TEXT_MAX:
        raise MessageError("record_form")
    return value


def _scalar(value: object) -> "int | str":
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    return _text(value)


def _samples(item: "list[object]") -> Samples:
    t, interval, set_id, n, columns = item
    if not isinstance(columns, bytes):
        raise MessageError("record_form")
    interval = _uint(interval, INTERVAL_MAX_S)
    n = _uint(n, SAMPLES_MAX)
    if not interval or not n:
        raise MessageError("record_form")
    return Samples(_time(t), interval, _uint(set_id, U32_MAX), n, columns)


def _event(item: "list[object]") -> Event:
    t, code, detail = item
    if not isinstance(detail, list):
        raise MessageError("record_form")
    return Event(_time(t), _uint(code, 0xFFFF), tuple(_scalar(part) for part in detail))


def _health(item: "list[object]") -> Health:
    t, values = item
    if not isinstance(values, dict):
        raise MessageError("record_form")
    return Health(_time(t), {_uint(key, 0xFFFF): _scalar(value) for key, value in values.items()})


def _channels(item: "list[object]") -> Channels:
    set_id, channels = item
    if not isinstance(channels, list) or not 0 < len(channels) <= CHANNELS_MAX:
        raise MessageError("record_form")
    out = []
    for channel in channels:
        if not isinstance(channel, list) or len(channel) != 2:
            raise MessageError("record_form")
        out.append((_uint(channel[0], 0xFFFF), _uint(channel[1], 0xFF)))
    return Channels(_uint(set_id, U32_MAX), tuple(out))


def _log(item: "list[object]") -> Log:
    t, level, text = item
    return Log(_time(t), _uint(level, 7), _text(text))


_LENGTHS = (6, 4, 3, 3, 4)  # items of a record of each kind


def decode(plain: bytes) -> "Samples | Event | Health | Channels | Log":
    """The record that an opened frame carries. Raises CborError or MessageError; columns stay coded."""
    item = loads(plain)
    if not isinstance(item, list) or not item:
        raise MessageError("record_form")
    kind = item[0]
    if not isinstance(kind, int) or isinstance(kind, bool) or not 0 <= kind <= LOG:
        raise MessageError("record_kind")
    if len(item) != _LENGTHS[kind]:
        raise MessageError("record_form")
    parts = item[1:]
    if kind == SAMPLES:
        return _samples(parts)
    if kind == EVENT:
        return _event(parts)
    if kind == HEALTH:
        return _health(parts)
    return _channels(parts) if kind == CHANNELS else _log(parts)
