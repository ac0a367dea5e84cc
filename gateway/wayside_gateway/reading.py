"""From a stored record to readings: what every uplink, the command line and `decode` share.

A samples record holds coded columns and the number of the set that says what they are. The definition in force is the
channels record of that node and set with the greatest seq below the record's own.
"""

import re
from bisect import bisect_left
from collections.abc import Callable, Sequence

from wayside_gateway.fastcolumns import Column, decode, layout
from wayside_gateway.store import Store
from wayside_protocol.errors import ProtocolError
from wayside_protocol.limits import INTERVAL_MAX_S, SAMPLES_MAX
from wayside_protocol.quantity import BY_NUMBER, Quantity
from wayside_protocol.record import Channels, Event, Health, Log, Samples
from wayside_protocol.record import decode as decode_record

SETS_CACHED = 4096
"""Sets of nodes whose definitions are remembered: a thousand nodes with four each."""
NUMBERS_CACHED = 1024
"""Short CBOR integers remembered: intervals, sets and counts are few."""

Record = Samples | Event | Health | Channels | Log


class Definition:
    """What the columns of a set are. One object a content: a quick key of what is built from it."""

    __slots__ = ("channels", "layout", "quantities")

    def __init__(self, channels: tuple[tuple[int, int], ...]) -> None:
        self.channels = channels
        """(quantity number, place) of each column."""
        self.quantities = tuple(number for number, _ in channels)
        self.layout = layout(self.quantities)

    def quantity(self, column: int) -> Quantity:
        """What a column measures. Only where the columns decoded: then all quantities are known ones."""
        return BY_NUMBER[self.quantities[column]]


Find = Callable[[int, int], Sequence[tuple[int, bytes]]]
"""All channels records of (node, set): (seq, body), by seq."""


def find_in(store: Store) -> Find:
    """Definitions as the store has them."""

    def find(node: int, set_id: int) -> list[tuple[int, bytes]]:
        rows = store.read("SELECT seq, body FROM channels WHERE node = ? AND set_id = ? ORDER BY seq", (node, set_id))
        return [(seq, body) for seq, body in rows if isinstance(seq, int) and isinstance(body, bytes)]

    return find


class Definitions:
    """Definitions in force, remembered until `forget`."""

    def __init__(self, find: Find) -> None:
        self._find = find
        self._contents: dict[tuple[tuple[int, int], ...], Definition] = {}
        self._sets: dict[tuple[int, int], tuple[list[int], list[Definition]]] = {}

    def find(self, node: int, set_id: int, seq: int) -> Definition | None:
        """The definition in force at this seq; None while it has not come."""
        known = self._sets.get((node, set_id)) or self._load(node, set_id)
        at = bisect_left(known[0], seq)
        return known[1][at - 1] if at else None

    def forget(self, node: int) -> None:
        """A channels record of this node came in: ask again."""
        for key in [key for key in self._sets if key[0] == node]:
            del self._sets[key]

    def _load(self, node: int, set_id: int) -> tuple[list[int], list[Definition]]:
        seqs: list[int] = []
        definitions: list[Definition] = []
        for seq, body in self._find(node, set_id):
            try:
                record = decode_record(body)
            except ProtocolError:
                continue
            if isinstance(record, Channels) and record.set_id == set_id:
                seqs.append(seq)
                definitions.append(self._contents.setdefault(record.channels, Definition(record.channels)))
        if len(self._sets) >= SETS_CACHED:
            self._sets.clear()
            self._contents.clear()
        if seqs:
            self._sets[node, set_id] = (seqs, definitions)
        return seqs, definitions


_NUMBER = rb"([\x00-\x17]|\x18.|\x19..|\x1a....)"
_SAMPLES = re.compile(
    rb"\x86\x00(?:" + _NUMBER + rb"|\x82" + _NUMBER * 2 + rb")" + _NUMBER * 3 + rb"([\x40-\x57]|\x58.|\x59..)(.*)",
    re.DOTALL,
).fullmatch
_SHORTEST = {1: 0, 2: 24, 3: 0x100, 5: 0x10000}


def _number(item: bytes) -> int:
    """The value of a CBOR unsigned integer, or the length of a byte string by its head; -1 if not the shortest form."""
    if len(item) == 1:
        return item[0] & 0x1F
    value = int.from_bytes(item[1:], "big")
    return value if value >= _SHORTEST[len(item)] else -1


class _Numbers(dict[bytes, int]):
    """`_number`, remembered."""

    def __missing__(self, item: bytes) -> int:
        value = _number(item)
        if len(self) < NUMBERS_CACHED:
            self[item] = value
        return value


_numbers = _Numbers()


def _samples(body: bytes) -> Samples | None:
    """A samples record by one pattern; None for what that cannot tell for sure."""
    found = _SAMPLES(body)
    if found is None:
        return None
    unix, boot, uptime, interval, set_id, n, blob, columns = found.groups()
    if _numbers[blob] != len(columns):
        return None
    t: int | tuple[int, int]
    if unix is not None:
        t = least = _number(unix)
    else:
        t = boot_number, uptime_s = _number(boot), _number(uptime)
        least = min(boot_number, uptime_s)
    samples = Samples(t, _numbers[interval], _numbers[set_id], _numbers[n], columns)
    if (
        least < 0
        or samples.set_id < 0
        or not 0 < samples.interval_s <= INTERVAL_MAX_S
        or not 0 < samples.n <= SAMPLES_MAX
    ):
        return None
    return samples


def read_record(body: bytes) -> Record:
    """`wayside_protocol.record.decode`, with a quick way for samples. Raises ProtocolError."""
    if body[:2] == b"\x86\x00":
        samples = _samples(body)
        if samples is not None:
            return samples
    return decode_record(body)


def read_columns(samples: Samples, definition: Definition) -> list[Column]:
    """columns[c][i] is channel c's value at t + i * interval_s, in its quantity's steps, None where missing.

    Raises ColumnsError; its reason is `quantity_unknown` where a newer version of Wayside would know more.
    """
    return decode(samples.columns, definition.quantities, samples.n, definition.layout)


def shown(value: int, quantity: Quantity) -> str:
    """A value in its quantity's unit, with all its decimals."""
    return f"{value / 10**quantity.decimals:.{quantity.decimals}f}"
