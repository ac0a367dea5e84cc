"""A small value on flash that survives a write cut at any byte: the last good one, never a mixture.

Two files hold it in turn. A write replaces the older one and is synced and read back before it counts; a read
takes the valid one of the higher generation. Layout of a slot, little-endian:

    magic 4 | generation 4 | length 2 | value | CRC-32 of all before it 4
"""

import struct
from binascii import crc32

from wayside_node import files

MAGIC = b"WSS1"
HEAD = 10
VALUE_MAX = 1024
"""Bytes of one value: bounds what a damaged length can make a read allocate."""
GENERATION_MASK = 0xFFFFFFFF


class SlotError(Exception):
    """A value could not be stored: the old one is still in force."""

    def __init__(self, reason):
        super().__init__(reason)
        self.reason = reason


class Slots:
    """One named value. `load` once at boot, then `save`.

    `generation` counts the writes ever made, `damaged` the slots that the last load found unreadable.
    """

    def __init__(self, root, name):
        self._paths = (root + "/" + name + ".0", root + "/" + name + ".1")
        self._newer = 1
        self.generation = 0
        self.damaged = 0

    def load(self):
        """The value in force; None when there never was one, or no slot can be read (then `damaged` is not 0)."""
        self.damaged = 0
        best = None
        for i in range(2):
            found = self._read(i)
            if found is None:
                continue
            if best is None or found[0] > self.generation:
                self.generation, best = found
                self._newer = i
        return best

    def _read(self, i):
        try:
            with open(self._paths[i], "rb") as f:
                data = f.read(HEAD + VALUE_MAX + 5)
        except OSError:
            return None
        if not data:
            return None  # its making was cut before the first write: no value was ever there
        end = HEAD
        if len(data) >= HEAD + 4 and data[:4] == MAGIC:
            generation, length = struct.unpack_from("<IH", data, 4)
            end += length
            if len(data) == end + 4 and struct.unpack_from("<I", data, end)[0] == crc32(data[:end]):
                return generation, data[HEAD:end]
        self.damaged += 1
        return None

    def save(self, value):
        """Returns once the value is on flash and read back. Raises SlotError; the old value is then in force."""
        if len(value) > VALUE_MAX:
            raise SlotError("slot_too_long")
        older = 1 - self._newer
        generation = self.generation + 1 & GENERATION_MASK
        data = MAGIC + struct.pack("<IH", generation, len(value)) + value
        data += struct.pack("<I", crc32(data))
        try:
            with open(self._paths[older], "wb") as f:
                f.write(data)
                files.sync(f)
        except OSError:
            raise SlotError("slot_write") from None
        if self._read(older) != (generation, value):
            raise SlotError("slot_verify")
        self._newer = older
        self.generation = generation
