"""The serial line: COBS frames over a UART, or over the USB port that also is the console (SPEC §5).

What the node prints there is noise to the gateway, and what a person types is noise to the node. Output never waits:
a port takes what it can, and a frame that it does not take within STALLED_MS is dropped; its record goes again later.
"""

import asyncio
import sys
from select import POLLIN, POLLOUT, poll

from wayside_node.clock import later, since
from wayside_node.links.base import Link
from wayside_protocol.cobs import LINE_MAX, NodeDeframer, encode_into

CHUNK = 64
"""Bytes given to a port at once: a full-speed USB packet; at 115,200 baud 6 ms."""
RETRY_MS = 5
"""A port whose buffer is full is asked again after so long."""
STALLED_MS = 2_000
"""A computer that holds the port open and does not read. A frame of 1,024 bytes takes 90 ms at 115,200 baud."""
TAKE_MAX = 2048
"""Bytes taken before other tasks have their turn, however fast noise comes in."""
RX_BUFFER = 1024
"""What may come in at 115,200 baud while flash is being erased (90 ms)."""


class ConsolePort:
    """The console: USB on an RP2040, the UART of the USB bridge on an ESP32. Ctrl-C is turned off: it is a byte."""

    def __init__(self):
        import micropython

        micropython.kbd_intr(-1)
        self.stream = sys.stdin.buffer
        self.buf = bytearray(1)  # a read waits until the buffer is full
        self._out = sys.stdout.buffer
        self._in_poll = poll()
        self._in_poll.register(self.stream, POLLIN)
        self._out_poll = poll()
        self._out_poll.register(self._out, POLLOUT)

    def waiting(self):
        """Whether a read would give something at once."""
        for _ in self._in_poll.ipoll(0):
            return True
        return False

    def read(self):
        return self.stream.readinto(self.buf)

    def write(self, view, n):
        """How many of the first n bytes of view the port took, n or 0: it is asked before, as it would wait."""
        for _ in self._out_poll.ipoll(0):
            self._out.write(view, n)
            return n
        return 0


class UartPort:
    """A UART with pins of its own."""

    def __init__(self, number, tx, rx, baud):
        from machine import UART, Pin

        self.buf = bytearray(CHUNK)
        self.stream = UART(
            number, baud, tx=Pin(tx), rx=Pin(rx), txbuf=LINE_MAX + 1, rxbuf=RX_BUFFER, timeout=0, timeout_char=0
        )

    def waiting(self):
        return self.stream.any() > 0

    def read(self):
        return self.stream.readinto(self.buf) or 0

    def write(self, view, n):
        return self.stream.write(view, n) or 0  # pyright: ignore[reportCallIssue] -- as every stream's write


def open_port(serial):
    """The port that a board's profile names as SERIAL."""
    return ConsolePort() if serial == "usb" else UartPort(*serial)


class SerialLink(Link):
    """A session over a port. The line is always up."""

    name = "serial"

    def __init__(self, session, clock, port):
        super().__init__(session, clock)
        self._port = port
        self._deframer = NodeDeframer()
        self._line = bytearray(LINE_MAX)
        self._views = [memoryview(self._line)[at : at + CHUNK] for at in range(0, LINE_MAX, CHUNK)]
        self._at = 0  # of the line, up to here the port has it
        self._end = 0
        self._give_up = 0
        session.link_up(clock.now())

    @property
    def noise_bytes(self):
        return self._deframer.noise_bytes

    def sender(self, now):
        """See `Link`. A frame at a time: between two, other tasks have their turn."""
        if self._at == self._end:
            n = self.session.poll(now, self._out)
            if not n:
                return self.session.wake_ms(now)
            self._at = 0
            self._end = encode_into(self._line, self._out, n)
            self._give_up = later(now, STALLED_MS)
        if self._write():
            return 0
        if since(now, self._give_up) >= 0:
            self.dropped += 1
            self._at = self._end = 0
            return 0
        return RETRY_MS

    def _write(self):
        """Give the port what it takes; return whether it has the whole line."""
        while self._at < self._end:
            view = self._views[self._at // CHUNK]
            skip = self._at % CHUNK
            if skip:
                view = view[skip:]
            n = min(len(view), self._end - self._at)
            taken = self._port.write(view, n)
            self._at += taken
            if taken < n:
                return self._at == self._end
        return True

    async def listen(self, beat):
        """See `Link`."""
        reader = asyncio.StreamReader(self._port.stream)
        buf = self._port.buf
        while True:
            beat.rests()
            n = await reader.readinto(buf) or 0
            now = self._clock.now()
            beat.waits(now, 0)
            frames = self._take(n, now)
            taken = n
            while taken < TAKE_MAX and self._port.waiting():
                n = self._port.read()
                frames += self._take(n, now)
                taken += n
            if frames:
                self.on_input()

    def _take(self, n, now):
        """Feed n bytes of the port's buffer to the deframer; return how many frames they completed."""
        frames = 0
        buf = self._port.buf
        deframer = self._deframer
        for i in range(n):
            length = deframer.push(buf[i])
            if length:
                self.session.receive(deframer.frame, length, now)
                frames += 1
        return frames
