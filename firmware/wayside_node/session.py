"""The node's side of a session over one link: when to say hello, which record goes next. No I/O (SPEC §6).

    state    input                           next     action
    IDLE     link up                         SEEKING  hello now
    SEEKING  hello due                       SEEKING  hello; the next one after a doubled wait
    SEEKING  welcome                         OPEN     window, held, time; hello again in 30 s, later every 600 s
    OPEN     hello due                       OPEN     hello, as the line's keep-alive and the clock's measure
    OPEN     welcome                         OPEN     as above; records given up before are tried again
    OPEN     silence for SILENCE_MS          SEEKING  nothing is in flight any more; hello now
    any      ack                             same     the journal marks its ranges as held
    any      command                         same     applied once, answered
    any      link down                       IDLE     nothing is in flight any more

Rules.
- A welcome counts if it names a hello of this boot; its time is taken only if that is the latest one, once, and within
  RTT_MAX_MS. An older one opens the session all the same: what it says of held records is true for ever.
- Silence is SILENCE_MS without any downlink that opens, after something was sent that asks for one.
- Records go in OPEN only: first what is due again, then the newest and the oldest unacked in turns.
- Numbers of session frames grow within the boot, over all links: `numbers` is shared.
"""

from wayside_node.clock import later, since
from wayside_node.flight import Flight, next_time
from wayside_protocol import VERSION
from wayside_protocol.cbor import Writer
from wayside_protocol.limits import HELD_MAX, PLAIN_MAX
from wayside_protocol.session import Ack, Hello, Welcome, encode_answer, encode_hello

IDLE, SEEKING, OPEN = 0, 1, 2

WINDOW = 8
"""Records in flight at most: at 115,200 baud they fill a round trip of 80 ms, and a gateway may allow fewer."""
HELLO_FIRST_MS = 1_000
"""Wait for a welcome before the second hello; doubled each time."""
HELLO_MAX_MS = 30_000
"""Cap of that: a gateway that starts is met within half a minute."""
HELLO_SECOND_MS = 30_000
"""From the first welcome to the next hello: the shortest baseline that measures the rate (SPEC §2.4)."""
HELLO_EVERY_MS = 600_000
"""Keep-alive, and often enough for a rate known to 0.1 % to keep the clock within 1 s (SPEC §6.1)."""
CLOCK_AIM_MS = 1_000
"""Hello comes earlier than HELLO_EVERY_MS where the clock's bound would pass this, well before a plain time ends."""
RTT_MAX_MS = 2_000
"""A welcome that took longer sets no clock: it may have been held back (SPEC §6.2)."""
UNIX_MAX_MS = 4_102_444_800_000
"""The year 2100: records say seconds in 32 bits, and a gateway beyond it is mistaken."""
SILENCE_MS = 20_000
"""Without an answer for so long the gateway is taken as gone: hellos only, no records, until it is back."""
READS_MAX = 8
"""Unreadable records passed over in one poll, to bound its time."""


class Numbers:
    """The n of session frames: grows within a boot."""

    def __init__(self):
        self.last = 0

    def next(self):
        self.last += 1
        return self.last


class About:
    """What a hello says of the node beside its state: attributes node, boot, set_id, firmware, board, config."""

    def __init__(self, node, boot, firmware, board, config):
        self.node = node
        self.boot = boot
        self.firmware = firmware
        self.board = board
        self.config = config
        self.set_id = 0


class Session:
    """`poll` until it gives 0, then wait `wake_ms`, or until something comes or is journaled. `now` is `Clock.now`."""

    def __init__(self, about, clock, journal, sealer, downlink, orders, numbers):
        self.state = IDLE
        self._about = about
        self._clock = clock
        self._journal = journal
        self._sealer = sealer
        self._downlink = downlink
        self._orders = orders
        self._numbers = numbers
        self._writer = Writer(bytearray(PLAIN_MAX))
        self._flight = Flight(WINDOW)
        self._window = WINDOW
        self._hello_at = 0
        self._hello_wait = HELLO_FIRST_MS
        self._hello_n = -1  # the latest; -1 once its welcome came
        self._hello_sent = 0
        self._hello_uptime = 0
        self._asked = -1  # since when an answer is owed; -1: none is
        self._low = self._high = -1  # records up to here, from here on, have had their turn
        self._newest = 0
        self._turn_newest = False
        self._jitter = (about.node ^ about.boot << 3) & 0xFFFF or 1
        self._holder = -1  # the gateway whose acks this boot has, if it is one
        self._acked = False  # something, since the last hello
        self._more = False  # poll gave 0 although there may be more to send
        self.welcomes = 0
        self.unmatched = 0  # welcomes to a hello that is not the latest

    @property
    def repeats(self):
        """Records sent again, since boot."""
        return self._flight.repeats

    def link_up(self, now):
        self.state = SEEKING
        self._hello_wait = HELLO_FIRST_MS
        self._hello_at = now
        self._asked = -1

    def link_down(self):
        self.state = IDLE
        self._flight.clear()

    def poll(self, now, out):
        """Length of the next frame to send, now in `out` (FRAME_MAX bytes); 0 if there is none. It counts as sent."""
        self._more = False
        if self.state == IDLE:
            return 0
        if self._asked >= 0 and since(now, self._asked) >= SILENCE_MS and self.state == OPEN:
            self._flight.clear()
            self.link_up(now)
        answer = self._orders.answer()
        if answer is not None:
            self._writer.pos = 0
            encode_answer(self._writer, answer)
            return self._seal(out, self._numbers.next())
        if since(now, self._hello_at) >= 0:
            return self._hello(now, out)
        if self.state == OPEN:
            return self._record(now, out)
        return 0

    def wake_ms(self, now):
        """How long `poll` will give 0 if nothing happens in between. Right after it gave 0."""
        if self.state == IDLE:
            return HELLO_EVERY_MS
        wait = 0 if self._more else -since(now, self._hello_at)
        if self.state == OPEN:
            if self._flight.count:
                wait = min(wait, self._flight.wait_ms(now))
            if self._asked >= 0:
                wait = min(wait, SILENCE_MS - since(now, self._asked))
        return max(wait, 0)

    def _seal(self, out, n):
        about = self._about
        return self._sealer.session(out, about.node, about.boot, n, self._writer.buf, self._writer.pos)

    def _hello(self, now, out):
        about, clock, journal = self._about, self._clock, self._journal
        uptime = clock.uptime_ms()
        known = (clock.unix_ms(uptime), clock.bound_ms(uptime)) if clock.is_set() else None
        self._writer.pos = 0
        encode_hello(
            self._writer,
            Hello(
                VERSION, uptime, known, journal.oldest, journal.newest, journal.evicted,
                about.set_id, about.firmware, about.board, about.config,
            ),
        )  # fmt: skip
        self._hello_n = self._numbers.next()
        self._hello_sent = now
        self._hello_uptime = uptime
        self._hello_at = next_time(now, self._hello_wait, self._draw())
        self._hello_wait = min(2 * self._hello_wait, HELLO_MAX_MS)
        self._acked = False
        self._ask(now)
        return self._seal(out, self._hello_n)

    def _ask(self, now):
        if self._asked < 0:
            self._asked = now

    def _draw(self):
        """A pseudo-random byte, other for each node and boot (Marsaglia's xorshift, 16 bits: 7, 9, 8)."""
        x = self._jitter
        x ^= x << 7 & 0xFFFF
        x ^= x >> 9
        x ^= x << 8 & 0xFFFF
        self._jitter = x
        return x & 0xFF

    def _record(self, now, out):
        flight = self._flight
        while True:
            i = flight.due(now)
            if i < 0:
                break
            n = 0 if flight.tired(i) else self._journal.read(flight.seq_at(i), out)
            if n:
                flight.sent(i, now)
                self._ask(now)
                return n
            flight.drop(i)
        if flight.count >= self._window:
            return 0
        for _ in range(READS_MAX):
            seq = self._pick()
            if seq < 0:
                return 0
            n = self._journal.read(seq, out)
            if n:
                flight.add(seq, now)
                self._ask(now)
                return n
        self._more = True
        return 0

    def _pick(self):
        """The next record to send for the first time since the welcome, or -1. What was journaled since goes first."""
        if self._journal.newest != self._newest:
            self._newest = self._journal.newest
            self._high = self._newest + 1
        for _ in range(2):
            self._turn_newest = not self._turn_newest
            seq = self._high if self._turn_newest else self._low
            while True:
                seq = self._journal.unacked(seq, self._turn_newest)
                if seq < 0 or not self._flight.holds(seq):
                    break
            if seq >= 0:
                if self._turn_newest:
                    self._high = seq
                else:
                    self._low = seq
                return seq
        return -1

    def receive(self, frame, n, now):
        """Take the first n bytes of frame, whatever they are. Raises nothing."""
        found = self._downlink.open(frame, n) if self.state != IDLE else None
        if found is None:
            return
        self._asked = -1
        gateway, message = found
        if isinstance(message, Ack):
            self._take_ack(gateway, message, now)
        elif isinstance(message, Welcome):
            self._take_welcome(gateway, message, now)
        else:
            self._orders.take(gateway, message)
        if self._flight.count:
            self._ask(now)

    def _take_ack(self, gateway, ack, now):
        for first, last in ack.ranges:
            if self._journal.ack(first, last):
                self._acked = True
                self._holder = gateway if self._holder in (-1, gateway) else -2
            self._flight.acked(first, last, now)

    def _take_welcome(self, gateway, welcome, now):
        if welcome.hello_n == self._hello_n:
            self._hello_n = -1
            rtt = since(now, self._hello_sent)
            if welcome.unix_ms is not None and welcome.unix_ms < UNIX_MAX_MS and rtt <= RTT_MAX_MS:
                self._clock.sync(welcome.unix_ms + rtt // 2, rtt, self._hello_uptime + rtt)
        else:
            self.unmatched += 1
        self._take_held(gateway, welcome.held, now)
        self._window = min(WINDOW, welcome.window)
        self._low, self._high = -1, self._journal.newest + 1
        self._hello_wait = HELLO_FIRST_MS
        self._hello_at = later(now, self._until_hello(welcome.unix_ms is not None))
        self.welcomes += 1
        self.state = OPEN

    def _until_hello(self, timed):
        if not self.welcomes:
            return HELLO_SECOND_MS
        if not timed:
            return HELLO_EVERY_MS
        return min(max(self._clock.good_for_ms(CLOCK_AIM_MS), HELLO_SECOND_MS), HELLO_EVERY_MS)

    def _take_held(self, gateway, held, now):
        """A gateway that lacks what it alone acked has lost it: that waits again, if the list is complete."""
        forget = self._holder == gateway and not self._acked and len(held) < HELD_MAX
        self._journal.held(held, forget)
        for first, last in held:
            self._flight.acked(first, last, now)
