"""USB serial chips by vendor and product number: which are boards of ours, and what opening one must not do.

Opening a port raises DTR and RTS. Behind a UART bridge these two lines pull reset and boot pins of ESP32 boards
through two transistors (Espressif's auto-reset circuit): both equal does nothing, one alone resets the board. So
on bridges both are dropped, in one request, and stay so. A chip's own USB serial port sends nothing while DTR is
low (TinyUSB `tud_cdc_connected`), so there DTR stays raised.
"""

from dataclasses import dataclass

RASPBERRY_PI = 0x2E8A
ESPRESSIF = 0x303A
ESPRESSIF_JTAG = 0x1001
"""The USB Serial/JTAG block of ESP32-S3 and C3: it resets the chip on RTS without DTR, and sends without DTR."""

BRIDGES = {
    (0x10C4, 0xEA60): "CP210x",
    (0x10C4, 0xEA70): "CP2105",
    (0x1A86, 0x7523): "CH340",
    (0x1A86, 0x55D4): "CH9102",
    (0x1A86, 0x55D3): "CH343",
    (0x0403, 0x6001): "FT232R",
    (0x0403, 0x6010): "FT2232",
    (0x0403, 0x6015): "FT-X",
    (0x067B, 0x2303): "PL2303",
}
NATIVE = {
    (RASPBERRY_PI, 0x0005): "RP2040 (MicroPython)",
    (RASPBERRY_PI, 0x000A): "RP2040 (SDK)",
    (RASPBERRY_PI, 0x0009): "RP2350",
    (ESPRESSIF, 0x4001): "ESP32-S2/S3 (MicroPython)",
    (ESPRESSIF, ESPRESSIF_JTAG): "ESP32-S3/C3 (USB Serial/JTAG)",
}


@dataclass(frozen=True, slots=True)
class Lines:
    """How the two modem lines are held while the port is open."""

    dtr: bool
    rts: bool


def is_known(vid: int | None, pid: int | None) -> bool:
    """Whether a node of ours may sit behind this USB device."""
    return (vid, pid) in BRIDGES or (vid, pid) in NATIVE


def lines_for(device: str, vid: int | None, pid: int | None) -> Lines:
    """How to hold DTR and RTS on this port. Unknown chips go by the kernel's driver: ttyACM is a chip's own USB."""
    if (vid, pid) in BRIDGES or (vid, pid) == (ESPRESSIF, ESPRESSIF_JTAG):
        return Lines(dtr=False, rts=False)
    native = (vid, pid) in NATIVE or vid in (RASPBERRY_PI, ESPRESSIF) or "ttyACM" in device
    return Lines(dtr=native, rts=False)
