"""One behaviour over many lines: what a node journaled is in the gateway's store, once, whatever the line does.

The firmware's own stations and the gateway's own run in one process and in virtual time, joined by a line that is drawn
from a seed. A failure prints the seed; the same seed is the same run.
"""

import asyncio
import shutil
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from fakes.board import Build
from fakes.joined import Run, make
from fakes.line import LINES, Damage
from wayside_gateway.gaps import find
from wayside_gateway.ingest import Ingest
from wayside_gateway.links.base import Link
from wayside_protocol import record

HOURS = 1.0
LIVE_PART = 0.5
"""Of the records, that must be there before the line is mended: it may harm, but not stop."""
CASES = dict(LINES)


def stored(run: Run) -> dict[int, bytes]:
    """What the gateway holds, by seq; each once."""
    rows = run.station.store.read("SELECT seq, body FROM record WHERE node = ?", (run.board.build.node,))
    found: dict[int, bytes] = {}
    for seq, body in rows:
        assert isinstance(seq, int)
        assert isinstance(body, bytes)
        assert seq not in found
        found[seq] = body
    return found


def check(run: Run) -> None:
    """The promises, after a run that was drained: what was journaled is held, and whatever is not has its reason."""
    assert run.witness.faults == []
    journaled, held = run.board.plaintext(), stored(run)
    gaps = find(run.station.store, {}, run.board.build.node).nodes[0].gaps
    assert all(gap.reason == "evicted" for gap in gaps), gaps
    told = {seq for gap in gaps for seq in range(gap.first, gap.last + 1)}
    assert len(told) <= run.board.journal.evicted  # a node that rebooted does not know what was acked before
    assert sorted(held.keys() | told) == list(range(1, run.board.journal.next_seq))
    assert not held.keys() & told
    assert all(journaled[seq] == body for seq, body in held.items())
    assert run.station.store.read("SELECT count(*) FROM conflict") == [(0,)]
    if not told:
        check_readings(run, held)


def check_readings(run: Run, held: dict[int, bytes]) -> None:
    """Every reading taken is in one record, but for those that a cut of the power took while they were being taken."""
    sampled = sum(body.n for body in map(record.decode, held.values()) if isinstance(body, record.Samples))
    lost = len(run.board.readings) - sampled
    assert 0 <= lost <= run.board.boots - 1, f"{lost} readings of {len(run.board.readings)}, {run.board.boots} boots"


def play(
    run: Run,
    hours: float,
    *plagues: Callable[[], Coroutine[None, None, None]],
    live_part: float = LIVE_PART,
    reboot: bool = True,
) -> None:
    """Run so long with these plagues, then mend all and drain. Checks the promises."""

    async def whole() -> None:
        run.station.start()
        run.board.power_on()
        tasks = [asyncio.ensure_future(run.line.misbehave()), *(asyncio.ensure_future(plague()) for plague in plagues)]
        await asyncio.sleep(hours * 3600)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        run.station.kill()
        run.station.start()
        live = len(stored(run))
        assert live >= live_part * len(run.board.journaled), (
            f"{live} of {len(run.board.journaled)} came while it was bad"
        )
        run.line.mend()
        if reboot:
            run.board.cut()
            run.board.power_on()
        took_s = await run.drain()
        check(run)
        print(
            f"records {len(run.board.journaled)} ({live} live), readings {len(run.board.readings)},"
            f" boots {run.board.boots},"
            f" torn writes {run.board.torn_cuts}, gateway starts {run.station.starts}, cuts {run.line.cuts},"
            f" frames {run.witness.frames}, acks {run.witness.acks}, acked {run.witness.acked},"
            f" bytes lost {run.line.up.lost} of {run.line.up.sent}, drained in {took_s:.0f} s"
        )
        run.evicted = run.board.journal.evicted
        run.station.kill()

    try:
        run.loop.play(whole())
    finally:
        run.board.cut()


@pytest.mark.parametrize("name", CASES)
def test_every_record_arrives_once_over(name: str, tmp_path: Path, seed: int) -> None:
    play(make(tmp_path, seed, CASES[name]), HOURS)


@pytest.mark.parametrize("name", CASES)
def test_every_record_arrives_once_though_both_ends_restart_over(name: str, tmp_path: Path, seed: int) -> None:
    run = make(tmp_path, seed, CASES[name])
    play(
        run,
        HOURS,
        lambda: run.board.restart_at_random(Random(seed + 1), 150),
        lambda: run.station.restart_at_random(Random(seed + 2), 100),
    )


@pytest.mark.parametrize("name", ["perfect", "10 % of frames lost"])
@pytest.mark.parametrize("lost", [False, True], ids=["a backup restored", "its disk lost"])
def test_a_gateway_that_lost_what_it_held_gets_it_again(name: str, lost: bool, tmp_path: Path, seed: int) -> None:
    """The node runs on all the while, and believed it delivered: the next welcome tells it better."""
    run = make(tmp_path, seed, CASES[name])
    path, backup = tmp_path / "store.sqlite", tmp_path / "backup"

    async def loss() -> None:
        await asyncio.sleep(1500)
        run.station.kill()
        shutil.copy(path, backup)
        run.station.start()
        await asyncio.sleep(1500)
        run.station.kill()
        if lost:
            path.unlink()
        else:
            shutil.copy(backup, path)
        run.station.start()

    play(run, 1.5, loss, reboot=False)
    assert run.board.boots == 1


@pytest.mark.parametrize("every_s", [1e9, 2000.0])
def test_what_was_evicted_is_told_with_its_reason(every_s: float, tmp_path: Path, seed: int) -> None:
    """Hours without a gateway, in a journal that holds less, and reboots in between; twice."""
    run = make(tmp_path, seed, build=Build(journal_bytes=6 * 4096, segment_bytes=4096, batch=1))

    async def outages() -> None:
        for _ in range(2):
            await asyncio.sleep(600)
            run.line.is_cut = True
            await asyncio.sleep(run.rng.uniform(1.5, 2.5) * 3600)
            run.line.is_cut = False

    play(run, 5.5, outages, lambda: run.board.restart_at_random(Random(seed + 1), every_s), live_part=0.05)
    assert run.evicted > 100


def test_acks_up_to_a_high_water_mark_would_be_found_out(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The suite can see what it is there for: a mark that steps over a gap loses records."""
    monkeypatch.setattr("wayside_gateway.peer.ranges_of", lambda seqs: [(1, max(seqs))])
    damage = replace(CASES["10 % of frames lost"], lose=0.3, cut_every_s=100)
    run = make(tmp_path, seed, damage, Build(batch=1))
    with pytest.raises(AssertionError):
        play(run, HOURS)
    assert any("of which" in fault for fault in run.witness.faults)


def test_acks_before_the_commit_would_be_found_out(tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make(tmp_path, seed)
    feed = Ingest.feed

    def hasty(self: Ingest, link: Link, frames: list[bytes]) -> None:
        feed(self, link, frames)
        for peer in self.peers.values():
            if peer.seqs:
                link.write(peer.acks(7, peer.seqs))

    monkeypatch.setattr(Ingest, "feed", hasty)
    with pytest.raises(AssertionError):
        play(run, HOURS)
    assert any("of which 0 are on disk" in fault for fault in run.witness.faults)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("draw", range(6))
def test_a_day_of_everything(draw: int, tmp_path: Path, seed: int) -> None:
    """Lines drawn at random, both ends restarted at random, for a day."""
    rng = Random(seed)
    damage = Damage(
        chunk=(1, rng.randint(1, 300)),
        frames=rng.random() < 0.6,
        lose=rng.uniform(0, 0.2),
        flip=rng.uniform(0, 0.1),
        repeat=rng.uniform(0, 0.3),
        overtake=rng.uniform(0, 0.3),
        garbage=rng.uniform(0, 0.3),
        cut_every_s=rng.choice((0, 300, 3000)),
        delay_s=(0.001, rng.choice((0.005, 0.3, 2.0))),
    )
    if not damage.frames:
        damage = replace(damage, overtake=0, repeat=0, lose=damage.lose / 4, garbage=damage.garbage / 10)
    print(damage)
    run = make(tmp_path, seed, damage, Build(batch=rng.choice((1, 4, 12)), drift=rng.uniform(-0.1, 0.1)))
    play(
        run,
        24,
        lambda: run.board.restart_at_random(Random(seed + 1), rng.choice((300, 3000))),
        lambda: run.station.restart_at_random(Random(seed + 2), rng.choice((300, 3000))),
        live_part=0.2,
    )
