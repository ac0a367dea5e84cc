"""The segment files: one that grows, those that are closed, and two readers on them."""

import os

from wayside_node import files
from wayside_node.journal import segment
from wayside_node.journal.index import Index
from wayside_node.journal.segment import HEAD, MAGIC, POINTER_BYTES, Reader


class Segments:
    """Files in `folder`, at most as many as fill capacity_bytes. Methods raise OSError as the flash does."""

    def __init__(self, folder, capacity_bytes, segment_bytes):
        self.folder = folder
        self.index = Index(capacity_bytes // segment_bytes)
        self._segment_bytes = segment_bytes
        self._head = bytearray(HEAD)
        self._readers = (Reader(), Reader())
        self._used = 0  # which reader was used last
        self._file = None  # of the segment that grows
        self._pos = 0
        self._grows = -1  # first seq of the segment that has the name of one that grows

    @property
    def used_bytes(self):
        closed = self.index.count - (self._grows >= 0)
        return closed * self._segment_bytes + self._pos

    def fits(self, n):
        """Whether a frame of n bytes goes into the segment that grows."""
        return self._file is not None and self._pos + HEAD + n <= self._segment_bytes - POINTER_BYTES

    def go_on(self, size):
        """Grow the newest segment of the index further: its file has `size` bytes, all of them right."""
        self._grows = self.index.first[self.index.count - 1]
        self._file = files.unbuffered(self._path_open(self._grows), "a+b")
        self._pos = size

    def begin(self, first):
        """Begin a new segment, after `close`."""
        self._file = files.unbuffered(self._path_open(first), "a+b")
        self._grows = first
        try:
            files.write(self._file, MAGIC, len(MAGIC))
            files.sync(self._file)
        except OSError:
            self.let_go()
            files.remove(self._path_open(first))
            self._grows = -1
            raise
        self._pos = len(MAGIC)
        self.index.add(first, first - 1, 0)

    def close(self):
        """Give the segment that grows its closed name, if there is one; an empty one goes."""
        self.let_go()
        if self._grows < 0:
            return
        at = self.index.count - 1
        first, last = self.index.first[at], self.index.last[at]
        if last < first:
            files.remove(self._path_open(first))
            self.index.remove(at)
        else:
            closed = segment.name_closed(first, last, self.index.priority[at])
            os.rename(self._path_open(first), self.folder + "/" + closed)
        self._grows = -1
        self._pos = 0

    def let_go(self):
        """Write no further to the segment that grows: what was not synced is not there."""
        file = self._file
        if file is None:
            return
        for reader in self._readers:
            if reader.file is file:
                reader.forget()
        self._file = None
        try:
            file.close()
        except OSError:
            pass

    def release(self):
        """Close every file."""
        self.let_go()
        for reader in self._readers:
            self._release(reader)

    def append(self, frame, n, seq, flags):
        """The first n bytes of frame as record seq, on flash when this returns. OSError: the segment grows no more."""
        segment.fill_head(self._head, flags, n, seq, memoryview(frame)[:n])
        try:
            files.write(self._file, self._head, HEAD)
            files.write(self._file, frame, n)
            files.sync(self._file)
        except OSError:
            self.let_go()
            raise
        self._pos += HEAD + n
        tail = self.index.count - 1
        self.index.last[tail] = seq
        priority = flags & segment.PRIORITY
        if not flags & segment.LEAD and priority > self.index.priority[tail]:
            self.index.priority[tail] = priority

    def read(self, seq, out):
        """Length of record seq, its frame in out; 0 if it is not there or not right."""
        at = self.index.find(seq)
        if at < 0:
            return 0
        return self._reader(at).find(seq, out)

    def remove(self, at):
        """Delete a closed segment."""
        first = self.index.first[at]
        for reader in self._readers:
            if reader.first == first:
                self._release(reader)
        os.remove(self._path(at))
        self.index.remove(at)

    def _path_open(self, first):
        return self.folder + "/" + segment.name_open(first)

    def _path(self, at):
        first = self.index.first[at]
        if first == self._grows:
            return self._path_open(first)
        return self.folder + "/" + segment.name_closed(first, self.index.last[at], self.index.priority[at])

    def _reader(self, at):
        """A reader of segment `at`: the one that is on it, else the one that was used longer ago."""
        first = self.index.first[at]
        best = self._used
        if self._readers[best].first != first:
            best = 1 - best
        if self._readers[best].first != first:
            self._release(self._readers[best])
            # One handle for the segment that grows: littlefs gives a second one an old view of the file.
            grows = first == self._grows and self._file is not None
            file = self._file if grows else files.unbuffered(self._path(at), "rb")
            self._readers[best].begin(file, first)
        self._used = best
        reader = self._readers[best]
        if reader.file is self._file:
            reader.end = self._pos
        return reader

    def _release(self, reader):
        file = reader.file
        reader.forget()
        if file is not None and file is not self._file:
            file.close()
