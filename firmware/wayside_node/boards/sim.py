"""The simulated board: a Pico's pins and flash, in the heap that a 64-bit port needs for what a board does in half."""

BOARD = "sim"
DATA_ROOT = "/data"
FLASH_BYTES = 1408 * 1024
JOURNAL_BYTES = 640 * 1024
HEAP_BYTES = 256 * 1024
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
WATCHDOG_MS = 8388
