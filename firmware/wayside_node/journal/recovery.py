"""The journal at boot: what is on flash, from the segments' names; only a segment that still grew is read."""

import os
import struct

from wayside_node import files
from wayside_node.journal import segment
from wayside_node.journal.state import RESERVE

LOST_EVICTED, LOST_JOURNAL, LOST_CORRUPT = 1, 2, 3
"""Why a range of seqs will never arrive: the numbers of the protocol's lost event."""
BLIND_FLOOR = 1 << 28
"""Where neither segments nor state can be read, seqs go on from above here: no node counts so far in 500 years."""


class Found:
    """What recovery tells besides the index: `torn` segments, records `corrupt`, seq where to go on, the size of the
    segment to go on in (0: begin a new one)."""

    def __init__(self):
        self.torn = 0
        self.corrupt = 0
        self.next_seq = 1
        self.tail_bytes = 0


def recover(folder, index, state, scratch):
    """Fill the index from the folder and return what was found; `scratch` holds a frame. Raises SlotError, OSError."""
    found = Found()
    names = _segments(folder, state)
    while len(names) > index.most:  # the journal was given less room than it had
        first, last, _, name = names.pop(0)
        state.lose(LOST_EVICTED, first, last)
        files.remove(folder + "/" + name)
    damaged_end = False
    for first, last, priority, name in names:
        if last < 0:
            last, priority, damaged_end = _scan(folder + "/" + name, first, state, found, scratch)
        index.add(first, last, priority)
    _go_on_from(index, state, found, damaged_end)
    for first, last, _, name in names:
        if last < 0:
            _settle(folder, name, index, index.find_first(first), found)
    return found


def _segments(folder, state):
    """(first, last or -1, priority, name) of every segment, in order; finishes an eviction that was cut short."""
    names = []
    for name in os.listdir(folder):
        parsed = segment.parse_name(name)
        if parsed is None:
            continue
        if parsed[0] == state.dropping:
            files.remove(folder + "/" + name)
            continue
        names.append(parsed + (name,))
    names.sort()
    return names


def _scan(path, first, state, found, scratch):
    """(last seq, highest priority, whether bytes at the end are no record) of a segment that still grew."""
    last, priority = first - 1, 0
    with open(path, "rb") as f:
        reader = segment.Reader()
        reader.begin(f, first)
        if reader.end < len(segment.MAGIC):
            return last, 0, reader.end > 0
        while True:
            expected = last + 1
            last_end = reader.pos
            seq = reader.next(scratch)
            if seq < 0:
                break
            if seq > expected:
                state.lose(LOST_CORRUPT, expected, seq - 1)
                found.corrupt += seq - expected
            last = seq
            if reader.flags & segment.LEAD == 0:
                priority = max(priority, reader.flags & segment.PRIORITY)
        torn = last_end != reader.end
    found.torn += torn
    found.tail_bytes = 0 if torn else reader.end
    return last, priority, torn


def _go_on_from(index, state, found, damaged_end):
    """Decide the next seq. Where the end of the journal is missing or damaged, its seqs may have been sent, so that
    numbering goes on above all that were ever reserved."""
    newest = index.count - 1
    after = index.last[newest] + 1 if newest >= 0 else 1
    next_seq = max(after, state.floor)
    if state.lost:
        next_seq = after + 2 * RESERVE if newest >= 0 else BLIND_FLOOR + _random_bits(27)
    elif damaged_end or (index.first[newest] if newest >= 0 else 0) < state.segment:
        next_seq = max(next_seq, state.ceiling)
    if next_seq > max(after, state.floor):
        state.lose(LOST_JOURNAL, max(after, state.floor) if newest >= 0 else 1, next_seq - 1)
        state.floor = next_seq
        state.ceiling = max(state.ceiling, next_seq + RESERVE)
        state.segment = index.first[newest] if newest >= 0 else 0
        state.save()
    if next_seq != after:
        found.tail_bytes = 0
    found.next_seq = next_seq


def _settle(folder, name, index, at, found):
    """A segment that grew is gone on with, or gets its closed name, or goes if nothing is in it."""
    path = folder + "/" + name
    first, last = index.first[at], index.last[at]
    if at == index.count - 1 and found.tail_bytes > 0 and found.next_seq == last + 1:
        return
    if last < first:
        files.remove(path)
        index.remove(at)
        return
    os.rename(path, folder + "/" + segment.name_closed(first, last, index.priority[at]))


def _random_bits(bits):
    return struct.unpack("<I", os.urandom(4))[0] >> (32 - bits)
