"""What the journal must know even when its segments are gone, kept in a slot.

    version 1, ceiling 4, floor 4, segment 4, dropping 4, evicted 4, told_by 4, told_first 4, losses 1,
    then reason 1, first 4, last 4 of each

`ceiling`: no seq from here on was ever used. `floor`: none below it may be used again, whatever the segments say.
`segment`: first seq of the newest segment made, so that a journal that lost its end is told from one that has it.
`dropping`: first seq of a segment whose eviction is counted and may not be carried out yet. `told_by`: seq of the
newest event that tells of evictions, `told_first`: the first seq that it tells of. `losses`: ranges of seqs that will
never arrive and have not been journaled as events.
"""

import struct

from wayside_node.slots import Slots

RESERVE = 512
"""Seqs reserved at a time: more than a segment holds, so that the slot is written about once a segment."""
LOSSES_MAX = 8
_HEAD = "<BIIIIIIIB"
_LOSS = "<BII"
_VERSION = 1


class State:
    """`lost`: there was a state and it cannot be read, so that not even the ceiling is known."""

    def __init__(self, root):
        self._slots = Slots(root, "journal")
        self.ceiling = 0
        self.floor = 1
        self.segment = 0
        self.dropping = 0
        self.evicted = 0
        self.told_by = 0
        self.told_first = 0
        self.losses = []
        stored = self._slots.load()
        self.lost = stored is None and self._slots.damaged > 0
        if stored is not None:
            self._unpack(stored)
            # The unreadable copy may have been the newer one, with a ceiling one step higher.
            self.ceiling += 2 * RESERVE * self._slots.damaged

    def _unpack(self, stored):
        head = struct.unpack_from(_HEAD, stored)
        if head[0] != _VERSION:
            self.lost = True
            return
        self.ceiling, self.floor, self.segment, self.dropping, self.evicted = head[1:6]
        self.told_by, self.told_first, n = head[6:]
        at = struct.calcsize(_HEAD)
        for _ in range(n):
            self.losses.append(struct.unpack_from(_LOSS, stored, at))
            at += struct.calcsize(_LOSS)

    def save(self):
        """Raises SlotError."""
        stored = struct.pack(
            _HEAD,
            _VERSION,
            self.ceiling,
            self.floor,
            self.segment,
            self.dropping,
            self.evicted,
            self.told_by,
            self.told_first,
            len(self.losses),
        )
        for loss in self.losses:
            stored += struct.pack(_LOSS, *loss)
        self._slots.save(stored)

    def lose(self, reason, first, last):
        """Remember first..last as lost; a range that continues one of the same reason is joined to it."""
        for i, (why, low, high) in enumerate(self.losses):
            if why == reason and first <= high + 1 and last >= low - 1:
                self.losses[i] = (why, min(first, low), max(last, high))
                return
        if len(self.losses) < LOSSES_MAX:
            self.losses.append((reason, first, last))
            return
        # Too many to keep apart: a range says that what is missing inside it is gone, so a wider one is still true.
        why, low, high = self.losses[-1]
        self.losses[-1] = (why, min(first, low), max(last, high))
