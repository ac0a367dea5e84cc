"""Raspberry Pi Pico (RP2040, 2 MiB flash): MicroPython leaves 1,408 KiB to files and some 190 KiB to the heap."""

BOARD = "pico"
DATA_ROOT = "/data"
FLASH_BYTES = 1408 * 1024
JOURNAL_BYTES = 640 * 1024
HEAP_BYTES = 186 * 1024
I2C_ID = 0
I2C_SDA = 4
I2C_SCL = 5
I2C_HZ = 100_000
BME280_ADDRESS = 0x76
BEAM_A = 16
BEAM_B = 17
BEAM_BLOCKED = 1
LED = 25
BUTTON = 15
SERIAL = "usb"
WATCHDOG_MS = 8388  # RP2040 datasheet §4.7: the counter's longest, halved by erratum RP2040-E1
