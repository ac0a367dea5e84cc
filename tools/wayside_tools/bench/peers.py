"""The same batches in the formats that others send, each by its own library where one exists.

Each takes a batch and gives the bytes that carry its readings, in the tightest form that the format's own
rules allow without loss of who, what and when. SenML, JSON and Sparkplug B are counted in clear: what secures
them comes on top. BTHome is counted in its own encrypted form, flags and header included, as it goes on the air.
"""

import json
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESCCM

from wayside_protocol.columns import MISSING
from wayside_protocol.quantity import COUNT, Quantity
from wayside_tools.bench.series import Batch

NODE = 1001
BASE_NAME = f"wayside:{NODE}:"
Encoder = Callable[[Batch, Sequence[Quantity]], bytes]

# Labels of SenML CBOR (RFC 8428, table 4).
_CBOR_LABELS = {"bn": -2, "bt": -3, "bu": -4, "n": 0, "u": 1, "v": 2, "t": 6}


def _number(value: int, quantity: Quantity) -> int | float:
    return value if quantity.decimals == 0 else value / 10**quantity.decimals


def senml_pack(batch: Batch, quantities: Sequence[Quantity]) -> list[dict[str, Any]]:
    """One record a reading; base name, time and unit once a channel (RFC 8428 §4.1), so that little repeats."""
    pack: list[dict[str, Any]] = []
    for c, quantity in enumerate(quantities):
        first = True
        for time, row in zip(batch.times, batch.rows, strict=True):
            if row[c] == MISSING:
                continue
            entry: dict[str, Any] = {"v": _number(row[c], quantity)}
            if first:
                entry = {"bn": BASE_NAME + quantity.name, "bt": batch.t, "bu": quantity.unit} | entry
                first = False
            if time != batch.t:
                entry["t"] = time - batch.t
            pack.append(entry)
    return pack


def senml_json(batch: Batch, quantities: Sequence[Quantity]) -> bytes:
    return _json(senml_pack(batch, quantities))


def senml_cbor(batch: Batch, quantities: Sequence[Quantity]) -> bytes:
    import cbor2

    pack = [{_CBOR_LABELS[key]: value for key, value in entry.items()} for entry in senml_pack(batch, quantities)]
    return cbor2.dumps(pack, canonical=True)


def plain_json(batch: Batch, quantities: Sequence[Quantity]) -> bytes:
    """What people write by hand: an object a sample, a key a channel."""
    samples = []
    for time, row in zip(batch.times, batch.rows, strict=True):
        values = zip(quantities, row, strict=True)
        samples.append({"time": time} | {q.name: _number(v, q) for q, v in values if v != MISSING})
    return _json({"node": NODE, "samples": samples})


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def sparkplug_b(batch: Batch, quantities: Sequence[Quantity]) -> bytes:
    """An NDATA payload: aliases instead of names and no data types, as a birth message allows (Sparkplug 3.0 §6.4)."""
    import pysparkplug

    metrics = []
    for time, row in zip(batch.times, batch.rows, strict=True):
        for alias, (quantity, value) in enumerate(zip(quantities, row, strict=True), 1):
            if value == MISSING:
                continue
            datatype = pysparkplug.DataType.UINT32 if quantity.kind == COUNT else pysparkplug.DataType.FLOAT
            metrics.append(pysparkplug.Metric(time * 1000, None, datatype, value=_number(value, quantity), alias=alias))
    return pysparkplug.NData(timestamp=batch.times[-1] * 1000, seq=1, metrics=metrics).encode()


# Object id, bytes, and by what a value in our steps is multiplied and divided for theirs (bthome.io/format).
# PM2.5 goes in whole µg/m³: there is no finer object.
_BTHOME = {
    "temperature": (0x02, 2, 1, 1),
    "humidity": (0x03, 2, 10, 1),
    "pressure": (0x04, 3, 10, 1),
    "pm2_5": (0x0D, 2, 1, 10),
    "walkers_in": (0x09, 1, 1, 1),
    "walkers_out": (0x09, 1, 1, 1),
}
BTHOME_KEY = bytes(range(16))
BTHOME_MAC = bytes.fromhex("5448e68f80a5")
_BTHOME_UUID = bytes.fromhex("d2fc")
_BTHOME_DEVICE = b"\x41"  # version 2, encrypted
_BTHOME_FLAGS = bytes.fromhex("020106")


def bthome_service_data(row: Sequence[int], quantities: Sequence[Quantity], counter: int) -> bytes:
    """One sample as encrypted BTHome v2 service data (bthome.io/encryption). It carries no time."""
    objects = []
    for quantity, value in zip(quantities, row, strict=True):
        if value == MISSING:
            continue
        number, size, times, over = _BTHOME[quantity.name]
        theirs = round(value * times / over)
        if quantity.kind == COUNT and theirs > 0xFF:
            number, size = 0x3D, 2
        signed = quantity.name == "temperature"
        high = (1 << 8 * size - signed) - 1
        theirs = min(max(theirs, ~high if signed else 0), high)  # what the object cannot carry takes no more bytes
        objects.append(bytes([number]) + theirs.to_bytes(size, "little", signed=signed))
    counter_bytes = counter.to_bytes(4, "little")
    nonce = BTHOME_MAC + _BTHOME_UUID + _BTHOME_DEVICE + counter_bytes
    sealed = AESCCM(BTHOME_KEY, tag_length=4).encrypt(nonce, b"".join(sorted(objects)), None)
    return _BTHOME_DEVICE + sealed[:-4] + counter_bytes + sealed[-4:]


def bthome(batch: Batch, quantities: Sequence[Quantity]) -> bytes:
    """An advertisement a sample: a reading an object, nothing shared between samples."""
    out = []
    for i, row in enumerate(batch.rows):
        data = bthome_service_data(row, quantities, batch.t + i)
        out.append(_BTHOME_FLAGS + bytes([len(data) + 3, 0x16]) + _BTHOME_UUID + data)
    return b"".join(out)


# Name, encoder, and the module that it needs.
PEERS: tuple[tuple[str, Encoder, str], ...] = (
    ("senml_cbor", senml_cbor, "cbor2"),
    ("senml_json", senml_json, "json"),
    ("json", plain_json, "json"),
    ("sparkplug_b", sparkplug_b, "pysparkplug"),
    ("bthome", bthome, "cryptography"),
)


def peer_sizes(batches: Sequence[Batch], quantities: Sequence[Quantity], readings: int) -> dict[str, float | None]:
    """Bytes a reading of each; None where its library is not installed or it has no such quantity."""
    sizes: dict[str, float | None] = {}
    for name, encode, module in PEERS:
        known = name != "bthome" or all(quantity.name in _BTHOME for quantity in quantities)
        if not known or find_spec(module) is None:
            sizes[name] = None
            continue
        sizes[name] = round(sum(len(encode(batch, quantities)) for batch in batches) / readings, 3)
    return sizes
