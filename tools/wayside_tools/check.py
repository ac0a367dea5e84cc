"""Everything a gateway needs, looked at before it is needed: all problems at once, each with what puts it right."""

import asyncio
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from wayside_gateway.clock import GatewayClock
from wayside_gateway.errors import GatewayError, LinkError, SettingsError
from wayside_gateway.keys import KeyFile
from wayside_gateway.settings import Settings, load

BROKER_TRY_S = 20.0


class Finding(NamedTuple):
    """One thing that was looked at. `fix` says what to do where it is not good, or could be better."""

    what: str
    good: bool
    found: str
    fix: str = ""


def check_gateway(path: Path) -> list[Finding]:
    """All findings. Without settings that can be read there is nothing else to look at."""
    try:
        settings = load(path)
    except SettingsError as error:
        return [Finding("settings", False, f"{path}: {problem}") for problem in error.problems]
    findings = [Finding("settings", True, str(path))]
    for look in (_keys, _ports, _store, _broker, _clock):
        findings.extend(_looked(look, settings))
    return findings


def _looked(look: Callable[[Settings], Iterator[Finding]], settings: Settings) -> Iterator[Finding]:
    what = look.__name__.lstrip("_")
    try:
        yield from look(settings)
    except GatewayError as error:
        yield Finding(what, False, error.message, error.fix)
    except OSError as error:
        yield Finding(what, False, str(error))


def _keys(settings: Settings) -> Iterator[Finding]:
    nodes = KeyFile(settings.keys_path).load()
    fix = "" if nodes else "Add one: wayside nodes add"
    yield Finding("keys", True, f"{len(nodes)} node{'s' if len(nodes) != 1 else ''} in {settings.keys_path}", fix)


def _ports(settings: Settings) -> Iterator[Finding]:
    from wayside_gateway.links.ports import usb_devices, wanted_ports
    from wayside_gateway.links.serial import open_serial

    if not settings.serial:
        yield Finding("ports", False, "no [[serial]] table: no node can be heard", "Write one, such as: known = true")
        return
    devices = usb_devices()
    ports = wanted_ports(settings.serial, devices)
    for rule in settings.serial:
        if not wanted_ports((rule,), devices):
            chosen = next(f"{name} = {json.dumps(value)}" for name, value in rule if value is not None)
            yield Finding("ports", True, f"nothing is there now for {chosen}", "Plug a node in, or mend the rule.")

    async def try_one(device: str, baud: int, lines: object) -> None:
        open_serial(device, baud, lines).close()  # type: ignore[arg-type]

    for port in ports.values():
        try:
            asyncio.run(try_one(port.path, port.baud, port.lines))
            yield Finding("port", True, f"{port.path} opens")
        except LinkError as error:
            running = error.reason == "busy" and _gateway_runs(settings)
            message = f"{port.path} is held by the running gateway" if running else error.message
            yield Finding("port", running, message, "" if running else error.fix)


def _gateway_runs(settings: Settings) -> bool:
    from wayside_gateway.app import only_one

    if not settings.data.is_dir():
        return False
    try:
        with only_one(settings.data):
            return False
    except GatewayError as error:
        return error.reason == "locked"


def _store(settings: Settings) -> Iterator[Finding]:
    from wayside_gateway.store import open_store

    parent = settings.data
    while not parent.exists():
        parent = parent.parent
    if not os.access(parent, os.W_OK | os.X_OK):
        fix = f"Make it and give it to the gateway's user: install -d -o USER {settings.data}"
        yield Finding("store", False, f"{parent} cannot be written", fix)
        return
    free = shutil.disk_usage(parent).free
    room = f"{free / (1 << 30):.1f} GiB free, limit {settings.store.max_bytes / (1 << 30):.1f} GiB"
    enough = free + _size(settings.data) >= settings.store.max_bytes
    fix = "" if enough else "Lower `max_bytes` of [store], or make room: the store may outgrow the disk."
    yield Finding("disk", enough, room, fix)
    path = settings.data / "wayside.sqlite"
    if not path.exists():
        yield Finding("store", True, f"{settings.data} is to be made by the first run")
        return
    store = open_store(settings.data, read_only=True)
    try:
        answer = store.read("PRAGMA quick_check(1)")[0][0]
    finally:
        store.close()
    fix = "" if answer == "ok" else "Stop the gateway and restore a backup; the nodes send again what they still hold."
    yield Finding("store", answer == "ok", f"{path}: {answer}", fix)


def _size(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.glob("wayside.sqlite*")) if directory.is_dir() else 0


def _broker(settings: Settings) -> Iterator[Finding]:
    if settings.mqtt is None:
        yield Finding(
            "broker", True, "none is configured", "Readings stay in the store until there is an [mqtt] table."
        )
        return
    from wayside_gateway.uplinks.mqtt_connection import UNREACHABLE_FIX
    from wayside_tools.check_broker import try_broker

    where = f"{settings.mqtt.host}:{settings.mqtt.port_number}"
    try:
        version = asyncio.run(asyncio.wait_for(try_broker(settings.mqtt), BROKER_TRY_S))
    except TimeoutError:
        yield Finding("broker", False, f"{where} does not answer", UNREACHABLE_FIX)
    except GatewayError as error:
        yield Finding("broker", False, error.message, error.fix)
    else:
        yield Finding("broker", True, f"{where} takes the connection, MQTT {version}")


def _clock(settings: Settings) -> Iterator[Finding]:
    doubt = GatewayClock(settings.clock.require_ntp).doubt()
    fixes = {
        "before_floor": "Set this machine's clock: nodes get no time from it as it is.",
        "not_synchronised": "Switch NTP on (timedatectl set-ntp true), or set require_ntp = false in [clock]"
        " where something else keeps the clock right.",
    }
    found = {"": "believed", "before_floor": "stands before 2026", "not_synchronised": "not kept by NTP"}
    yield Finding("clock", not doubt, found.get(doubt, doubt), fixes.get(doubt, ""))
