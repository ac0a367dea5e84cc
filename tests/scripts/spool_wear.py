"""Days of samples through the spool and the journal on littlefs, and the flash's operations. Runs in MicroPython; argv:
CSV, program size of littlefs, samples to a record, days."""

import json
import sys
from array import array

import vfs  # type: ignore[import-not-found]

from fakes.cut_flash import Flash
from wayside_node import files
from wayside_node.journal import Journal
from wayside_node.spool import MISSING, Spool

DAY = 1440
ROOT = "/flash/data"
SCALES = (100, 10, 10, 10, 1, 1)
WIDTH = len(SCALES)
FRAME = 85  # bytes of a sealed record of twelve samples, as measured on the same recording


def steps(text: str, scale: int) -> int:
    return int(float(text) * scale + 0.5) if text else MISSING


def samples(path: str) -> "list[list[int]]":
    rows: list[list[int]] = []
    with open(path) as f:
        f.readline()
        while len(rows) < DAY:
            fields = f.readline().strip().split(",")[1:]
            rows.append([steps(field, scale) for field, scale in zip(fields, SCALES)])  # noqa: B905
    return rows


def main(path: str, program_bytes: int, batch: int, days: int) -> None:
    flash = Flash(352)
    vfs.VfsLfs2.mkfs(flash, progsize=program_bytes)
    vfs.mount(vfs.VfsLfs2(flash, progsize=program_bytes), "/flash")
    files.make_folder(ROOT)
    spool = Spool(ROOT)
    journal = Journal(ROOT, 640 * 1024)
    flat = array("i", [0] * WIDTH * 255)
    frame = bytearray(1024)
    spooled = 0
    start = flash.erases
    rows = samples(path)
    for k in range(DAY * days):
        row = rows[k % DAY]
        i = k % batch
        for c in range(WIDTH):
            flat[i * WIDTH + c] = row[c]
        before = flash.erases
        if not i:
            spool.begin(1700000000 + k * 60, 60, 1, WIDTH)
        spool.add(flat, i)
        if i == batch - 1:
            seq = journal.make_room(FRAME)
            spool.seal(seq)
            spooled += flash.erases - before
            journal.append(frame, FRAME, 2)
        else:
            spooled += flash.erases - before
    found = {
        "samples": DAY * days,
        "erases": flash.erases - start,
        "erases_of_spool": spooled,
        "programs": flash.programs,
        "programmed_bytes": flash.programmed_bytes,
        "worst_block": max(flash.wear),
    }
    print(json.dumps(found))


main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
