"""The gateway's side of a node's session: a state machine without I/O. The caller owns clock, disk and link.

Rules:
  1. A boot number never falls, and within a boot a session frame's number grows: else the frame is a replay.
  2. Nothing is answered before what it rests on is on disk: `row` is what to commit, `committed` says it was.
  3. A downlink's number is used once, also across crashes: only numbers below the committed ceiling are given.
  4. Downlinks are sealed for a boot. Until the first hello ever, none can be made.
  5. Commands go one at a time, in the order of their ids, until each is answered: a node remembers one id.

    event             in state     to state
    hello of boot b   any          GREETED(b)   refused if b < boot, or b == boot and n <= last n
    answer in boot b  GREETED(b)   same         refused if b != boot or n <= last n
    restart           GREETED(b)   KNOWN(b)     downlinks go on above the ceiling
"""

from typing import Protocol

from wayside_gateway.rows import Anchor, CommandRow, NodeRow
from wayside_protocol.limits import U32_MAX
from wayside_protocol.session import Hello

RESERVE = 256
"""Downlink numbers reserved on disk at a time: one write of the node's row for so many acks. A restart skips as many at
most, so that numbers stay close to the seconds since EPOCH_MS."""
RESERVE_LOW = 64
"""With fewer left, the next commit reserves more."""
EPOCH_MS = 1_767_225_600_000
"""2026-01-01. Numbers start at the seconds since then if that is above the ceiling: a store that was lost or restored
from a copy goes on above whatever was used since, as long as a node got less than one downlink a second on average."""
LINK_DELAY_MS = 1000
"""How long a hello may have been under way, at most, on a line that works: buffers of a node and of USB."""
COMMAND_FIRST_MS = 2_000
COMMAND_CAP_MS = 60_000
"""An unanswered command is sent again after the first delay, doubled each time up to the cap."""


class Numbered(Protocol):
    """What rule 1 needs to know of a frame."""

    @property
    def a(self) -> int: ...

    @property
    def b(self) -> int: ...


class NodeSession:
    """One node's session. `link_name` and hello fields are for people; the numbers are for safety."""

    def __init__(self, node: int, row: NodeRow | None = None, wall_ms: int = 0) -> None:
        self.node = node
        self.row = row
        """The state to be committed, None before the first hello ever."""
        self.greeted = False
        self.boot = row.boot if row else -1
        self.last_n = row.session_n if row else -1
        fresh = min(max(0, wall_ms - EPOCH_MS) // 1000, U32_MAX - RESERVE)
        self._ceiling = self._next_n = self._asked = max(fresh, row.downlink_ceiling if row else 0)
        self._command: CommandRow | None = None
        self._send_at_ms = 0
        self._delay_ms = COMMAND_FIRST_MS

    # -- session frames ----------------------------------------------------------------------------------

    def refusal(self, frame: Numbered) -> str:
        """Why this session frame must not be taken (a stable word), empty if it may."""
        if frame.a < self.boot:
            return "boot_fell"
        if frame.a == self.boot and frame.b <= self.last_n:
            return "replayed"
        return ""

    def hello(self, frame: Numbered, hello: Hello, wall_ms: int, link: str) -> NodeRow:
        """Take a hello that `refusal` let pass; return the row to commit."""
        if frame.a != self.boot:
            self._delay_ms = COMMAND_FIRST_MS
            self._send_at_ms = 0
        self.boot, self.last_n, self.greeted = frame.a, frame.b, True
        self.row = NodeRow(
            node=self.node,
            first_seen_ms=self.row.first_seen_ms if self.row else wall_ms,
            hello_ms=wall_ms,
            boot=frame.a,
            session_n=frame.b,
            downlink_ceiling=self._reserve(),
            oldest=hello.oldest,
            newest=hello.newest,
            evicted=hello.evicted,
            set_id=hello.set_id,
            firmware=hello.firmware,
            board=hello.board,
            config=hello.config,
            link=link,
        )
        return self.row

    def answer(self, frame: Numbered, number: int) -> NodeRow | None:
        """Take an answer that `refusal` let pass; return the row to commit with it."""
        if frame.a != self.boot or self.row is None:
            return None
        self.last_n = frame.b
        if self._command is not None and self._command.id == number:
            self._command = None
        self.row = self.row._replace(session_n=frame.b)
        return self.row

    # -- downlink numbers --------------------------------------------------------------------------------

    def _reserve(self) -> int:
        if self._asked - self._next_n < RESERVE_LOW:
            self._asked = min(U32_MAX, self._next_n + RESERVE)
        if self.row is not None:
            self.row = self.row._replace(downlink_ceiling=self._asked)
        return self._asked

    def wants_reserve(self) -> NodeRow | None:
        """The row to commit because downlink numbers run out; None if there are enough."""
        if self.row is None or self._ceiling - self._next_n >= RESERVE_LOW:
            return None
        self._reserve()
        return self.row

    def committed(self, row: NodeRow) -> None:
        """This row is on disk."""
        self._ceiling = max(self._ceiling, row.downlink_ceiling)

    def downlink_n(self) -> int | None:
        """The next downlink's number; None while none is reserved or the node's boot is not known."""
        if self.boot < 0 or self._next_n >= self._ceiling:
            return None
        self._next_n += 1
        return self._next_n - 1

    # -- commands ----------------------------------------------------------------------------------------

    def offer(self, command: CommandRow) -> None:
        """The oldest command that waits for this node."""
        if self._command is None or self._command.id > command.id:
            self._command = command
            self._delay_ms = COMMAND_FIRST_MS
            self._send_at_ms = 0

    def withdraw(self) -> None:
        """No command waits any more."""
        self._command = None

    def due(self, now_ms: int) -> CommandRow | None:
        """The command to send now (monotonic ms), once for each time that it is due."""
        if self._command is None or not self.greeted or now_ms < self._send_at_ms:
            return None
        self._send_at_ms = now_ms + self._delay_ms
        self._delay_ms = min(COMMAND_CAP_MS, 2 * self._delay_ms)
        return self._command


def anchor(node: int, frame: Numbered, hello: Hello, utc_ms: int, late_ms: int) -> Anchor:
    """The moment that a hello pins down: it was read at `utc_ms`, after at most `late_ms` in our own buffers.

    A node whose clock agrees with ours knows the moment better than we do: its bound has the way taken out.
    """
    bound_ms = LINK_DELAY_MS + late_ms
    clock_ms = clock_bound_ms = None
    if hello.clock is not None:
        clock_ms, clock_bound_ms = hello.clock
        if clock_bound_ms < bound_ms and abs(clock_ms - utc_ms) <= clock_bound_ms + bound_ms:
            utc_ms, bound_ms = clock_ms, clock_bound_ms
    return Anchor(node, frame.a, hello.uptime_ms, utc_ms, bound_ms, clock_ms, clock_bound_ms, hello.newest)
