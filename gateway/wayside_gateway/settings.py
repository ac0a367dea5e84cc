"""The gateway's settings: a TOML file, checked as a whole, every problem told at once with its line and its fix."""

import difflib
import tomllib
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from wayside_gateway.errors import SettingsError
from wayside_gateway.toml_lines import LineIndex

GIB = 1 << 30

File = Annotated[Path, Field(strict=False)]
"""A path, written as text; a relative one counts from the settings file's directory."""


class _Table(BaseModel):
    """A table of the file: unknown names are problems, values are not changed after loading."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, str_strip_whitespace=True, hide_input_in_errors=True
    )


class SerialRule(_Table):
    """Which serial ports to open: exactly one of path, usb, serial_number and known."""

    path: str | None = None
    """A device's path; * and ? stand for any characters: "/dev/serial/by-id/*", "/dev/ttyUSB0"."""
    usb: Annotated[str, Field(pattern=r"^[0-9a-fA-F]{4}:[0-9a-fA-F]{4}$")] | None = None
    """A USB device's vendor and product number in hex: "10c4:ea60"."""
    serial_number: str | None = None
    """A USB device's serial number, as the system shows it."""
    known: bool | None = Field(default=None, validate_default=True)
    """All USB serial chips that boards of ours have."""
    baud: Annotated[int, Field(ge=1200, le=4_000_000)] = 115_200
    """Bits a second; of no effect on a chip's own USB port."""

    @field_validator("known")
    @classmethod
    def _one_of(cls, value: bool | None, info: ValidationInfo) -> bool | None:
        """On the last of the four fields, not on the table: told even where another of its values is wrong."""
        if value is False:
            raise ValueError("`known = false` opens nothing: leave the table out instead")
        named = ("path", "usb", "serial_number")
        given = [n for n in named if n not in info.data or info.data[n] is not None]
        given += ["known"] if value else []
        if len(given) != 1:
            raise ValueError(
                "give exactly one of `path`, `usb`, `serial_number` and `known = true`"
                + (f", not {' and '.join(given)}" if given else "")
            )
        return value

    def usb_numbers(self) -> tuple[int, int]:
        """Vendor and product of `usb`."""
        vid, _, pid = (self.usb or "0:0").partition(":")
        return int(vid, 16), int(pid, 16)


class Tls(_Table):
    """TLS to the broker. Without `ca` the system's certificates are used."""

    ca: File | None = None
    """PEM file of the certificate authority that signed the broker's certificate."""
    cert: File | None = None
    """PEM file of this gateway's certificate, where the broker asks for one."""
    key: File | None = Field(default=None, validate_default=True)
    """PEM file of that certificate's private key."""
    insecure: bool = False
    """Take any certificate: for a test on a bench, never in the field."""

    @field_validator("key")
    @classmethod
    def _pair(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if "cert" in info.data and (info.data["cert"] is None) != (value is None):
            raise ValueError("`cert` and `key` belong together: give both or neither")
        return value


class MqttSettings(_Table):
    """The MQTT uplink."""

    host: Annotated[str, Field(min_length=1)]
    """The broker's name or address."""
    port: Annotated[int, Field(ge=1, le=65_535)] | None = None
    """The broker's port; 8883 with TLS, 1883 without, if not given."""
    tls: Tls | None = None
    """TLS; an empty table switches it on with the system's certificates."""
    user: str | None = None
    """User name for the broker."""
    password: str | None = Field(default=None, repr=False)
    """Password for the broker; better in a file of its own."""
    password_file: File | None = None
    """File whose first line is the password."""
    version: Literal["auto", "5", "3.1.1"] = "auto"
    """MQTT version; "auto" tries 5 and falls back to 3.1.1."""
    prefix: Annotated[str, Field(min_length=1, pattern=r"^[^#+\x00]+$")] = "wayside"
    """First part of every topic."""
    keepalive_s: Annotated[int, Field(ge=5, le=3600)] = 60
    """Seconds after which a silent connection is checked."""
    client_id: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    """Name of this client at the broker; made of the deployment and the gateway's number if not given."""
    qos: Literal[1, 2] = 2
    """2: each block arrives once, also across a crash; 1: at least once. Falls back to 1 where the broker has no 2."""
    batch_bytes: Annotated[int, Field(ge=1024, le=16 << 20)] = 128 << 10
    """Bytes of one publish at most, when many records wait."""
    units: Literal["secondary", "primary"] = "secondary"
    """SenML units: hPa and ug/m3 (RFC 8798), or Pa and kg/m3 for readers that know RFC 8428 alone."""
    names: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9\-:./_]*$")] = "wayside:"
    """Beginning of every SenML name; one that is yours alone makes the names unique in the world."""

    @field_validator("password", "password_file")
    @classmethod
    def _password(cls, value: str | Path | None, info: ValidationInfo) -> str | Path | None:
        """On the fields, not on the table: told even where another of its values is wrong."""
        if info.field_name == "password_file" and info.data.get("password") is not None:
            raise ValueError("give `password` or `password_file`, not both")
        if value is not None and "user" in info.data and info.data["user"] is None:
            raise ValueError("a password needs `user` too")
        return value

    def anchored(self, directory: Path) -> Self:
        """The same with relative paths counted from this directory."""
        changed: dict[str, object] = {}
        if self.password_file is not None:
            changed["password_file"] = directory / self.password_file
        if self.tls is not None:
            paths = {n: getattr(self.tls, n) for n in ("ca", "cert", "key")}
            changed["tls"] = self.tls.model_copy(update={n: directory / p for n, p in paths.items() if p is not None})
        return self.model_copy(update=changed)

    @property
    def port_number(self) -> int:
        """The port, given or usual."""
        if self.port is not None:
            return self.port
        return 8883 if self.tls is not None else 1883


class StoreSettings(_Table):
    """How much the store keeps, and how often it writes."""

    max_bytes: Annotated[int, Field(ge=16 << 20)] = 4 * GIB
    """Bytes that the store may take; at this limit even what an uplink has not sent goes, and is told as lost."""
    max_age_days: Annotated[float, Field(gt=0, le=36_500)] = 400
    """Days that records are kept after all uplinks have them."""
    commit_interval_ms: Annotated[int, Field(ge=1, le=5_000)] = 20
    """Milliseconds that a record may wait for others, to share one write to disk with them."""


class ClockSettings(_Table):
    """When the gateway believes its own clock."""

    require_ntp: bool = True
    """Give nodes the time only while NTP keeps this machine's clock right; false: always believe it."""


class LogSettings(_Table):
    """The log on standard error."""

    format: Literal["console", "json"] = "console"
    """Lines for people, or one JSON object a line."""
    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe lines to write."""


class Settings(_Table):
    """What stands before the first table."""

    gateway: Annotated[int, Field(ge=1, le=0xFFFF)]
    """This gateway's number, unique among the gateways that any of its nodes can reach."""
    deployment: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
    """Name of the deployment, in topics: small letters, digits and dashes."""
    data: File
    """Directory for the store; made if it is not there."""
    keys: File | None = None
    """File of the nodes' keys; `keys.toml` in the data directory if not given."""
    serial: Annotated[tuple[SerialRule, ...], Field(strict=False)] = ()
    """Serial ports to open, one [[serial]] table a rule."""
    mqtt: MqttSettings | None = None
    """The MQTT uplink; without this table none runs."""
    store: StoreSettings = StoreSettings()
    clock: ClockSettings = ClockSettings()
    log: LogSettings = LogSettings()

    @field_validator("serial", mode="before")
    @classmethod
    def _rules(cls, value: object) -> object:
        if isinstance(value, dict):
            raise ValueError("write [[serial]] with two brackets: there may be several")
        return value

    def anchored(self, directory: Path) -> Self:
        """The same with relative paths counted from this directory."""
        changed: dict[str, object] = {"data": directory / self.data}
        if self.keys is not None:
            changed["keys"] = directory / self.keys
        if self.mqtt is not None:
            changed["mqtt"] = self.mqtt.anchored(directory)
        return self.model_copy(update=changed)

    @property
    def keys_path(self) -> Path:
        """The key file, given or usual."""
        return self.keys if self.keys is not None else self.data / "keys.toml"


_FIXES = {
    "gateway": "a number from 1 to 65535, for example: gateway = 1",
    "deployment": 'a name, for example: deployment = "my-town"',
    "data": 'a directory, for example: data = "/var/lib/wayside"',
    "mqtt.host": 'the broker\'s name, for example: host = "broker.example.org"',
}


_WORDS = {
    "bool_type": "must be true or false, without quotes",
    "int_type": "must be a whole number, without quotes",
    "float_type": "must be a number, without quotes",
    "string_type": 'must be text, in quotes: "…"',
    "path_type": 'must be a path, in quotes: "/…"',
    "model_type": "must be a table: write its name in brackets on a line of its own",
    "tuple_type": "must be tables: write [[serial]] on a line of its own for each",
}
"""What pydantic's kinds of problems are called here; its own words are kept for the others."""

_TABLES: dict[str, type[BaseModel]] = {
    "serial": SerialRule,
    "mqtt": MqttSettings,
    "mqtt.tls": Tls,
    "store": StoreSettings,
    "clock": ClockSettings,
    "log": LogSettings,
}


def _names(location: tuple[int | str, ...]) -> list[str]:
    """The names that are allowed where this location's last part stands."""
    table = ".".join(str(part) for part in location[:-1] if not isinstance(part, int))
    return list(_TABLES.get(table, Settings).model_fields)


def _problem(location: tuple[int | str, ...], kind: str, message: str) -> str:
    name = ".".join(str(part) for part in location if not isinstance(part, int))
    if kind == "extra_forbidden":
        near = difflib.get_close_matches(str(location[-1]), _names(location), n=1)
        hint = f"did you mean `{near[0]}`?" if near else "allowed are: " + ", ".join(_names(location))
        return f"`{name}` is no setting: {hint}"
    if kind == "missing":
        return f"`{name}` is missing: write " + _FIXES.get(name, f"{location[-1]} = …")
    text = _WORDS.get(kind) or message.removeprefix("Value error, ").replace("Input should be", "must be")
    if kind == "string_pattern_mismatch":
        text = f"has not the right form; write {_FIXES[name]}" if name in _FIXES else f"has not the right form ({text})"
    return f"`{name}`: {text}" if name else text


def problems_of(text: str, error: ValidationError) -> list[str]:
    """Every problem of the file, in the order of its lines."""
    index = LineIndex(text)
    out: dict[str, int] = {}
    for item in error.errors(include_url=False, include_input=False):
        location = item["loc"]
        line = index.line(location)
        told = _problem(location, item["type"], item["msg"])
        out[f"line {line}: {told}" if line else told] = line
    return sorted(out, key=lambda problem: out[problem])


def parse(text: str, source: str = "settings") -> Settings:
    """The settings that this TOML text says. Raises SettingsError with all problems."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(source, [f"not TOML: {error}"]) from error
    try:
        return Settings.model_validate(table)
    except ValidationError as error:
        raise SettingsError(source, problems_of(text, error)) from None


def load(path: Path) -> Settings:
    """The settings in this file; relative paths in it count from its directory. Raises SettingsError."""
    try:
        text = path.read_bytes().decode()
    except FileNotFoundError:
        raise SettingsError(str(path), ["there is no such file: write one, or name another with --settings"]) from None
    except OSError as error:
        raise SettingsError(str(path), [f"cannot be read ({error.strerror})"]) from error
    except UnicodeDecodeError as error:
        raise SettingsError(str(path), [f"not UTF-8 at byte {error.start}"]) from error
    settings = parse(text, str(path))
    return settings.anchored(path.absolute().parent)
