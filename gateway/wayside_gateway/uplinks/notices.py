"""What is no measurement, as JSON objects: events, health, log lines, definitions, and records without any reading.

All have `id` (node:seq, as `bid` in SenML), and all but definitions have `time` (Unix seconds, null if unknown, then
with `boot` and `uptime_s`, or `clock_s` of a clock that was wrong), `quality` and `bound_s`.
"""

import json

from wayside_gateway.uplinks.sink import Item
from wayside_protocol.event import BOOT as BOOT_EVENT
from wayside_protocol.event import CAUSES, HEALTH_NAMES, LOSSES, LOST, NAMES
from wayside_protocol.quantity import BY_NUMBER
from wayside_protocol.record import Channels, Event, Health, Log, Samples

SEVERITIES = ("emergency", "alert", "critical", "error", "warning", "notice", "info", "debug")
"""Names of RFC 5424's severities 0 to 7."""


def form(item: Item) -> str:
    """The word for what this is; it ends the topic."""
    record = item.record
    if isinstance(record, Event):
        return "event"
    if isinstance(record, Health):
        return "health"
    if isinstance(record, Log):
        return "log"
    return "channels" if isinstance(record, Channels) else "missing"


def notice(item: Item) -> str:
    """The JSON object of this record."""
    record = item.record
    value: dict[str, object] = {"id": f"{item.node}:{item.seq}", "node": item.node}
    if not isinstance(record, Channels) and item.time is not None:
        value["time"] = None if item.time.unix_s is None else _plain(item.time.unix_s)
        if item.time.unix_s is None and isinstance(record.t, int):
            value["clock_s"] = record.t
        elif item.time.unix_s is None and not isinstance(record.t, int):
            value["boot"], value["uptime_s"] = record.t
        value["quality"], value["bound_s"] = item.time.quality, _plain(item.time.bound_s)
    if isinstance(record, Event):
        value |= {"event": NAMES.get(record.code, f"code_{record.code}"), "detail": _detail(record)}
    elif isinstance(record, Health):
        value["health"] = {HEALTH_NAMES.get(key, f"key_{key}"): part for key, part in record.values.items()}
    elif isinstance(record, Log):
        value |= {"level": SEVERITIES[record.level], "text": record.text}
    elif isinstance(record, Channels):
        value |= {"set": record.set_id, "channels": [_channel(*channel) for channel in record.channels]}
    elif isinstance(record, Samples):
        value |= {"set": record.set_id, "interval_s": record.interval_s, "n": record.n}
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _plain(value: float) -> float:
    """Whole seconds without a decimal point."""
    return int(value) if value == int(value) else value


def _detail(event: Event) -> list[int | str]:
    """The detail, with the numbers of causes and losses as their words."""
    detail = list(event.detail)
    for code, at, words in ((BOOT_EVENT, 1, CAUSES), (LOST, 2, LOSSES)):
        if event.code == code and len(detail) > at and isinstance(detail[at], int):
            detail[at] = words.get(int(detail[at]), detail[at])
    return detail


def _channel(number: int, place: int) -> dict[str, object]:
    quantity = BY_NUMBER.get(number)
    if quantity is None:
        return {"quantity": f"number_{number}", "place": place}
    return {"quantity": quantity.name, "unit": quantity.unit, "place": place}
