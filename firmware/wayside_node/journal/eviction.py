"""Which segment goes when the journal is full."""


def victim(index, acks):
    """The oldest segment that a gateway holds all of; else, of those with the lowest priority, the oldest.

    Never the newest: boot tells by it whether the journal has its end. -1 if there is no other.
    """
    lowest = -1
    for at in range(index.count - 1):
        waits = acks.next(index.first[at])
        if waits < 0 or waits > index.last[at]:
            return at
        if lowest < 0 or index.priority[at] < index.priority[lowest]:
            lowest = at
    return lowest


def last_waiting(index, acks, at):
    """The highest seq of the segment that waits, or -1."""
    seq = acks.previous(index.last[at])
    return seq if seq >= index.first[at] else -1
