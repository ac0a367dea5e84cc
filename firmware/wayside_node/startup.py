"""What a boot does before the tasks begin: save what the last boot left open, then say who is there.

Order matters: an open batch belongs to the set that was in force when it was taken, so it is sealed before the new
set is defined; and the boot event comes before all other records of this boot.
"""

import struct
from array import array

from wayside_node.journal import JournalError
from wayside_node.seal import advance
from wayside_node.slots import SlotError, Slots
from wayside_node.watchdog import REBOOT, WATCHDOG
from wayside_protocol import event
from wayside_protocol.errors import ProtocolError
from wayside_protocol.frame import parse
from wayside_protocol.limits import FRAME_MAX
from wayside_protocol.record import Samples, decode
from wayside_protocol.session import DONE

FIRST_SET = 1
INT_BYTES = 4
_CHANNEL = "<HB"
_CHANNEL_LEN = 3


class ChannelSet:
    """The set in force: its number and its channels, kept in a slot. A set that changes gets the next number."""

    def __init__(self, root):
        self._slots = Slots(root, "set")
        stored = self._slots.load()
        self.set_id = 0
        self.channels = ()
        if stored and len(stored) > 4:
            self.set_id = struct.unpack_from("<I", stored)[0]
            self.channels = tuple(
                [struct.unpack_from(_CHANNEL, stored, at) for at in range(4, len(stored), _CHANNEL_LEN)]
            )

    def become(self, channels):
        """These channels from now on; their number is on flash when this returns, as far as flash works."""
        if channels == self.channels:
            return
        self.set_id = self.set_id + 1 if self.set_id else FIRST_SET
        self.channels = channels
        value = struct.pack("<I", self.set_id)
        for quantity, place in channels:
            value += struct.pack(_CHANNEL, quantity, place)
        try:
            self._slots.save(value)
        except SlotError:
            pass  # the next boot defines it again, under the same number or the next


def rows_journaled(found, journal, opener):
    """How many rows of an open batch are in the journal already, as the record that it was about to become."""
    if not 0 <= found.seq < journal.next_seq:
        return 0
    frame = bytearray(FRAME_MAX)
    n = journal.read(found.seq, frame)
    if not n:
        return found.n  # it was there, and its loss is told by its number
    try:
        body = decode(opener.open(parse(bytes(frame[:n]))))
    except ProtocolError:
        return found.n
    if not isinstance(body, Samples):
        return 0  # the flash refused the batch, and another record got the number
    if isinstance(body.t, int) != isinstance(found.t, int):
        return found.n
    passed_s = body.t - found.t if isinstance(body.t, int) else body.t[1] - found.t[1]
    return passed_s // found.interval_s + body.n


def salvage(spool, recorder, journal, opener):
    """Seal what was open when the power went, with its own time; return how many samples that saved."""
    width = len(recorder.quantities)
    rows = array("i", bytes(INT_BYTES * spool.stored_bytes()))
    found = spool.salvage(rows)
    if found is None or found.width != width:
        return 0
    done = rows_journaled(found, journal, opener)
    left = found.n - done
    if left <= 0:
        return 0
    t = advance(found.t, done * found.interval_s)
    try:
        return recorder.samples(t, found.interval_s, left, memoryview(rows)[done * width : found.n * width], spool)
    except JournalError:
        recorder.failed += 1
        return 0


def begin(root, spool, recorder, journal, opener, channels):
    """Salvage, then define the set. Returns the samples saved."""
    channel_set = ChannelSet(root)
    if channel_set.set_id:
        recorder.define(channel_set.set_id, channel_set.channels)
    saved = salvage(spool, recorder, journal, opener)
    channel_set.become(channels)
    recorder.define(channel_set.set_id, channels)
    return saved


def recall(reset_cause, orders):
    """The reboot of a boot ago was ordered: whoever asks for it again is answered, and it is not done again."""
    if reset_cause.kind == REBOOT:
        orders.remember(reset_cause.gateway, reset_cause.order, DONE)


def announce(recorder, boot, cause, firmware, reset_cause, settings):
    """The events of a boot, and the channels record."""
    if reset_cause.kind:
        cause = event.CAUSE_WATCHDOG if reset_cause.kind == WATCHDOG else event.CAUSE_SOFT
    recorder.event(event.BOOT, (boot, cause, firmware))
    if reset_cause.kind == WATCHDOG:
        recorder.event(event.CRASH, (reset_cause.task, "late by " + str(reset_cause.late_ms) + " ms", ""))
    if settings.lost:
        recorder.event(event.SETTINGS, (settings.version, "lost"))
    try:
        recorder.channels()
    except JournalError:
        recorder.failed += 1
    reset_cause.told()
