"""Records for the uplinks' tests: real street data in real bodies, put into a real store."""

import csv
import json
from array import array
from pathlib import Path
from random import Random

from senml_rules import resolve
from wayside_gateway.rows import Batch, DefinitionRow
from wayside_gateway.store import Store
from wayside_protocol import columns
from wayside_protocol.cbor import Writer
from wayside_protocol.quantity import BY_NUMBER
from wayside_protocol.record import CHANNELS, EVENT, SAMPLES, encode_channels, encode_event, encode_samples

QUANTITIES = (1, 2, 3, 4, 5, 6)
CHANNEL_LIST = tuple((number, 0) for number in QUANTITIES)
START_S = 1_770_000_000
INTERVAL_S = 60
N = 12
DATA = Path(__file__).parent / "data" / "street_1min.csv"


def street(limit: int = 2400) -> list[list[int]]:
    """Rows of recorded street data, in steps."""
    with DATA.open() as file:
        rows = list(csv.reader(file))[1 : limit + 1]
    decimals = [BY_NUMBER[number].decimals for number in QUANTITIES]
    return [[round(float(x) * 10**d) for x, d in zip(row[1:], decimals, strict=True)] for row in rows if all(row)]


def samples_body(
    t: int | tuple[int, int], rows: list[list[int]], set_id: int = 1, interval_s: int = INTERVAL_S
) -> bytes:
    out = bytearray(4096)
    flat = array("i", [value for row in rows for value in row])
    end = columns.encode(out, 0, QUANTITIES[: len(rows[0])], flat, len(rows))
    writer = Writer(bytearray(5000))
    encode_samples(writer, t, interval_s, set_id, len(rows), bytes(out[:end]), end)
    return writer.done()


def channels_body(set_id: int = 1, channels: tuple[tuple[int, int], ...] = CHANNEL_LIST) -> bytes:
    writer = Writer(bytearray(200))
    encode_channels(writer, set_id, channels)
    return writer.done()


def event_body(
    t: int | tuple[int, int], code: int = 2, detail: tuple[int | str, ...] = ("bme280", "timeout", 1, 0)
) -> bytes:
    writer = Writer(bytearray(400))
    encode_event(writer, t, code, detail)
    return writer.done()


def add_channels(store: Store, node: int, seq: int = 1, body: bytes | None = None, set_id: int = 1) -> None:
    body = body or channels_body(set_id)
    store.commit(
        Batch(records=[(node, seq, CHANNELS, now_of(0), body)], definitions=[DefinitionRow(node, set_id, seq, body)])
    )


def add_samples(store: Store, node: int, first_seq: int, count: int, rng: Random | None = None) -> None:
    """`count` samples records of 12 x 6 in a row, one of which may be an event."""
    rows = street()
    batch = Batch()
    for i in range(count):
        t = START_S + (first_seq + i) * N * INTERVAL_S
        at = (first_seq + i) * N % (len(rows) - N)
        if rng is not None and rng.random() < 0.05:
            batch.records.append((node, first_seq + i, EVENT, now_of(t), event_body(t)))
        else:
            batch.records.append((node, first_seq + i, SAMPLES, now_of(t), samples_body(t, rows[at : at + N])))
    store.commit(batch)


def now_of(t: int) -> int:
    """Arrival of a record of this time, in Unix ms."""
    return (t + N * INTERVAL_S + 30) * 1000 if t else 0


def ids_of(topic: str, payload: bytes) -> list[str]:
    """The identity (node:seq) of every record in a message, once for each record."""
    form = topic.rsplit("/", 1)[1]
    if form in ("senml", "untimed"):
        records = resolve(payload, frozenset({"boot_", "uptime_", "clock_"}))
        seen = dict.fromkeys(str(record["bid"]) for record in records)
        return list(seen)
    return [str(notice["id"]) for notice in json.loads(payload)]


def put(store: Store, node: int, seq: int, kind: int, body: bytes) -> None:
    """One record of any body."""
    store.commit(Batch(records=[(node, seq, kind, 0, body)]))


def samples(t: int | tuple[int, int] = START_S, set_id: int = 1) -> bytes:
    """A body of twelve samples."""
    return samples_body(t, street(12), set_id)
