"""The board at hand: its pins, buses, memory and flash.

A board's figures are a module of constants. One that was flashed as `board_profile` counts; without it, the port's own
name chooses among those in `boards/`. NAMES is what such a module must define.
"""

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NAMES = (
    "BOARD",  # text: as the node's hello says it
    "DATA_ROOT",  # folder on littlefs of all that the node stores
    "FLASH_BYTES",  # of the file system
    "JOURNAL_BYTES",  # what the journal may fill, a multiple of its segment
    "HEAP_BYTES",  # what the port leaves to Python
    "I2C_ID",
    "I2C_SDA",
    "I2C_SCL",
    "I2C_HZ",
    "BME280_ADDRESS",
    "BEAM_A",  # pin: walkers who block A first are counted in
    "BEAM_B",
    "BEAM_BLOCKED",  # level of the pin while the beam is blocked
    "LED",  # pin, or -1
    "BUTTON",  # pin, pressed is low, or -1
    "SERIAL",  # "usb": the console, on USB or its bridge; or (UART number, tx, rx, baud)
    "WATCHDOG_MS",  # as long as the port's watchdog can wait, at most
)
PLATFORMS = {"rp2": "pico", "esp32": "esp32"}
FALLBACK = "sim"
"""The board of a port with no pins of its own: MicroPython's unix port, and CPython."""
SEGMENT_BYTES = 16384
FLASH_SPARE_BYTES = 256 * 1024
"""What the journal leaves free: the firmware itself, small files, and the blocks that littlefs copies into."""


class ProfileError(Exception):
    """The board's profile cannot be used; the message names every fault."""


def check(module):
    """All that is wrong with a profile, as text; an empty list for a usable one."""
    missing = [name + " is missing" for name in NAMES if not hasattr(module, name)]
    if missing:
        return missing
    found = []
    pins = [module.I2C_SDA, module.I2C_SCL, module.BEAM_A, module.BEAM_B, module.LED, module.BUTTON]
    if module.SERIAL != "usb":
        pins += [module.SERIAL[1], module.SERIAL[2]]
    used = [pin for pin in pins if pin != -1]
    for pin in set(used):
        if used.count(pin) > 1:
            found.append("pin " + str(pin) + " is used twice")
    if module.JOURNAL_BYTES % SEGMENT_BYTES or module.JOURNAL_BYTES < 4 * SEGMENT_BYTES:
        found.append("JOURNAL_BYTES is not four or more whole segments")
    if module.JOURNAL_BYTES + FLASH_SPARE_BYTES > module.FLASH_BYTES:
        found.append("JOURNAL_BYTES leaves too little of FLASH_BYTES")
    if not module.DATA_ROOT.startswith("/") or module.DATA_ROOT.endswith("/"):
        found.append("DATA_ROOT is not an absolute folder")
    if module.BEAM_BLOCKED not in (0, 1):
        found.append("BEAM_BLOCKED is neither 0 nor 1")
    return found


def _board(name):
    path = "wayside_node.boards." + name
    try:
        __import__(path)
    except ImportError:
        raise ProfileError("no board is called " + name) from None
    return sys.modules[path]


def load(name=None) -> "Any":
    """The board's module: `boards/NAME`, or the one flashed as `board_profile`, or the port's. Raises ProfileError."""
    module = None
    if name is None:
        try:
            import board_profile as module  # pyright: ignore[reportMissingImports]
        except ImportError:
            name = PLATFORMS.get(sys.platform, FALLBACK)
    if name is not None:
        module = _board(name)
    found = check(module)
    if found:
        raise ProfileError("; ".join(found))
    return module
