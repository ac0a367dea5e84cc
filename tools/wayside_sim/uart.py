"""A serial port: two buffers and a wire that takes its time.

What the board writes arrives at the other end when it has been on the wire, so a power cut stops a frame midway. What
the other end sends is in the receive buffer when its last bit is; what does not fit is lost, and counted. A USB port
has the same two buffers, but what does not fit waits on the other side (`holds`).
"""

from collections.abc import Callable

from wayside_sim.world import Event, World

CHUNK = 32
"""Bytes the wire hands over at once: the grain of time at the other end."""


class Uart:
    """`sink` gets what the board sent; `on_ready` is called when there is something to read or room to write.

    `break_char` is the byte that calls `on_break` instead of being received, -1 for none.
    """

    def __init__(self, world: World, on_ready: Callable[[], None], *, holds: bool = False) -> None:
        self._world = world
        self._on_ready = on_ready
        self._holds = holds
        self.break_char = -1
        self.on_break: Callable[[], None] | None = None
        self.sink: Callable[[bytes], None] | None = None
        self.lost_in = 0
        self._rx_free_us = 0
        self._event: Event | None = None
        self.close()

    def close(self) -> None:
        """The chip was reset or lost its power: what was in its buffers is gone."""
        self.is_open = False
        self._byte_us = 0.0
        self._tx = bytearray()
        self._rx = bytearray()
        self._held = bytearray()
        self._tx_size = 0
        self._rx_size = 0
        self._tx_from_us = 0.0
        if self._event is not None:
            self._event.cancelled = True
            self._event = None

    def open(self, baud: int, bits: int, tx_size: int, rx_size: int) -> None:
        self.is_open = True
        self._byte_us = bits * 1e6 / baud
        self._tx_size = tx_size
        self._rx_size = rx_size

    @property
    def readable(self) -> bool:
        return bool(self._rx)

    @property
    def writable(self) -> bool:
        return self.is_open and len(self._tx) < self._tx_size

    @property
    def waiting(self) -> int:
        """Bytes that can be read."""
        return len(self._rx)

    def write(self, data: bytes) -> int:
        """The board writes; returns how many bytes fitted into the transmit buffer."""
        self._settle()
        taken = data[: max(0, self._tx_size - len(self._tx))]
        self.inject(taken)
        return len(taken)

    def inject(self, data: bytes) -> None:
        """Put bytes on the wire however full the buffer is: what the chip itself prints."""
        if not data or not self._byte_us:
            return
        if not self._tx:
            self._tx_from_us = float(self._world.now_us)
        self._tx += data
        self._schedule()

    def read(self, size: int) -> bytes:
        data = bytes(self._rx[:size])
        del self._rx[:size]
        if self._held:
            held, self._held = bytes(self._held), bytearray()
            self._arrive(held)
        return data

    def drain_us(self) -> int:
        """How long until all that was written is on the other side."""
        self._settle()
        return int(len(self._tx) * self._byte_us) + 1 if self._tx else 0

    def feed(self, data: bytes) -> None:
        """The other end sends."""
        if not self._world.virtual or not self.is_open:
            self._arrive(data)
            return
        for at in range(0, len(data), CHUNK):
            part = data[at : at + CHUNK]
            start = max(self._rx_free_us, self._world.now_us)
            self._rx_free_us = int(start + len(part) * self._byte_us)
            self._world.at(self._rx_free_us, lambda part=part: self._arrive(part))  # type: ignore[misc]

    def _arrive(self, data: bytes) -> None:
        if self.break_char >= 0 and self.break_char in data and self.on_break is not None:
            data = data.replace(bytes([self.break_char]), b"")
            self.on_break()
        room = max(0, self._rx_size - len(self._rx)) if self.is_open else 0
        if self._holds and self.is_open:
            self._held += data[room:]
        else:
            self.lost_in += max(0, len(data) - room)
        self._rx += data[:room]
        if self._rx:
            self._on_ready()

    def _schedule(self) -> None:
        if self._event is None and self._tx:
            due = self._tx_from_us + min(CHUNK, len(self._tx)) * self._byte_us
            self._event = self._world.at(int(due) + 1, self._turn)

    def _turn(self) -> None:
        self._event = None
        self._settle()
        self._schedule()
        self._on_ready()

    def _settle(self) -> None:
        sent = min(len(self._tx), int((self._world.now_us - self._tx_from_us) / self._byte_us)) if self._tx else 0
        if sent <= 0:
            return
        data = bytes(self._tx[:sent])
        del self._tx[:sent]
        self._tx_from_us += sent * self._byte_us
        if self.sink is not None:
            self.sink(data)
