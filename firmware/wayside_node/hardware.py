"""What the board's `machine` gives, by the profile's pins."""

import machine

from wayside_node.footfall.beams import Beams
from wayside_node.sensors.bme280 import Bme280
from wayside_protocol import event

_CAUSES = (
    ("PWRON_RESET", event.CAUSE_POWER),
    ("HARD_RESET", event.CAUSE_HARD),
    ("WDT_RESET", event.CAUSE_WATCHDOG),
    ("DEEPSLEEP_RESET", event.CAUSE_SLEEP),
    ("SOFT_RESET", event.CAUSE_SOFT),
)


def reset_cause():
    """Why the board started, as a boot event says it. Ports lack some of the causes."""
    cause = machine.reset_cause()
    for name, code in _CAUSES:
        if getattr(machine, name, None) == cause:
            return code
    return event.CAUSE_UNKNOWN


def climate(profile):
    """The BME280 on the board's I2C bus."""
    pins = machine.Pin(profile.I2C_SCL), machine.Pin(profile.I2C_SDA)
    i2c = machine.I2C(profile.I2C_ID, scl=pins[0], sda=pins[1], freq=profile.I2C_HZ)
    return Bme280(i2c, profile.BME280_ADDRESS)


def beams(profile, settings, now):
    """The two light beams, counting from now on."""
    pins = (machine.Pin(profile.BEAM_A, machine.Pin.IN), machine.Pin(profile.BEAM_B, machine.Pin.IN))
    made = Beams(
        pins[0], pins[1], profile.BEAM_BLOCKED, settings.beam_spacing_mm, settings.beam_debounce_ms, settings.beam_swap
    )
    made.begin(now, machine.Pin.IRQ_RISING | machine.Pin.IRQ_FALLING)
    return made


def service_asked(profile):
    """Whether the board's button is held: whoever does so wants the console, and no node."""
    return profile.BUTTON >= 0 and not machine.Pin(profile.BUTTON, machine.Pin.IN, machine.Pin.PULL_UP).value()


def lamp(profile):
    """A function that lights the board's lamp (1) or not (0), or None."""
    return None if profile.LED < 0 else machine.Pin(profile.LED, machine.Pin.OUT, value=0).value


def watchdog(profile):
    """The function that feeds the watchdog, which runs from now on and cannot be stopped."""
    return machine.WDT(timeout=profile.WATCHDOG_MS).feed


def reset():
    machine.reset()
