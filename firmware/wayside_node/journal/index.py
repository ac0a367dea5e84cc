"""What segments there are: for each its first and last seq and the highest priority in it, in order of seq."""

from array import array


class Index:
    """Preallocated for `most` segments. The one that grows, if any, is the last: its `last` grows with it."""

    def __init__(self, most):
        self.most = most
        self.count = 0
        self.first = array("I", [0] * most)
        self.last = array("I", [0] * most)
        self.priority = bytearray(most)

    def add(self, first, last, priority):
        """A segment after all others; last is first - 1 while it is empty."""
        at = self.count
        self.first[at] = first
        self.last[at] = last
        self.priority[at] = priority
        self.count = at + 1

    def remove(self, at):
        self.count -= 1
        for i in range(at, self.count):
            self.first[i] = self.first[i + 1]
            self.last[i] = self.last[i + 1]
            self.priority[i] = self.priority[i + 1]

    def find_first(self, first):
        """The segment that begins with this seq, or -1."""
        for i in range(self.count):
            if self.first[i] == first:
                return i
        return -1

    def find(self, seq):
        """Which segment holds seq, or -1."""
        low, high = 0, self.count - 1
        while low <= high:
            mid = (low + high) >> 1
            if seq < self.first[mid]:
                high = mid - 1
            elif seq > self.last[mid]:
                low = mid + 1
            else:
                return mid
        return -1
