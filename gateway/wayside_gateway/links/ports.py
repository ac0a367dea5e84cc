"""Which serial ports are to be open: the settings' rules against the devices that are there."""

import glob
import os
from collections.abc import Iterable
from typing import NamedTuple

from serial.tools import list_ports

from wayside_gateway.links.boards import Lines, is_known, lines_for
from wayside_gateway.settings import SerialRule


class Device(NamedTuple):
    """A serial device as the system shows it. `path` is what a person calls it."""

    path: str
    vid: int | None
    pid: int | None
    serial_number: str | None


class Port(NamedTuple):
    """A device to be opened, and how. `real` is the device behind links: the same device is opened once."""

    path: str
    real: str
    baud: int
    lines: Lines


def usb_devices() -> list[Device]:
    """The USB serial devices that the system has now."""
    return [Device(p.device, p.vid, p.pid, p.serial_number) for p in list_ports.comports() if p.vid is not None]


def _matching(rule: SerialRule, devices: Iterable[Device]) -> list[Device]:
    if rule.path is not None:
        by_real = {os.path.realpath(device.path): device for device in devices}
        out = []
        for path in sorted(glob.glob(rule.path)):
            usb = by_real.get(os.path.realpath(path))
            out.append(usb._replace(path=path) if usb else Device(path, None, None, None))
        return out
    if rule.usb is not None:
        wanted = rule.usb_numbers()
        return [device for device in devices if (device.vid, device.pid) == wanted]
    if rule.serial_number is not None:
        return [device for device in devices if device.serial_number == rule.serial_number]
    return [device for device in devices if is_known(device.vid, device.pid)]


def wanted_ports(rules: Iterable[SerialRule], devices: Iterable[Device]) -> dict[str, Port]:
    """The ports that the rules ask for, by path; where two rules name one device the first one counts."""
    have = list(devices)
    out: dict[str, Port] = {}
    taken: set[str] = set()
    for rule in rules:
        for device in _matching(rule, have):
            real = os.path.realpath(device.path)
            if real not in taken:
                taken.add(real)
                out[device.path] = Port(device.path, real, rule.baud, lines_for(real, device.vid, device.pid))
    return out
