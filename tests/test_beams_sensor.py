"""The two beams as a sensor on pins: intervals, totals, faults, and interrupt handlers that allocate nothing."""

from array import array
from typing import Any

import pytest

import micropython_port
from beam_edges import DEBOUNCE_MS, SPACING_MM, walkers
from wayside_node.clock import NOW_MASK
from wayside_node.footfall import beams as beams_module
from wayside_node.footfall import ring as ring_module
from wayside_node.footfall.beams import STUCK_MS, Beams
from wayside_node.footfall.core import IN, OUT, TICKS_MASK, UNKNOWN
from wayside_node.footfall.ring import SIZE, EdgeRing
from wayside_node.sensors.error import SensorError
from wayside_protocol.quantity import WALKERS_IN, WALKERS_OUT
from wayside_sim.beams import Walker


class FakePin:
    """machine.Pin with one interrupt handler; `hard` as the port allows."""

    def __init__(self, level: int, hard: bool = True) -> None:
        self.level = level
        self._hard = hard
        self.handler: Any = None

    def value(self) -> int:
        return int(self.level)

    def irq(self, handler: Any, trigger: int, **options: Any) -> None:
        if options and not self._hard:
            raise TypeError("extra keyword arguments given")
        self.handler = handler

    def set(self, level: int) -> None:
        if level != self.level:
            self.level = level
            self.handler(self)


class Rig:
    """Beams on two fake pins, with the counters of µs and ms in the test's hands."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, blocked_level: int = 1, **options: Any) -> None:
        self.us = 5_000_000
        for module in (ring_module, beams_module):
            monkeypatch.setattr(module, "ticks_us", lambda: self.us & TICKS_MASK)
        self.blocked_level = blocked_level
        clear = 1 - blocked_level
        self.pins = [FakePin(options.pop("first", clear), options.pop("hard", True)), FakePin(clear)]
        self.beams = Beams(*self.pins, blocked_level, SPACING_MM, DEBOUNCE_MS, **options)
        self.beams.begin(self.ms, 3)

    @property
    def ms(self) -> int:
        return int(self.us // 1000 & NOW_MASK)

    def until(self, us: int) -> None:
        while self.us < us:
            self.us = min(us, self.us + 200_000)
            self.beams.service(self.ms)

    def walk(self, *found: Walker) -> None:
        start = self.us
        for t, beam, blocked in walkers(found):
            self.until(start + t)
            self.pins[beam].set(self.blocked_level if blocked else 1 - self.blocked_level)
        self.until(self.us + 2_000_000)

    def read(self) -> tuple[int, int]:
        out = array("i", [0] * 3)
        assert self.beams.start(self.ms) == 0
        assert self.beams.poll(self.ms) == 0
        self.beams.read(out, 1)
        return out[1], out[2]


class TestSensor:
    @pytest.mark.parametrize("level", [0, 1])
    @pytest.mark.parametrize("swap", [0, 1])
    def test_counts_per_interval(self, monkeypatch: pytest.MonkeyPatch, level: int, swap: int) -> None:
        rig = Rig(monkeypatch, level, swap=swap)
        rig.walk(Walker(1_000_000, "in"), Walker(5_000_000, "in"), Walker(9_000_000, "out"))
        assert rig.read() == ((1, 2) if swap else (2, 1))
        assert rig.read() == (0, 0)
        rig.walk(Walker(1_000_000, "out"))
        assert rig.read() == ((1, 0) if swap else (0, 1))
        assert [rig.beams.total(d) for d in (IN, OUT, UNKNOWN)] == [2, 2, 0]
        assert rig.beams.channels == ((WALKERS_IN, 0), (WALKERS_OUT, 0))

    def test_a_port_without_hard_handlers(self, monkeypatch: pytest.MonkeyPatch) -> None:
        rig = Rig(monkeypatch, hard=False)
        rig.walk(Walker(1_000_000, "in"))
        assert rig.read() == (1, 0)

    def test_busy_share_and_saturation(self, monkeypatch: pytest.MonkeyPatch) -> None:
        rig = Rig(monkeypatch)
        rig.read()
        start = rig.us
        rig.walk(Walker(1_000_000, "in", 1.0, 0.4))  # blocked for 600 ms
        rig.until(start + 10_000_000)
        rig.read()
        assert (rig.beams.busy_permille, rig.beams.saturated) == (60, False)
        start = rig.us
        rig.walk(*(Walker(1_000_000 + k * 1_000_000, "in", 1.0, 0.4) for k in range(9)))
        rig.until(start + 12_000_000)
        rig.read()
        assert rig.beams.saturated
        assert 400 <= rig.beams.busy_permille <= 500

    def test_a_beam_that_starts_blocked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        rig = Rig(monkeypatch, first=1)
        rig.until(rig.us + 3_000_000)
        rig.pins[0].set(0)
        rig.walk(Walker(1_000_000, "in"))
        assert rig.read() == (1, 0)

    def test_a_stuck_beam_is_a_fault_until_it_is_clear(self, monkeypatch: pytest.MonkeyPatch) -> None:
        rig = Rig(monkeypatch)
        rig.pins[1].set(1)
        rig.until(rig.us + (STUCK_MS - 1000) * 1000)
        assert rig.read() == (0, 0)
        rig.until(rig.us + 2_000_000)
        with pytest.raises(SensorError) as caught:
            rig.read()
        assert caught.value.reason == "stuck"
        rig.pins[1].set(0)
        rig.walk(Walker(2_000_000, "in"))
        assert rig.read() == (1, 0)

    def test_more_edges_than_the_ring_holds_are_a_fault_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        rig = Rig(monkeypatch)
        for _ in range(SIZE):
            rig.us += 100
            rig.pins[0].set(1 - rig.pins[0].level)
        with pytest.raises(SensorError) as caught:
            rig.read()
        assert caught.value.reason == "overflow"
        rig.pins[0].set(0)
        rig.until(rig.us + 3_000_000)
        rig.read()
        rig.walk(Walker(1_000_000, "in"))
        assert rig.read() == (1, 0)


def test_the_ring_keeps_order_and_counts_what_it_drops(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0]
    monkeypatch.setattr(ring_module, "ticks_us", lambda: now[0])
    ring = EdgeRing(1)
    pins = FakePin(0), FakePin(0)
    for i in range(SIZE + 10):
        now[0] = i
        pins[i & 1].level = i >> 1 & 1
        (ring.on_a, ring.on_b)[i & 1](pins[i & 1])
    assert ring.dropped == 11
    for i in range(SIZE - 1):
        assert ring.take()
        assert (ring.time, ring.beam, ring.blocked) == (i, i & 1, i >> 1 & 1)
    assert not ring.take()


LOCKED = """
import json, micropython
from wayside_node.footfall.ring import EdgeRing

class Pin:
    def value(self):
        return self.level

pin = Pin()
pin.level = 0
ring = EdgeRing(1)
on_a, on_b = ring.on_a, ring.on_b

def run():
    i = taken = 0
    micropython.heap_lock()
    while i < 300:
        pin.level ^= 1
        on_a(pin)
        on_b(pin)
        i += 1
    while ring.take():
        taken += 1
    micropython.heap_unlock()
    return taken

print(json.dumps([run(), ring.dropped]))
"""


@micropython_port.needs_micropython
def test_handlers_run_with_the_heap_locked() -> None:
    """A hard interrupt may come inside a collection: whatever it allocates would be a MemoryError."""
    assert micropython_port.run(LOCKED, mpy=True) == [SIZE - 1, 600 - SIZE + 1]
