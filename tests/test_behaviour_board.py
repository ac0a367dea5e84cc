"""The same behaviour with the real firmware in real MicroPython on the simulated board, over the same lines.

The board's world and the gateway's event loop share one virtual time.
"""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from fakes.board_truth import compare
from fakes.line import IN_TURN_S, LINES, Line
from fakes.station import Station, Witness
from fakes.virtual_loop import START_S, VirtualLoop
from wayside_gateway.gaps import find
from wayside_protocol.record import decode
from wayside_protocol.session import PAUSE
from wayside_sim.board import SimulatedBoard
from wayside_sim.process import micropython_folder
from wayside_sim.profile import BoardProfile
from wayside_sim.street import Street
from wayside_sim.world import World

NODE = 1001
KEY = bytes(range(16))
START_UNIX = 1_800_000_000
DATA = Path(__file__).parent / "data"
SETTINGS = {"sample_interval_s": 10, "report_interval_s": 60, "batch": 4, "health_interval_s": 300}
RUN_S = 1200.0
DRAIN_S = 1800.0
STEP_S = 0.02
"""Grain of the time that both share."""
CASES = dict(LINES)
RUN_OVER = ("perfect", "bytewise", "10 % of frames lost", "cut for 30 s", "all of it")

pytestmark = [
    pytest.mark.micropython,
    pytest.mark.skipif(micropython_folder() is None, reason="no MicroPython wheel for this machine"),
]


class Town:
    """A board in a street, a line, and a gateway."""

    def __init__(self, folder: Path, seed: int, line_name: str, drift: float, profile: BoardProfile) -> None:
        self.rng = Random(seed)
        self.loop = VirtualLoop()
        self.loop.disk_s = lambda: self.rng.uniform(0.001, 0.05)
        self.line = Line(self.loop, self.rng, CASES[line_name])
        self.witness = Witness(KEY)
        self.world = World(virtual=True, start_unix=START_UNIX)
        street = Street.read(DATA / "street_1min.csv", seed=seed & 0xFFFF)
        self.board = SimulatedBoard(
            workdir=folder / "board",
            profile=profile,
            node=NODE,
            key=KEY,
            settings=SETTINGS,
            environment=street.air,
            walkers=street.walkers(),
            world=self.world,
            drift=drift,
        )
        self.board.uart_sink = self.said
        self._said_s = 0.0
        self.line.ears[self.line.down] = self.board.feed
        self.station = Station(self.loop, folder / "store.sqlite", self.line, self.witness, self.world_unix)
        self.station.know(NODE, KEY)

    def world_unix(self) -> float:
        return START_UNIX + self.loop.time() - START_S

    def said(self, data: bytes) -> None:
        self._said_s = max(START_S + self.world.now_us / 1e6, self.loop.time(), self._said_s + IN_TURN_S)
        self.loop.call_at(self._said_s, self.line.up.send, data)

    async def turn(self) -> None:
        """The board's world goes on with the loop's time, for ever."""
        while True:
            now_us = (self.loop.time() - START_S) * 1e6
            due_us = self.world.next_us()
            step_us = STEP_S * 1e6 if due_us is None else min(STEP_S * 1e6, max(due_us - now_us, 1000))
            await asyncio.sleep(step_us / 1e6)
            behind_s = self.loop.time() - START_S - self.world.now_us / 1e6
            if behind_s >= 0:  # a board that was busy with its flash is ahead
                self.board.run(behind_s)

    async def power_cuts(self) -> None:
        while True:
            await asyncio.sleep(self.rng.expovariate(1 / 120))
            self.board.kill()
            await asyncio.sleep(self.rng.uniform(0, 5))
            self.board.power_on()

    async def drain(self) -> None:
        """The node pauses, by the command; then all that it has is in the store."""
        self.line.mend()
        store = self.station.store
        store.add_command(NODE, PAUSE, 0, 0)
        end_s = self.loop.time() + DRAIN_S
        while not (answer := store.commands(NODE)[0].result):
            assert self.loop.time() < end_s, f"pause is not answered\n{self.board.log}"
            self.station.ingest.offer_commands()
            await asyncio.sleep(1)
        while store.held(NODE).count() < int(answer):
            assert self.loop.time() < end_s, f"{store.held(NODE)} of {answer}\n{self.board.log}"
            await asyncio.sleep(1)
        await asyncio.sleep(30)

    def check(self) -> None:
        store = self.station.store
        assert self.witness.faults == []
        assert self.board.flash.faults == []
        assert find(store, {}, NODE).nodes[0].gaps == []
        assert store.read("SELECT count(*) FROM conflict") == [(0,)]
        rows = store.read("SELECT seq, body FROM record WHERE node = ? ORDER BY seq", (NODE,))
        records = {int(str(seq)): decode(body) for seq, body in rows if isinstance(body, bytes)}
        assert list(records) == list(range(1, len(rows) + 1))
        arrived, lost = compare(self.world, self.board.truth.conversions, records, str(self.board.log))
        print(
            f"records {len(rows)}, measured {arrived + lost}, lost {lost}, boots {self.board.boots}, gateway starts"
            f" {self.station.starts}, cuts {self.line.cuts}, acks {self.witness.acks}, acked {self.witness.acked}"
        )

    def play(self, restarts: bool) -> None:
        async def whole() -> None:
            self.station.start()
            self.board.start()
            turning = asyncio.ensure_future(self.turn())
            plagues = [asyncio.ensure_future(self.line.misbehave())]
            if restarts:
                plagues.append(asyncio.ensure_future(self.power_cuts()))
                plagues.append(asyncio.ensure_future(self.station.restart_at_random(self.rng, 150)))
            await asyncio.sleep(RUN_S)
            for plague in plagues:
                plague.cancel()
            await asyncio.gather(*plagues, return_exceptions=True)
            self.station.kill()
            self.station.start()
            if self.board.state == "off":
                self.board.power_on()
            await self.drain()
            assert not turning.done(), turning.result()
            self.check()
            self.station.kill()

        self.loop.play(whole())


@pytest.fixture
def town(tmp_path: Path, seed: int) -> Iterator[Callable[..., Town]]:
    made: list[Town] = []

    def build(line: str = "perfect", drift: float = 0.0, **profile: object) -> Town:
        made.append(Town(tmp_path, seed, line, drift, replace(BoardProfile(), **profile)))  # type: ignore[arg-type]
        return made[-1]

    yield build
    for one in made:
        one.board.close()


@pytest.mark.parametrize("name", RUN_OVER)
def test_the_firmware_delivers_each_measurement_once_over(town: Callable[..., Town], name: str) -> None:
    town(name).play(restarts=False)


@pytest.mark.parametrize("name", ["perfect", "all of it"])
def test_the_firmware_delivers_though_both_ends_restart_over(town: Callable[..., Town], name: str) -> None:
    town(name).play(restarts=True)


@pytest.mark.parametrize(
    ("drift", "rtc"),
    [(0.1, 0.0), (-0.1, 946_684_800.0), (0.0, START_UNIX + 2 * 365 * 86_400.0)],
    ids=["10 % fast, from 1970", "10 % slow, from 2000", "two years ahead"],
)
def test_the_boards_own_clock_is_never_asked(town: Callable[..., Town], drift: float, rtc: float) -> None:
    """It starts anywhere, is set two years on and steps back; the times of all measurements are right."""
    here = town(drift=drift, rtc_start_unix=rtc)
    for at_s, unix_s in ((200, START_UNIX + 6.3e7), (500, 0.0), (700, START_UNIX - 3600.0)):
        here.world.at(int(at_s * 1e6), lambda unix_s=unix_s: here.board.set_rtc(unix_s))  # type: ignore[misc]
    here.play(restarts=False)
