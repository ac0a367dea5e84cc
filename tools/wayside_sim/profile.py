"""What a simulated board is: its flash, its heap, its serial number and where its chips are."""

from dataclasses import dataclass, field

from wayside_sim.flash import FlashTiming


@dataclass(frozen=True)
class BoardProfile:
    """Defaults are those of a board with 1 MiB for its file system."""

    flash_bytes: int = 1 << 20
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
    link_uart: int | None = None
    """The UART whose other end is the PTY; None: the first one that the firmware opens."""
    boot_ms: int = 300
    """From reset to the first line of boot.py."""
    pins: int = 48
    pulled: dict[int, int] = field(default_factory=dict)
    """Levels that something outside gives a pin, before any chip does."""
    timing: FlashTiming = field(default_factory=FlashTiming)

    @property
    def blocks(self) -> int:
        return self.flash_bytes // self.block_size
