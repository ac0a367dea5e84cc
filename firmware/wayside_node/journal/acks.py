"""Which records a gateway holds: one bit a seq, over a window of seqs that moves with the journal."""

_ONES = bytes([bin(i).count("1") for i in range(256)])


class Acks:
    """A ring of bits for the seqs low..high; every seq outside is taken as held. Allocates nothing after its making.

    `waiting` counts the records that are not held. At most `size` seqs fit: the caller moves `low` in time.
    """

    def __init__(self, size):
        self._bytes = (size + 7) // 8
        self.size = self._bytes * 8
        self._bits = bytearray(self._bytes)
        self.low = 1
        self.high = 0
        self.waiting = 0
        self._floor = 1  # no seq below it waits

    def reset(self, low, high):
        """The seqs low..high, none of them held."""
        for i in range(self._bytes):
            self._bits[i] = 0
        self.low = self._floor = low
        self.high = high
        self.waiting = high - low + 1

    def push(self, seq):
        """A new record, not held; seqs between the last one and it were never used."""
        if self.high < self.low:
            self.low = self._floor = seq
        else:
            for unused in range(max(self.high + 1, seq - self.size), seq):
                self._bits[(unused >> 3) % self._bytes] |= 1 << (unused & 7)
        self._bits[(seq >> 3) % self._bytes] &= ~(1 << (seq & 7))
        self.high = seq
        self.waiting += 1

    def drop_below(self, low):
        """Forget the seqs below low."""
        self.mark(self.low, low - 1, True)
        self.low = low
        if self._floor < low:
            self._floor = low

    def mark(self, first, last, held):
        """Set first..last, as far as they are in the window; return how many changed."""
        seq = first if first > self.low else self.low
        if last > self.high:
            last = self.high
        if not held and seq < self._floor:
            self._floor = seq
        changed = 0
        bits = self._bits
        while seq <= last:
            at = (seq >> 3) % self._bytes
            old = bits[at]
            mask = 0xFF << (seq & 7) & 0xFF
            if seq | 7 > last:
                mask &= (2 << (last & 7)) - 1
            new = old | mask if held else old & ~mask
            bits[at] = new
            changed += _ONES[old ^ new]
            seq = (seq | 7) + 1
        self.waiting += -changed if held else changed
        return changed

    def count_waiting(self, first, last):
        """How many of first..last, all in the window, are not held."""
        count = 0
        seq = first
        while True:
            seq = self.next(seq)
            if seq < 0 or seq > last:
                return count
            count += 1
            seq += 1

    def next(self, seq):
        """The lowest seq from `seq` on that waits, or -1."""
        at_floor = seq <= self._floor
        if at_floor:
            seq = self._floor
        bits = self._bits
        high = self.high
        while seq <= high:
            byte = bits[(seq >> 3) % self._bytes]
            if byte == 0xFF:
                seq = (seq | 7) + 1
            elif byte >> (seq & 7) & 1:
                seq += 1
            else:
                break
        if at_floor:
            self._floor = seq if seq <= high else high + 1
        return seq if seq <= high else -1

    def previous(self, seq):
        """The highest seq up to `seq` that waits, or -1."""
        if seq > self.high:
            seq = self.high
        bits = self._bits
        floor = self._floor
        while seq >= floor:
            byte = bits[(seq >> 3) % self._bytes]
            if byte == 0xFF:
                seq = (seq & ~7) - 1
            elif byte >> (seq & 7) & 1:
                seq -= 1
            else:
                return seq
        return -1
