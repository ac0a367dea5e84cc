"""What arrived: every reading with its identity, time and quality, from the store or from the broker."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from wayside_gateway.clock import GatewayClock
from wayside_gateway.store import Store
from wayside_gateway.timeline import Timeline
from wayside_protocol import columns, record
from wayside_protocol.quantity import BY_NAME, BY_NUMBER

BLOCK = 1000
_NAME = re.compile(r":(\d+):([a-z0-9_]+)")


class Reading(NamedTuple):
    """One reading that arrived. `steps` is its value in the quantity's steps; `unix_s` None: the time is unknown."""

    node: int
    seq: int
    place: int
    """Which sample of its record."""
    quantity: str
    steps: int
    unix_s: float | None
    quality: str
    bound_s: float


class Stored:
    """Readings from the gateway's store, decoded by the protocol's own reference decoder. Reads only what is new."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._last_id = 0
        self._undated: list[tuple[int, int, int, record.Samples]] = []
        self.readings: list[Reading] = []
        self.records = 0

    def update(self) -> None:
        """Take what came since. What has no time yet is looked at again next time."""
        timeline = Timeline(self._store, GatewayClock(require_ntp=False))
        waiting, self._undated = self._undated, []
        for node, seq, received_ms, samples in [*waiting, *self._new()]:
            time = timeline.resolve(node, samples.t, seq, received_ms)
            body = self._store.definition(node, samples.set_id, seq)
            if time is None or body is None:
                self._undated.append((node, seq, received_ms, samples))
                continue
            channels = record.decode(body)
            assert isinstance(channels, record.Channels)
            numbers = [number for number, _ in channels.channels]
            decoded = columns.decode(samples.columns, numbers, samples.n)
            for number, column in zip(numbers, decoded, strict=True):
                for i, steps in enumerate(column):
                    if steps is not None:
                        at = None if time.unix_s is None else time.unix_s + i * samples.interval_s
                        name = BY_NUMBER[number].name
                        self.readings.append(Reading(node, seq, i, name, steps, at, time.quality, time.bound_s))

    def _new(self) -> Iterator[tuple[int, int, int, record.Samples]]:
        while rows := self._store.after(self._last_id, BLOCK):
            self._last_id = rows[-1].id
            self.records += len(rows)
            for row in rows:
                if row.kind == record.SAMPLES:
                    samples = record.decode(row.body)
                    assert isinstance(samples, record.Samples)
                    yield row.node, row.seq, row.received_ms, samples


def resolved(payload: bytes) -> Iterator[Reading]:
    """The readings of a SenML pack (RFC 8428 §4.6), ours by its names and ids. Raises ValueError."""
    base: dict[str, Any] = {}
    index = 0
    for entry in json.loads(payload):
        if "bn" in entry:
            base = {key: value for key, value in entry.items() if key.startswith("b")}
            index = 0
        named = _NAME.search(base["bn"])
        if named is None or not base["bid"].startswith(named[1] + ":"):
            raise ValueError(f"the id {base['bid']} is not of {base['bn']}")
        quantity = BY_NAME[named[2]]
        if base["bu"] != quantity.unit:
            raise ValueError(f"{base['bn']} comes in {base['bu']}, not in {quantity.unit}")
        at = base["bt"] + entry.get("t", 0) if "bt" in base else None
        quality, bound_s = base.get("btq", "unknown"), base.get("btb", 0.0)
        steps = round(entry["v"] * 10**quantity.decimals)
        yield Reading(int(named[1]), int(base["bid"].split(":")[1]), index, quantity.name, steps, at, quality, bound_s)
        index += 1


def published(payloads: Iterable[tuple[str, bytes]]) -> list[Reading]:
    """The readings of all SenML payloads, repeats included."""
    return [
        reading
        for topic, payload in payloads
        if topic.endswith(("/senml", "/untimed"))
        for reading in resolved(payload)
    ]


def by_node(readings: Iterable[Reading]) -> Mapping[int, list[Reading]]:
    """In order of arrival, apart by node."""
    out: dict[int, list[Reading]] = {}
    for reading in readings:
        out.setdefault(reading.node, []).append(reading)
    return out
