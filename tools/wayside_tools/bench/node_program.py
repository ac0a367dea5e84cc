"""Runs under MicroPython with the protocol as .mpy files: the work a node does for each batch, over and over.

Arguments: the file of samples, channels, samples in a batch, rounds, and `garbage`, `fill` or `seal`.
"""

# mypy: ignore-errors
import gc
import sys
import time
from array import array

from wayside_protocol import columns_encoder, record
from wayside_protocol.cbor import Writer
from wayside_protocol.frame import Sealer
from wayside_protocol.limits import FRAME_MAX, PLAIN_MAX

QUANTITIES = (1, 2, 3, 4, 5, 6)
NODE = 1001


class Bench:
    """The batches, and one node's buffers."""

    def __init__(self, path, width, size):
        self.width = width
        self.size = size
        self.batch = array("i", [0] * (width * size))
        with open(path, "rb") as file:
            data = file.read()
        self.samples = array("i", data)
        self.batches = len(self.samples) // (width * size)
        self.coded = bytearray(PLAIN_MAX)
        self.plain = bytearray(PLAIN_MAX)
        self.frame = bytearray(FRAME_MAX)
        self.writer = Writer(self.plain)
        self.sealer = Sealer(b"wayside bench 16")
        self.seq = 70000
        self.bytes = 0

    def fill(self, index):
        batch = self.batch
        samples = self.samples
        at = index * self.width * self.size
        for i in range(self.width * self.size):
            batch[i] = samples[at + i]

    def seal(self):
        writer = self.writer
        end = columns_encoder.encode(self.coded, 0, QUANTITIES, self.batch, self.size)
        writer.pos = 0
        record.encode_samples(writer, 1700000000, 60, 1, self.size, self.coded, end)
        self.seq += 1
        self.bytes += self.sealer.record(self.frame, NODE, self.seq, self.plain, writer.pos)

    def run(self, rounds, work):
        for _ in range(rounds):
            for index in range(self.batches):
                self.fill(index)
                if work:
                    self.seal()


def main(path, width, size, rounds, what):
    bench = Bench(path, int(width), int(size))
    bench.run(1, True)  # what is made once is made now
    bench.bytes = 0
    gc.collect()
    if what == "garbage":
        gc.disable()
        before = gc.mem_alloc()
        bench.run(1, False)
        between = gc.mem_alloc()
        bench.run(1, True)
        after = gc.mem_alloc()
        print(after - between - (between - before), bench.batches, bench.bytes, gc.mem_free())
        return
    start = time.ticks_us()
    bench.run(int(rounds), what == "seal")
    print(time.ticks_diff(time.ticks_us(), start), bench.batches * int(rounds), bench.bytes, gc.mem_free())


main(*sys.argv[1:])
