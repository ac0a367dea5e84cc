"""Fills a journal with COUNT records of LENGTH bytes, boots it again, and measures: heap that the journal keeps, CPU
time and flash reads of recovery, garbage of an append and of a read. Runs in MicroPython, on a host's folder or, with
`flash`, on littlefs in memory (then the heap is large). argv: FOLDER|flash COUNT LENGTH CAPACITY."""

import gc
import json
import sys
import time

from wayside_node.journal import Journal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Make = Callable[[], Journal]
    Step = Callable[[], None]


def held_heap(make: "Make") -> "tuple[Journal, int]":
    """What `make` returns, and the heap that it keeps."""
    gc.collect()
    before = gc.mem_alloc()  # type: ignore[attr-defined]
    made = make()
    gc.collect()
    return made, gc.mem_alloc() - before  # type: ignore[attr-defined]


def fill(journal: Journal, frame: bytearray, count: int, length: int) -> None:
    for _ in range(count):
        seq = journal.make_room(length)
        frame[0] = seq & 0xFF
        frame[1] = seq >> 8 & 0xFF
        journal.append(frame, length, 2)


def garbage(step: "Step", times: int) -> float:
    """Bytes that one call of `step` leaves, averaged."""
    gc.collect()
    gc.disable()
    before: int = gc.mem_alloc()  # type: ignore[attr-defined]
    for _ in range(times):
        step()
    after: int = gc.mem_alloc()  # type: ignore[attr-defined]
    gc.enable()
    return (after - before) / times


def drain(journal: Journal, out: bytearray, length: int) -> int:
    """Read everything, the oldest and the newest in turn, and ack it; return how many came."""
    count = 0
    while True:
        seq = journal.unacked(-1, count & 1 == 1)
        if seq < 0:
            return count
        assert journal.read(seq, out) == length
        assert out[0] | out[1] << 8 == seq & 0xFFFF
        journal.ack(seq, seq)
        count += 1


def main(where: str, count: int, length: int, capacity: int) -> None:
    flash = None
    root = where
    if where == "flash":
        import vfs  # type: ignore[import-not-found]

        from fakes.cut_flash import Flash

        flash = Flash(352)
        vfs.VfsLfs2.mkfs(flash)
        vfs.mount(vfs.VfsLfs2(flash), "/data")
        root = "/data"
    frame, out = bytearray(1024), bytearray(1024)
    journal = Journal(root, capacity)
    fill(journal, frame, count, length)
    found = {"kept": journal.newest - journal.oldest + 1, "evicted": journal.evicted, "bytes": journal.used_bytes}
    if flash is not None:
        found["erases"] = flash.erases
        found["worst_block"] = max(flash.wear)
        reads, read_bytes = flash.reads, flash.read_bytes
    journal = None
    began = time.clock()  # type: ignore[attr-defined]
    journal, found["heap"] = held_heap(lambda: Journal(root, capacity))
    found["recovery_us"] = int((time.clock() - began) * 1e6)  # type: ignore[attr-defined]
    if flash is not None:
        found["recovery_reads"] = flash.reads - reads
        found["recovery_read_bytes"] = flash.read_bytes - read_bytes
    found["waiting"] = journal.waiting
    found["drained"] = drain(journal, out, length)
    first = journal.oldest

    def read_next() -> None:
        nonlocal first
        journal.read(first, out)
        first += 1

    def append_next() -> None:
        journal.append(frame, length, 2)

    found["read_garbage"] = garbage(read_next, 50)
    journal.make_room(1024)
    found["append_garbage"] = garbage(append_next, 10)
    print(json.dumps(found))


main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
