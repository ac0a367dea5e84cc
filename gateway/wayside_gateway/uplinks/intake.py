"""A row of the log becomes an item that is ready to go (record, time, definition, columns), or the reason to wait."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from wayside_gateway.reading import Definitions, Record, find_in, read_record
from wayside_gateway.rows import Row
from wayside_gateway.store import Store
from wayside_gateway.timeline import SYNCED, SYNCED_BOUND_S, Time
from wayside_gateway.uplinks.sink import Item
from wayside_protocol.errors import ProtocolError
from wayside_protocol.record import Channels, Samples

TIME, CHANNELS, REFUSED, TOO_LARGE, UNDECODABLE = "time", "channels", "refused", "too_large", "undecodable"
"""Why a record is parked. UNDECODABLE is followed by a colon and the protocol's own reason."""
PACE_OFF_S = 0.1
"""Less than this over a record's samples goes into the bound: whole seconds are quicker to write, and shorter."""


class Times(Protocol):
    """When records were taken: what the uplinks need of `timeline`."""

    def plain(self, node: int, t: int, seq: int, received_ms: int) -> Time:
        """The time of a record that its node stamped itself: `synced` if nothing speaks against that."""

    def when(self, node: int, at: tuple[int, int]) -> Time | None:
        """The time of this moment, of quality `unknown` if it will never be known; None while it may still be."""


class Aside(NamedTuple):
    """A row that cannot go out now. `at` is the moment whose time is missing, else None."""

    id: int
    node: int
    reason: str
    at: tuple[int, int] | None = None


class Intake:
    """Rows to items. `learned` holds the nodes whose channels records came by since it was last cleared."""

    def __init__(self, store: Store, times: Times) -> None:
        self._definitions = Definitions(find_in(store))
        self._times = times
        self.learned: set[int] = set()

    def take(self, rows: Sequence[Row], settled: dict[int, Time] | None = None) -> tuple[list[Item], list[Aside]]:
        """What can go out, in order, and what has to wait. `settled`: times that were given before, by id."""
        items: list[Item] = []
        aside: list[Aside] = []
        for row in rows:
            try:
                found = self._item(row, settled)
            except ProtocolError as error:
                found = Aside(row.id, row.node, f"{UNDECODABLE}:{error.reason}")
            if isinstance(found, Item):
                items.append(found)
            else:
                aside.append(found)
        return items, aside

    def _item(self, row: Row, settled: dict[int, Time] | None) -> Item | Aside:
        number, node, seq, _, received_ms, body = row
        record = read_record(body)
        if isinstance(record, Channels):
            self._definitions.forget(node)
            self.learned.add(node)
            return Item(number, node, seq, record, None, None)
        t = record.t
        if isinstance(t, int):
            time: Time | None = (
                self._times.plain(node, t, seq, received_ms)
                if settled is None
                else settled.get(number, Time(t, SYNCED, SYNCED_BOUND_S))
            )
        else:
            time = (settled or {}).get(number) or self._when(node, t, record)
            if time is None:
                return Aside(number, node, TIME, t)
        if not isinstance(record, Samples):
            return Item(number, node, seq, record, time, None)
        definition = self._definitions.find(node, record.set_id, seq)
        if definition is None:
            return Aside(number, node, CHANNELS)
        return Item(number, node, seq, record, time, definition)

    def _when(self, node: int, t: tuple[int, int], record: Record) -> Time | None:
        """The time of a record that says uptime. Its samples are even in uptime, and that may run slow or fast."""
        time = self._times.when(node, t)
        if time is None or time.unix_s is None or not isinstance(record, Samples) or record.n == 1:
            return time
        span_s = (record.n - 1) * record.interval_s
        last = self._times.when(node, (t[0], t[1] + span_s))
        if last is None or last.unix_s is None:
            return None
        bound_s = max(time.bound_s, last.bound_s)
        off_s = last.unix_s - time.unix_s - span_s
        if abs(off_s) <= PACE_OFF_S:
            return time._replace(bound_s=round(bound_s + abs(off_s), 3))
        return time._replace(bound_s=bound_s, pace=1 + off_s / span_s)
