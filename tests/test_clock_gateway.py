"""Whether the gateway believes its own clock."""

import ctypes

import pytest

from wayside_gateway.clock import FLOOR_MS, RECHECK_S, GatewayClock, _Timex, ntp_synchronised

NOW_S = FLOOR_MS / 1000 + 1_000_000


class Clocks:
    """Wall, monotonic and NTP, as a test sets them."""

    def __init__(self) -> None:
        self.wall = NOW_S
        self.monotonic = 100.0
        self.ntp = True
        self.asked = 0

    def synchronised(self) -> bool:
        self.asked += 1
        return self.ntp

    def clock(self, require_ntp: bool = True) -> GatewayClock:
        return GatewayClock(require_ntp, lambda: self.wall, lambda: self.monotonic, self.synchronised)

    def run(self, seconds: float) -> None:
        self.wall += seconds
        self.monotonic += seconds


def test_a_clock_kept_by_ntp_is_believed() -> None:
    clocks = Clocks()
    clock = clocks.clock()
    assert clock.unix_ms() == int(NOW_S * 1000)
    assert clock.doubt() == ""


def test_without_ntp_nobody_is_told_the_time_unless_that_is_waived() -> None:
    clocks = Clocks()
    clocks.ntp = False
    assert clocks.clock().unix_ms() is None
    assert clocks.clock().doubt() == "not_synchronised"
    assert clocks.clock(require_ntp=False).unix_ms() == int(NOW_S * 1000)


@pytest.mark.parametrize("wall", [0.0, 946_684_800.0, FLOOR_MS / 1000 - 1])
@pytest.mark.parametrize("require_ntp", [True, False])
def test_a_date_before_the_floor_is_never_believed(wall: float, require_ntp: bool) -> None:
    clocks = Clocks()
    clocks.wall = wall
    assert clocks.clock(require_ntp).unix_ms() is None
    assert clocks.clock(require_ntp).doubt() == "before_floor"


def test_ntp_is_asked_now_and_then_and_its_answer_followed() -> None:
    clocks = Clocks()
    clock = clocks.clock()
    for _ in range(1000):
        assert clock.believed()
    assert clocks.asked == 1
    clocks.ntp = False
    clocks.run(RECHECK_S)
    assert not clock.believed()
    clocks.ntp = True
    clocks.run(RECHECK_S)
    assert clock.believed()


@pytest.mark.parametrize("jump", [-3600.0, -0.6, 0.6, 63_072_000.0])
def test_a_step_is_noticed_once(jump: float) -> None:
    clocks = Clocks()
    clock = clocks.clock()
    clocks.run(1)
    assert clock.pulse() == 0
    clocks.wall += jump
    clocks.run(1)
    assert clock.pulse() == pytest.approx(jump * 1000, abs=2)
    clocks.run(1)
    assert clock.pulse() == 0
    assert clock.steps == 1


def test_slewing_is_no_step() -> None:
    clocks = Clocks()
    clock = clocks.clock()
    for _ in range(1000):
        clocks.run(1)
        clocks.wall += 0.0005  # the most that the kernel slews in a second
        assert clock.pulse() == 0


def test_a_process_that_stood_still_knows_it() -> None:
    clocks = Clocks()
    clock = clocks.clock()
    clocks.run(50)
    assert clock.pulse_age_ms() == 0  # nobody pulses here
    clock.pulse()
    clocks.run(7)
    assert clock.pulse_age_ms() == 7000


def test_the_kernel_can_be_asked() -> None:
    assert ntp_synchronised() in (True, False)


@pytest.mark.skipif(ctypes.sizeof(ctypes.c_long) != 8, reason="the offsets below are those of 64-bit Linux")
def test_the_layout_is_the_kernels() -> None:
    """Offsets of struct timex from linux/timex.h on x86-64 and arm64."""
    offsets = {name: getattr(_Timex, name).offset for name in ("modes", "offset", "maxerror", "esterror", "status")}
    assert offsets == {"modes": 0, "offset": 8, "maxerror": 24, "esterror": 32, "status": 40}
    assert ctypes.sizeof(_Timex) >= 208
