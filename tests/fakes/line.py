"""A serial line in virtual time between a node and a gateway, with what lines do to bytes, all drawn from a seed."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

BYTES_PER_S = 11_520
"""115,200 baud, 8N1."""
IN_TURN_S = 1e-6
"""Between two pieces that must not change places: timers of the same moment may."""
BURST_BYTES = 60
CUT_S = 30.0
"""How long a cut lasts."""


@dataclass(frozen=True)
class Damage:
    """What a line does. Probabilities are of a chunk, or of a whole frame where `frames`."""

    chunk: tuple[int, int] = (64, 64)
    """Sizes of the pieces that arrive together, drawn between these."""
    frames: bool = False
    """Pieces are whole frames, as on a link of datagrams."""
    lose: float = 0.0
    burst: float = 0.0
    """Part of all bytes that is lost, in runs. (Independently lost, 10 % would spare no frame.)"""
    flip: float = 0.0
    """One bit of the piece is turned."""
    repeat: float = 0.0
    overtake: float = 0.0
    """The piece is held back, so that later ones arrive before it."""
    garbage: float = 0.0
    """Random bytes come in before the piece, with or without a zero at their end."""
    cut_every_s: float = 0.0
    """On average; then nothing passes for CUT_S."""
    delay_s: tuple[float, float] = (0.001, 0.005)


PERFECT = Damage()


class Way:
    """One direction. `send` bytes; they come out of `deliver` later, or not. `damage` may be changed at any time."""

    def __init__(self, loop: asyncio.AbstractEventLoop, rng: Random, damage: Damage) -> None:
        self.damage = damage
        self.deliver: Callable[[bytes], None] | None = None
        self.sent = self.lost = 0
        self._loop = loop
        self._rng = rng
        self._held = bytearray()
        self._free_s = 0.0
        self._last_s = 0.0
        self._burst_left = 0

    def send(self, data: bytes) -> None:
        self.sent += len(data)
        self._held += data
        if self.damage.frames:
            self._send_frames()
            return
        low, high = self.damage.chunk
        while self._held:
            size = self._rng.randint(low, high)
            self._pass(bytes(self._held[:size]))
            del self._held[:size]

    def _send_frames(self) -> None:
        while True:
            end = self._held.find(0, 1)
            if end < 0:
                return
            piece = bytes(self._held[: end + 1])
            del self._held[: end + 1]
            if len(piece) > 2:
                self._pass(b"\0" + piece.strip(b"\0") + b"\0")

    def _pass(self, piece: bytes) -> None:
        rng, damage = self._rng, self.damage
        now_s = self._loop.time()
        self._free_s = max(self._free_s, now_s) + len(piece) / BYTES_PER_S
        at_s = self._free_s + rng.uniform(*damage.delay_s)
        if rng.random() < damage.garbage:
            self._come(rng.randbytes(rng.randrange(1, 300)) + rng.choice((b"", b"\0")), at_s)
        if rng.random() < damage.lose:
            self.lost += len(piece)
            return
        piece = self._burst(piece)
        if piece and rng.random() < damage.flip:
            at = rng.randrange(len(piece))
            piece = piece[:at] + bytes([piece[at] ^ 1 << rng.randrange(8)]) + piece[at + 1 :]
        if rng.random() < damage.overtake:
            at_s += rng.uniform(0.02, 0.5)
        else:
            at_s = self._last_s = max(at_s, self._last_s + IN_TURN_S)
        if not piece:
            return
        self._come(piece, at_s)
        while rng.random() < damage.repeat:
            self._come(piece, at_s + rng.choice((0.0, rng.uniform(0.0, 3.0))))

    def _burst(self, piece: bytes) -> bytes:
        """What is left of it after losses in runs of BURST_BYTES on average."""
        if not self.damage.burst:
            return piece
        begin = self.damage.burst / BURST_BYTES
        out = bytearray()
        for byte in piece:
            if not self._burst_left and self._rng.random() < begin:
                self._burst_left = self._rng.randint(1, 2 * BURST_BYTES)
            if self._burst_left:
                self._burst_left -= 1
                self.lost += 1
            else:
                out.append(byte)
        return bytes(out)

    def _come(self, data: bytes, at_s: float) -> None:
        self._loop.call_at(at_s, self._arrive, data)

    def _arrive(self, data: bytes) -> None:
        if self.deliver is not None:
            self.deliver(data)
        else:
            self.lost += len(data)


class Line:
    """Both directions. While cut, what arrives is lost. `plugged`: somebody holds the gateway's end."""

    def __init__(self, loop: asyncio.AbstractEventLoop, rng: Random, damage: Damage) -> None:
        self.up = Way(loop, rng, damage)
        self.down = Way(loop, rng, damage)
        self._loop = loop
        self._rng = rng
        self.is_cut = False
        self.cuts = 0
        self.ears: dict[Way, Callable[[bytes], None] | None] = {self.up: None, self.down: None}
        self.up.deliver = lambda data: self._hand(self.up, data)
        self.down.deliver = lambda data: self._hand(self.down, data)

    def _hand(self, way: Way, data: bytes) -> None:
        ear = self.ears[way]
        if ear is None or self.is_cut:
            way.lost += len(data)
        else:
            ear(data)

    async def misbehave(self) -> None:
        """Cut the line now and then, for ever."""
        every_s = self.up.damage.cut_every_s
        while every_s:
            await asyncio.sleep(self._rng.expovariate(1 / every_s))
            self.is_cut = True
            self.cuts += 1
            await asyncio.sleep(CUT_S)
            self.is_cut = False

    def mend(self) -> None:
        """Perfect from now on."""
        self.is_cut = False
        self.up.damage = self.down.damage = PERFECT


LINES: Sequence[tuple[str, Damage]] = (
    ("perfect", PERFECT),
    ("bytewise", Damage(chunk=(1, 1))),
    ("ragged", Damage(chunk=(1, 200))),
    ("10 % of chunks lost", Damage(chunk=(16, 64), lose=0.1)),
    ("10 % of frames lost", Damage(frames=True, lose=0.1)),
    ("10 % of bytes lost", Damage(burst=0.1)),
    ("bits turned", Damage(flip=0.1)),
    ("repeated", Damage(frames=True, repeat=0.4)),
    ("overtaking", Damage(frames=True, overtake=0.3)),
    ("cut for 30 s", Damage(cut_every_s=120)),
    ("garbage between frames", Damage(frames=True, garbage=0.5)),
    ("garbage between chunks", Damage(chunk=(40, 64), garbage=0.05)),
    ("slow", Damage(delay_s=(0.2, 1.5))),
    ("all of it", Damage(frames=True, lose=0.1, flip=0.05, repeat=0.2, overtake=0.2, garbage=0.2, cut_every_s=300)),
)
"""The lines that the behaviour suite runs over."""
