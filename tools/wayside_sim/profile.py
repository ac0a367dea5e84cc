"""What a simulated board is: its flash, its heap, its serial number and where its chips are."""

import runpy
from dataclasses import dataclass, field
from pathlib import Path

from wayside_sim.flash import FlashTiming
from wayside_sim.wire import USB_PORT


@dataclass(frozen=True)
class BoardProfile:
    """Defaults are those of the firmware's `boards/sim.py`: a Raspberry Pi Pico, with an ESP32's flash parameters."""

    flash_bytes: int = 1408 * 1024
    block_size: int = 4096
    program_size: int = 32
    """What littlefs reads and programs at least; 32 as on ESP32 (256 on RP2040)."""
    heap: str = "256K"
    """64-bit words: what 128 KiB is on a board."""
    unique_id: bytes = bytes.fromhex("e6616407e3496e28")
    cpu_hz: int = 160_000_000
    epoch: int = 2000
    """The year `time.time()` counts from: 2000 (ESP32) or 1970 (RP2040)."""
    rtc_start_unix: float = 946_684_800.0
    """What the RTC shows after power on: 2000-01-01."""
    rtc_battery: bool = False
    link: int = USB_PORT
    """The port whose other end is the PTY: a UART's number, or the USB port. What the board prints comes out there
    too."""
    boot_ms: int = 300
    """From reset to the first line of boot.py."""
    pins: int = 48
    i2c: int = 0
    bme280_address: int = 0x76
    beam_pins: tuple[int, int] = (16, 17)
    """Who blocks the first one first comes in."""
    beam_blocked: int = 1
    """Level of a beam's pin while it is blocked."""
    timing: FlashTiming = field(default_factory=FlashTiming)

    @property
    def blocks(self) -> int:
        return self.flash_bytes // self.block_size


def of_board(name: str, folder: Path) -> BoardProfile:
    """The profile of one of the firmware's boards (`firmware/wayside_node/boards/NAME.py`)."""
    board = runpy.run_path(str(folder / f"{name}.py"))
    serial = board["SERIAL"]
    return BoardProfile(
        flash_bytes=board["FLASH_BYTES"],
        i2c=board["I2C_ID"],
        bme280_address=board["BME280_ADDRESS"],
        beam_pins=(board["BEAM_A"], board["BEAM_B"]),
        beam_blocked=board["BEAM_BLOCKED"],
        link=USB_PORT if serial == "usb" else serial[0],
    )
