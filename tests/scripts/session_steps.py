# Runs in MicroPython: a session up to its first repeat. Arguments: a folder for the journal, the welcome in hex.
import binascii
import json
import os
import sys

from wayside_node.clock import Clock
from wayside_node.downlink import Downlink
from wayside_node.journal import Journal
from wayside_node.orders import Orders
from wayside_node.session import About, Numbers, Session
from wayside_protocol.frame import Opener, Sealer

root, welcome = sys.argv[1:]
key = bytes(range(16))
out = bytearray(1024)
os.mkdir(root)
journal = Journal(root, 8 * 16384)
sealer = Sealer(key)
plain = bytearray(b"\x84\x04\x00\x07\x60")
for _ in range(3):
    journal.append(out, sealer.record(out, 1001, journal.make_room(200), plain, len(plain)), 0)
clock = Clock(1)
clock._advance = lambda: None
session = Session(
    About(1001, 1, "0.1", "test", 3), clock, journal, sealer, Downlink(1001, 1, Opener(key)), Orders(None), Numbers()
)
said = []


def all_at(now):
    clock._s, clock._ms = divmod(now, 1000)
    while True:
        n = session.poll(now, out)
        if not n:
            return
        said.append(binascii.hexlify(out[:n]).decode())


session.link_up(0)
all_at(0)
clock._ms = 20
raw = binascii.unhexlify(welcome)
session.receive(bytearray(raw), len(raw), 20)
all_at(20)
all_at(1020)
print(json.dumps(said))
