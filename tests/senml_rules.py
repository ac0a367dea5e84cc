"""SenML's rules, written from RFC 8428 alone to judge what the gateway sends: resolving (§4.6) and validity (§4, §12).

Units: the registry as RFC 8428 §12.1 filled it, RFC 8798 §2's primary units, and §3's secondary ones, which a pack may
use only if its version has feature 4 (RFC 9100 §4).
"""

import json
import math
import re
from decimal import Decimal

DEFAULT_VERSION = 10
SECONDARY_FEATURE = 1 << 4
KNOWN_FEATURES = 0b11010  # 1 and 3 make up version 10 (RFC 9100 §3), 4 is secondary units

PRIMARY_UNITS = """
    m kg g s A K cd mol Hz rad sr N Pa J W C V F Ohm S Wb T H Cel lm lx Bq Gy Sv kat m2 m3 l m/s m/s2 m3/s l/s W/m2
    cd/m2 bit bit/s lat lon pH dB dBW Bspl count / % %RH %EL EL 1/s 1/min beat/min beats S/m
    B VA VAs var vars J/m kg/m3 deg
"""
SECONDARY_UNITS = """
    ms min h MHz kW kVA kvar Ah Wh kWh varh kvarh kVAh Wh/km KiB GB Mbit/s B/s MB/s mV mA dBm ug/m3 mm/h m/h ppm
    /100 /1000 hPa mm cm km km/h
"""
BASE = {"bn", "bt", "bu", "bv", "bs", "bver"}
OWN = {"bid", "btq", "btb"}
FIELDS = {"n", "u", "v", "vs", "vb", "vd", "s", "t", "ut"}
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9\-:./_]*")


class NotSenml(AssertionError):
    """A rule is broken."""


class NotUnderstood(Exception):
    """A label that must be understood, and is not (§4.4)."""


def resolve(text: bytes | str, understood: frozenset[str] = frozenset()) -> list[dict[str, object]]:
    """The resolved records of a pack (§4.6), by time. Numbers are exact Decimals. Raises NotSenml, NotUnderstood."""
    pack = json.loads(text, parse_float=Decimal, parse_int=Decimal)
    if not isinstance(pack, list) or not pack:
        raise NotSenml("a pack is an array of at least one record (§4)")
    version = {record["bver"] for record in pack if "bver" in record} or {Decimal(DEFAULT_VERSION)}
    if len(version) != 1:
        raise NotSenml("one version for all records (§4.4)")
    features = int(version.pop())
    if features & ~KNOWN_FEATURES:
        raise NotUnderstood("version")
    base: dict[str, object] = {}
    out = []
    for record in pack:
        base |= {key: value for key, value in record.items() if key.startswith("b")}
        out.append(_resolved(record, base, bool(features & SECONDARY_FEATURE), understood))
    return sorted(out, key=lambda record: record.get("t", Decimal(0)))  # type: ignore[arg-type,return-value]


def _resolved(
    record: dict[str, object], base: dict[str, object], secondary: bool, understood: frozenset[str]
) -> dict[str, object]:
    for key in record:
        if key.endswith("_") and key not in understood:
            raise NotUnderstood(key)
        if key not in BASE | OWN | FIELDS | understood:
            raise NotSenml(f"label {key}")
    if sum(key in record for key in ("v", "vs", "vb", "vd")) != 1:
        raise NotSenml("exactly one value (§4.2)")
    name = str(base.get("bn", "")) + str(record.get("n", ""))
    if not NAME.fullmatch(name):
        raise NotSenml(f"name {name!r} (§4.5.1)")
    unit = record.get("u", base.get("bu"))
    if unit not in PRIMARY_UNITS.split() and not (secondary and unit in SECONDARY_UNITS.split()):
        raise NotSenml(f"unit {unit!r} is in no registry that the version allows (§4.5.2, RFC 9100 §4)")
    own = {key: base[key] for key in OWN if key in base}
    out: dict[str, object] = {"n": name, "u": unit, "v": _number(record["v"]) + _number(base.get("bv", 0)), **own}
    out |= {key: record[key] for key in record if key in understood}
    if "bt" in base or "t" in record:
        time = _number(base.get("bt", 0)) + _number(record.get("t", 0))
        if time < 1 << 28:
            raise NotSenml("a time below 2**28 is relative to now (§4.5.3)")
        out["t"] = time
    return out


def _number(value: object) -> Decimal:
    if isinstance(value, int):
        return Decimal(value)
    if not isinstance(value, Decimal) or not math.isfinite(value):
        raise NotSenml(f"{value!r} is no number")
    return value
