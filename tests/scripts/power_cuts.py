"""Cuts the power at every FIRST + k * STEP-th flash operation of a scripted life of a node's storage, boots from what
is left, and compares; with AGAIN, the boot after the cut is itself cut at every operation, before one is let through.
Runs in MicroPython; argv: FIRST STEP AGAIN PROGRAM (littlefs's program size). Prints counts, and what was wrong, as
JSON."""

import gc
import json
import sys
from array import array

import vfs  # type: ignore[import-not-found]

from fakes.cut_flash import Flash
from wayside_node import identity
from wayside_node.journal import Journal, JournalError
from wayside_node.settings import Settings
from wayside_node.slots import SlotError
from wayside_node.spool import Spool, SpoolError

ROOT = "/data"
BLOCKS = 48
SEGMENT = 2048
CAPACITY = 4 * SEGMENT
WIDTH = 3
BATCH = 4
KEY = b"0123456789abcdef"
INTERVALS = (60, 30, 20, 15)
SETTINGS_TURNS = (5, 12, 19)
SALVAGED_N = 255
PROGRAM = int(sys.argv[4])


def sample(i: int) -> "list[int]":
    """Three readings that say which sample they are."""
    return [2000 + i, i * 7 % 1000, i % 13 - 1]


class Node:
    """The storage of a node, and outside of it what was done: a notebook that no power cut reaches."""

    def __init__(self) -> None:
        self.records: dict[int, bytes] = {}  # whose append returned
        self.pending: tuple[int, bytes] | None = None  # whose append did not
        self.acked: set[int] = set()
        self.samples: dict[int, int] = {}  # sample -> record that has it
        self.spooled: list[int] = []  # samples of the open batch whose add returned
        self.adding = -1
        self.boots: list[int] = []
        self.intervals = [INTERVALS[0]]  # what may be in force
        self.next_sample = 0
        self.evicted = 0

    def boot(self) -> None:
        if identity.load(ROOT) is None:
            identity.save(ROOT, 7, KEY)
        self.boots.append(-1)
        self.boots[-1] = identity.next_boot(ROOT)
        self.settings = Settings(ROOT)
        self.journal = Journal(ROOT, CAPACITY, self.lead, SEGMENT)
        self.spool = Spool(ROOT)
        self.rows = array("i", [0] * WIDTH * BATCH)

    def lead(self) -> None:
        self.store(b"channels", 3)

    def store(self, body: bytes, priority: int) -> int:
        seq: int = self.journal.next_seq
        frame = b"%d:" % seq + body
        self.pending = (seq, frame)
        assert seq not in self.records, "seq reused"
        assert self.journal.append(frame, len(frame), priority) == seq
        self.records[seq] = frame
        self.pending = None
        self.evicted = self.journal.evicted
        return seq

    def take(self) -> None:
        """One sample, and its batch's record when it is full."""
        i = self.next_sample
        at = len(self.spooled)
        for c in range(WIDTH):
            self.rows[at * WIDTH + c] = sample(i)[c]
        if not at:
            self.spool.begin((self.boots[-1], i * 60), 60, 1, WIDTH)
        self.adding = i
        self.next_sample = i + 1
        self.spool.add(self.rows, at)
        self.spooled.append(i)
        self.adding = -1
        if len(self.spooled) == BATCH:
            self.seal(2)

    def seal(self, priority: int) -> None:
        seq = self.journal.make_room(200)
        self.spool.seal(seq)
        body = b"samples" + b"".join([b",%d" % i for i in self.spooled]) + b"." * 160
        assert self.store(body, priority) == seq
        for i in self.spooled:
            self.samples[i] = seq
        self.spooled = []

    def event(self, body: bytes) -> None:
        self.journal.make_room(60)
        self.store(body, 3)

    def ack(self, first: int, last: int) -> None:
        self.journal.ack(first, last)
        for seq in range(first, last + 1):
            self.acked.add(seq)

    def life(self) -> None:
        """A script: samples, acks, settings, rotations, evictions of held and of unheld segments."""
        for turn in range(64):
            for _ in range(BATCH):
                self.take()
            if turn in SETTINGS_TURNS:
                k = SETTINGS_TURNS.index(turn) + 1
                self.intervals = [INTERVALS[k - 1], INTERVALS[k]]
                self.settings.change({"sample_interval_s": INTERVALS[k]})
                self.intervals = [INTERVALS[k]]
            if turn in (9, 14):
                self.ack(1, self.journal.newest)
            if turn % 7 == 3:
                self.event(b"event %d" % turn)
            loss = self.journal.loss()
            if loss is not None:
                self.event(b"lost %d %d %d" % loss)
                self.journal.loss_told()


def verify(old: Node) -> "tuple[Node, int]":
    """Boot from what is left, and compare with the notebook. Returns the new node and how many samples were lost."""
    node = Node()
    node.boot()
    boots = [b for b in old.boots if b >= 0]
    assert not boots or node.boots[0] > boots[-1], "boot fell"
    assert not node.settings.lost, "settings lost"
    assert node.settings.sample_interval_s in old.intervals, "settings mixed"
    journal = node.journal
    assert not journal.torn, "segment torn"
    assert not journal.corrupt, "record corrupt"
    out = bytearray(1024)
    missing = 0
    for seq in sorted(old.records):
        n = journal.read(seq, out)
        if n:
            assert bytes(out[:n]) == old.records[seq], "wrong frame"
        elif seq not in old.acked:
            missing += 1
    # What is gone without having been held is just what the journal says that it evicted.
    assert missing == journal.evicted, (missing, journal.evicted)
    newest = max(old.records) if old.records else 0
    assert journal.next_seq > newest, "seq falls"
    if journal.next_seq > newest + 1:
        assert old.pending is not None, "a record from nowhere"
        assert old.pending[0] == newest + 1 == journal.next_seq - 1, "seq jumps"
        n = journal.read(newest + 1, out)
        assert bytes(out[:n]) == old.pending[1], "wrong pending frame"
    return node, check_spool(old, node, out)


def check_spool(old: Node, node: Node, out: bytearray) -> int:
    """Every sample whose add returned is in a record or in the salvaged batch."""
    rows = array("i", [0] * WIDTH * SALVAGED_N)
    found = node.spool.salvage(rows)
    salvaged: list[int] = []
    if found is not None and not (found.seq >= 0 and node.journal.read(found.seq, out)):
        first = rows[0] - 2000
        salvaged = list(range(first, first + found.n))
        for k in range(found.n):
            assert [rows[k * WIDTH + c] for c in range(WIDTH)] == sample(first + k), "wrong row"
        for i in salvaged:
            assert i not in old.samples, "sample twice"
    lost = 0
    pending = old.pending[0] if old.pending is not None else -1
    for i in old.spooled:
        in_pending = pending >= 0 and node.journal.read(pending, out) > 0
        if i not in salvaged and not in_pending:
            lost += 1
    return lost


def go_on(node: Node) -> None:
    """The node works after the cut."""
    for i in range(3):
        node.event(b"after %d" % i)
        for _ in range(BATCH):
            node.take()
    out = bytearray(1024)
    for seq in node.records:
        n = node.journal.read(seq, out)
        assert bytes(out[:n]) == node.records[seq], "wrong frame after"


def mount(flash: Flash) -> None:
    vfs.mount(vfs.VfsLfs2(flash, progsize=PROGRAM), ROOT)


def cut_boots(flash: Flash, boots: "list[int]") -> int:
    """Cut the boot at its first operation, the next one at its second, until one is through; return how many."""
    cuts = 0
    while True:
        power = flash.survivor(cuts)
        node = Node()
        try:
            mount(power)
            node.boot()
        except (OSError, JournalError, SlotError):
            pass
        vfs.umount(ROOT)
        cut, power.dead = power.dead, True  # what is collected later must not reach the flash
        boots.extend([b for b in node.boots if b >= 0])
        if not cut:
            return cuts
        cuts += 1


def attempt(image: bytes, cut_at: int, again: bool) -> "tuple[bool, str, int]":
    """Whether the cut came, what was wrong, and samples lost."""
    flash = Flash(BLOCKS, bytearray(image), cut_at)
    node = Node()
    try:
        mount(flash)
        node.boot()
        node.life()
    except (OSError, JournalError, SlotError, SpoolError):
        pass
    vfs.umount(ROOT)
    cut, flash.dead = flash.dead, True
    if cut and again:
        cut_boots(flash, node.boots)
    survivor = flash.survivor()
    mount(survivor)
    try:
        after, lost = verify(node)
        go_on(after)
        return cut, "", lost
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the finding
        return cut, repr(error), 0
    finally:
        vfs.umount(ROOT)
        survivor.dead = True
        gc.collect()


def rehearse(image: bytes) -> "dict[str, int]":
    """The script without a cut: what it goes through, so that the test knows what it covers."""
    flash = Flash(BLOCKS, bytearray(image))
    mount(flash)
    node = Node()
    node.boot()
    node.life()
    told = sum(1 for frame in node.records.values() if b"lost" in frame)
    leads = sum(1 for frame in node.records.values() if b"channels" in frame)
    vfs.umount(ROOT)
    return {"evicted": node.evicted, "told": told, "segments": leads, "operations": flash.operations}


def main(first: int, step: int, again: bool) -> None:
    flash = Flash(BLOCKS)
    vfs.VfsLfs2.mkfs(flash, progsize=PROGRAM)
    image = bytes(flash.data)
    script = rehearse(image)
    cuts = lost = 0
    wrong: list[tuple[int, str]] = []
    at = first
    while len(wrong) < 3:
        cut, fault, gone = attempt(image, at, again)
        if not cut:
            break
        cuts += 1
        lost += gone
        if fault:
            wrong.append((at, fault))
        at += step
    print(json.dumps({"cuts": cuts, "lost": lost, "wrong": wrong, "script": script}))


main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]) > 0)
