"""Samples as SenML JSON (RFC 8428), as text: no I/O, and quick, because every reading that goes upstream passes here.

Each column of a record is one run of SenML records, whose first states all base fields anew:

    {"bn":"wayside:1001:temperature","bt":1700000000,"bu":"Cel","bid":"1001:70000","btq":"synced","btb":2,"v":24.8},
    {"t":60,"v":24.88}, …

`bid` (node:seq), `btq` (quality of the time) and `btb` (its bound in seconds) are base fields of our own; receivers
that do not know them ignore them (RFC 8428 §4.4). Name, `bid` and time identify a reading for ever. A missing reading
has no record. Where no time is known there is no `bt` and no `t`, which §4.5.3 would have readers take for "now":
`boot_` and `uptime_`, or `clock_` for what a wrong clock showed, end in an underscore, so whoever does not know them
must refuse the pack (§4.4).

Units are RFC 8428's and RFC 8798's. A pack with one of RFC 8798's secondary units says so by version 26 (RFC 9100 §4);
with `secondary=False` such values are written in the primary unit instead, exactly, and the version stays 10.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from wayside_gateway.fastcolumns import Column
from wayside_gateway.reading import Definition
from wayside_protocol.quantity import Quantity

TEMPLATES_CACHED = 4096
"""Templates remembered, one for each node, set, interval, batch size and quality: a thousand nodes with four each."""
TEXTS_CACHED = 1 << 13
"""Numbers remembered as text, for each number of decimals."""

VERSION_SECONDARY = 26
"""10 + 2**4: the version of a pack that uses the feature "secondary units" (RFC 9100 §2, §4)."""
TIME_MIN_S = 1 << 28
"""Lesser times are relative to now (RFC 8428 §4.5.3), so they cannot be said."""

PRIMARY = {
    "hPa": ("Pa", 2),
    "ug/m3": ("kg/m3", -9),
    "ppm": ("/", -6),
    "mV": ("V", -3),
    "mm": ("m", -3),
    "mA": ("A", -3),
}
"""Secondary units that quantities use: the primary unit and the power of ten to it (RFC 8798 §3)."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9\-:./_]*")
_EXPONENT_BEYOND = -6
"""Numbers with more decimals are written with an exponent, as 54e-10."""


class _Missing(Exception):
    """A column has a missing reading."""


class _Texts(dict[int | None, str]):
    """A value in steps of 10**exponent as the shortest exact JSON number."""

    def __init__(self, exponent: int) -> None:
        self.exponent = exponent

    def __missing__(self, value: int | None) -> str:
        if value is None:
            raise _Missing
        text = number(value, self.exponent)
        if len(self) < TEXTS_CACHED:
            self[value] = text
        return text


def number(value: int, exponent: int) -> str:
    """value * 10**exponent as an exact JSON number."""
    if exponent >= 0:
        return str(value * 10**exponent)
    if not value:
        return "0"
    if exponent < _EXPONENT_BEYOND:
        return f"{value}e{exponent}"
    whole, part = divmod(abs(value), 10**-exponent)
    sign = "-" if value < 0 else ""
    return f"{sign}{whole}.{part:0{-exponent}d}".rstrip("0").rstrip(".")


def seconds(value: float) -> str:
    """Seconds to the millisecond as a JSON number."""
    if isinstance(value, int):
        return str(value)
    return "2" if value == 2.0 else f"{value:.3f}".rstrip("0").rstrip(".")


def valid_name(name: str) -> bool:
    """May this be a SenML name, or the start of one (RFC 8428 §4.5.1)?"""
    return _NAME.fullmatch(name) is not None


class _Channel(NamedTuple):
    name: str
    unit: str
    texts: _Texts


class _Template:
    """The text of a record with all its readings there; the even parts are fixed, the odd ones are filled in."""

    def __init__(self, channels: Sequence[_Channel], interval_s: int, n: int, quality: str) -> None:
        self.channels = channels
        self.texts = [channel.texts.__getitem__ for channel in channels]
        rest = "".join(f'}},{{"t":{i * interval_s},"v":\n' for i in range(1, n))
        columns = (
            f'{{"bn":"{c.name}","bt":\n,"bu":"{c.unit}","bid":"\n","btq":"{quality}","btb":\n,"v":\n{rest}}}'
            for c in channels
        )
        fixed = ",".join(columns).split("\n")
        self.parts = [""] * (2 * len(fixed) - 1)
        self.parts[0::2] = fixed

    def fill(self, start: str, identity: str, bound: str, columns: Sequence[Column]) -> str:
        head = (start, identity, bound)
        values: list[str] = []
        for text, column in zip(self.texts, columns, strict=True):
            values += head
            values += map(text, column)
        self.parts[1::2] = values
        return "".join(self.parts)


class Writer:
    """Writes samples as SenML. `prefix` begins every name, and the names are globally unique if it is."""

    def __init__(self, prefix: str = "wayside:", secondary: bool = True) -> None:
        if not valid_name(prefix):
            raise ValueError(f"{prefix!r} cannot begin a SenML name")
        self.prefix = prefix
        self.secondary = secondary
        self._texts: dict[int, _Texts] = {}
        self._versions: dict[Definition, int | None] = {}
        self._channels: dict[tuple[int, Definition], list[_Channel]] = {}
        self._templates: dict[tuple[int, Definition, int, int, str], _Template] = {}

    def version(self, definition: Definition) -> int | None:
        """The SenML version that these columns need, None for the default one."""
        if definition not in self._versions:
            units = [definition.quantity(c).unit for c in range(len(definition.channels))]
            needs = self.secondary and any(unit in PRIMARY for unit in units)
            self._versions[definition] = VERSION_SECONDARY if needs else None
        return self._versions[definition]

    def samples(
        self,
        node: int,
        seq: int,
        definition: Definition,
        interval_s: float,
        columns: Sequence[Column],
        start_s: float,
        quality: str,
        bound_s: float,
    ) -> str:
        """SenML records of a samples record whose first sample is of start_s (Unix), joined by commas; "" if none.

        Whole intervals are the quick way; others are those of an oscillator that is off, rare and each its own.
        """
        n = len(columns[0])
        identity = f"{node}:{seq}"
        if isinstance(interval_s, int):
            template = self._templates.get((node, definition, interval_s, n, quality))
            if template is None:
                template = self._template(node, definition, interval_s, n, quality)
            try:  # `contextlib.suppress` would cost a twentieth of the whole
                return template.fill(seconds(start_s), identity, seconds(bound_s), columns)
            except _Missing:
                pass
        tail = f'"bid":"{identity}","btq":"{quality}","btb":{seconds(bound_s)}'
        return _sparse(self._of(node, definition), columns, f'"bt":{seconds(start_s)},', tail, interval_s)

    def untimed(
        self,
        node: int,
        seq: int,
        definition: Definition,
        interval_s: int,
        columns: Sequence[Column],
        at: int | tuple[int, int],
    ) -> str:
        """The same for a record of unknown time: `at` is its (boot, uptime), or what its wrong clock showed."""
        label, start_s = ('"clock_":', at) if isinstance(at, int) else (f'"boot_":{at[0]},"uptime_":', at[1])
        out = []
        for channel, column in zip(self._of(node, definition), columns, strict=True):
            base = f'"bn":"{channel.name}","bu":"{channel.unit}","bid":"{node}:{seq}","btq":"unknown",'
            for i, value in enumerate(column):
                if value is not None:
                    out.append(f'{{{base}{label}{start_s + i * interval_s},"v":{channel.texts[value]}}}')
                    base = ""
        return ",".join(out)

    def _of(self, node: int, definition: Definition) -> list[_Channel]:
        known = self._channels.get((node, definition))
        if known is not None:
            return known
        channels: list[_Channel] = []
        for c, (_, place) in enumerate(definition.channels):
            quantity = definition.quantity(c)
            name = f"{self.prefix}{node}:{quantity.name}" + (f":{place}" if place else "")
            if any(name == other.name for other in channels):
                name += f":column{c}"
            channels.append(_Channel(name, *self._unit(quantity)))
        self._channels[node, definition] = channels
        return channels

    def _unit(self, quantity: Quantity) -> tuple[str, _Texts]:
        unit, shift = quantity.unit, 0
        if not self.secondary:
            unit, shift = PRIMARY.get(unit, (unit, 0))
        exponent = shift - quantity.decimals
        return unit, self._texts.setdefault(exponent, _Texts(exponent))

    def _template(self, node: int, definition: Definition, interval_s: int, n: int, quality: str) -> _Template:
        if len(self._templates) >= TEMPLATES_CACHED:
            self._templates.clear()
            self._channels.clear()
            self._versions.clear()
        template = _Template(self._of(node, definition), interval_s, n, quality)
        self._templates[node, definition, interval_s, n, quality] = template
        return template


def _sparse(channels: Sequence[_Channel], columns: Sequence[Column], start: str, tail: str, interval_s: float) -> str:
    out = []
    for channel, column in zip(channels, columns, strict=True):
        base = f'"bn":"{channel.name}",{start}"bu":"{channel.unit}",{tail},'
        for i, value in enumerate(column):
            if value is not None:
                at = f'"t":{seconds(i * interval_s)},' if i else ""
                out.append(f'{{{base}{at}"v":{channel.texts[value]}}}')
                base = ""
    return ",".join(out)


def pack(texts: Sequence[str], version: int | None = None) -> bytes:
    """One SenML pack of what `Writer` wrote (at least one text that is not empty); all its records have one version."""
    head = "[" if version is None else f'[{{"bver":{version},'
    body = ",".join(texts)
    return f"{head}{body if version is None else body[1:]}]".encode()
