"""Who the node is: its number and key, given at provisioning, and the count of its boots."""

import os
import struct

from wayside_node.slots import Slots

KEY_LEN = 16
BOOT_LOST = 1 << 31
"""Boot numbers from here on say that the counter was unreadable: they are above all that were counted."""
BOOT_MAX = 0xFFFFFFFF


def load(root):
    """(node, key), or None when the node was never provisioned or has lost both copies."""
    value = Slots(root, "identity").load()
    if value is None or len(value) != 4 + KEY_LEN:
        return None
    return struct.unpack_from("<I", value)[0], value[4:]


def save(root, node, key):
    """Raises ValueError for a key of another length, SlotError when the flash refuses."""
    if len(key) != KEY_LEN or not 0 <= node <= 0xFFFFFFFF:
        raise ValueError("identity")
    slots = Slots(root, "identity")
    slots.load()
    slots.save(struct.pack("<I", node) + key)


def next_boot(root):
    """Count this boot on flash and return its number, 1 for the first. Raises SlotError.

    A boot number is part of a nonce, so it must never come twice. Where one copy is unreadable it may have been the
    newer one, and a number is skipped; where both are, the next one is drawn from the upper half of the numbers,
    above every boot that was counted.
    """
    slots = Slots(root, "boot")
    value = slots.load()
    if value is not None and len(value) == 4:
        boot = struct.unpack("<I", value)[0] + 1 + slots.damaged
    elif value is None and not slots.damaged:
        boot = 1
    else:
        boot = BOOT_LOST | (struct.unpack("<I", os.urandom(4))[0] >> 1)
    if boot > BOOT_MAX:
        raise OverflowError("boot")
    slots.save(struct.pack("<I", boot))
    if slots.damaged:
        slots.save(struct.pack("<I", boot))  # the copy that is left is two behind: skipping one would not do again
    return boot
