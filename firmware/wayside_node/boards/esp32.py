"""ESP32 with 4 MiB flash: MicroPython's stock partition table gives the file system 2 MiB."""

BOARD = "esp32"
DATA_ROOT = "/data"
FLASH_BYTES = 2048 * 1024
JOURNAL_BYTES = 1024 * 1024
HEAP_BYTES = 160 * 1024
I2C_ID = 0
I2C_SDA = 21
I2C_SCL = 22
I2C_HZ = 100_000
BME280_ADDRESS = 0x76
BEAM_A = 32
BEAM_B = 33
BEAM_BLOCKED = 1
LED = 2
BUTTON = 0
SERIAL = "usb"  # the console, behind the USB bridge: MicroPython keeps UART 0 to itself
WATCHDOG_MS = 10_000
