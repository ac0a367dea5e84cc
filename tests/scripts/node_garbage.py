# Runs in MicroPython from .mpy files: what each piece of a node's steady work takes from the heap, in bytes, as JSON.
# Argument: a folder for the node's data. Figures are of a 64-bit port; a board has half of them.
import gc
import json
import os
import struct
import sys

from wayside_node.batch import Batch
from wayside_node.clock import Clock
from wayside_node.downlink import Downlink
from wayside_node.footfall.beams import Beams
from wayside_node.journal import Journal
from wayside_node.links.serial import SerialLink
from wayside_node.orders import Orders
from wayside_node.sampler import Sampler, channels_of
from wayside_node.seal import Recorder
from wayside_node.sensors import bme280
from wayside_node.session import About, Numbers, Session
from wayside_node.spool import Spool
from wayside_node.watchdog import Watchdog
from wayside_protocol.cbor import Writer
from wayside_protocol.frame import Opener, Sealer
from wayside_protocol.session import Welcome, encode_ack, encode_welcome

KEY = bytes(range(16))
NODE = 1001
root = sys.argv[1]
os.mkdir(root)


class Bus:
    """A BME280's registers: Bosch's example of trimming and raw values."""

    def __init__(self):
        self.memory = bytearray(256)
        self.memory[bme280.ID] = bme280.CHIP
        trim = struct.pack(
            "<HhhHhhhhhhhh", 27504, 26435, -1000, 36477, -10685, 3024, 2855, 140, -7, 15500, -14600, 6000
        )
        self.memory[0x88 : 0x88 + len(trim)] = trim
        self.memory[0xA1] = 75
        self.memory[0xE1:0xE8] = bytes((0x6A, 0x01, 0x00, 0x13, 0x23, 0x03, 0x1E))
        self.memory[0xF7:0xFF] = bytes((0x65, 0x5A, 0xC0, 0x7E, 0xED, 0x00, 0x6A, 0x00))

    def readfrom_mem_into(self, address, register, buf):
        for i in range(len(buf)):
            buf[i] = self.memory[register + i]

    def writeto_mem(self, address, register, data):
        pass


class Pin:
    def irq(self, handler, trigger, hard=False):
        pass

    def value(self):
        return 0


class Port:
    """Takes everything at once; gives nothing."""

    buf = bytearray(64)

    def write(self, view, n):
        return n


class Node:
    def __init__(self):
        self.now = 0
        self.clock = Clock(1)
        self.clock._advance = self.advance
        self.journal = Journal(root, 640 * 1024)
        sealer = Sealer(KEY)
        self.recorder = Recorder(NODE, self.clock, self.journal, sealer)
        self.beams = Beams(Pin(), Pin(), 1, 200, 60)
        self.beams.begin(0, 3)
        sensors = (bme280.Bme280(Bus()), self.beams)
        self.recorder.define(1, channels_of(sensors))
        self.batch = Batch(self.clock, self.recorder, Spool(root), 60, 720, 12)
        self.sampler = Sampler(self.clock, self.batch, self.recorder, sensors)
        opener = Opener(KEY, sealer)
        self.session = Session(
            About(NODE, 1, "0.1", "test", 1),
            self.clock,
            self.journal,
            sealer,
            Downlink(NODE, 1, opener),
            Orders(None),
            Numbers(),
        )
        self.link = SerialLink(self.session, self.clock, Port())
        self.watchdog = Watchdog(self.clock, None, None, 8000)
        self.gateway = Sealer(KEY)
        self.said = 0
        self.down = bytearray(1024)

    def advance(self):
        self.clock._now = self.now
        self.clock._s = self.now // 1000
        self.clock._ms = self.now % 1000

    def sample(self):
        """From the slot until it is over: measuring, spooling, and the batch when it is full."""
        self.now = self.sampler._slot
        while True:
            taken = self.sampler.taken
            self.now += self.sampler.step(self.now)
            if self.sampler.taken > taken:
                return

    def downlink(self, writer):
        self.said += 1
        return self.gateway.downlink(self.down, NODE, 1, self.said, 1, writer.buf, writer.pos)


node = Node()
writer = Writer(bytearray(900))


def cost(work, *args):
    """Bytes that a piece of work leaves behind, once all that is made once has been made."""
    gc.collect()
    before = gc.mem_alloc()
    work(*args)
    return gc.mem_alloc() - before


class NoCollector:
    """The sampler's own collection would hide what was left."""

    @staticmethod
    def collect():
        pass


def hear(fill):
    writer.pos = 0
    fill()
    n = node.downlink(writer)
    gc.collect()
    before = gc.mem_alloc()
    node.session.receive(node.down, n, node.now)
    return gc.mem_alloc() - before


sys.modules["wayside_node.sampler"].gc = NoCollector
gc.disable()
for _ in range(36):
    node.sample()
hello = cost(node.link.sender, node.now)
welcome = hear(lambda: encode_welcome(writer, Welcome(node.session._hello_n, 1700000000000, 8, ())))
while node.link.sender(node.now) == 0:
    pass
hear(lambda: encode_ack(writer, ((1, node.journal.newest),)))
plain_samples, batches, frames, acks = [], [], [], []
for _ in range(48):
    newest = node.journal.newest
    used = cost(node.sample)
    (batches if node.journal.newest > newest else plain_samples).append(used)
    if node.journal.newest > newest:
        frames.append(cost(node.link.sender, node.now))
        acks.append(hear(lambda: encode_ack(writer, ((node.journal.newest, node.journal.newest),))))
idle = cost(node.link.sender, node.now)
print(
    json.dumps(
        {
            "sample": max(plain_samples),
            "batch": max(batches) - max(plain_samples),
            "frame": max(frames),
            "ack": max(acks),
            "hello": hello,
            "welcome": welcome,
            "link_idle": idle,
            "beams": cost(node.beams.service, node.now),
            "watchdog": cost(node.watchdog.step, node.now),
            "sampler_idle": cost(node.sampler.step, node.now),
        }
    )
)
