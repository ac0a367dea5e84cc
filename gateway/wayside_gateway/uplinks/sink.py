"""The seam between the uplink's loop and what it sends to: an uplink is one `Sink` and the loop of `base`."""

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, Protocol

from wayside_gateway.errors import GatewayError
from wayside_gateway.reading import Definition, Record
from wayside_gateway.timeline import Time

NEW = 0
"""Stage of a block that the other side may or may not have seen. Greater ones are the sink's own."""


class Unavailable(GatewayError):
    """The sink cannot be reached, or went away: the loop connects anew, later, and sends the same blocks again."""


class Refused(GatewayError):
    """The sink was reached and said no: to us when raised by `connect`, to this block when raised by `deliver`.

    That is never a delivery. A person must mend something, so it shows as an alarm and is tried again slowly.
    """


class TooLarge(GatewayError):
    """This block is larger than the sink takes: the loop makes smaller ones of it."""


class Item(NamedTuple):
    """A record that is ready to go. `definition` only for samples; `time` None only for channels.

    Columns stay coded until they are rendered: decoded ones, kept for a whole chunk, cost the collector more time than
    decoding takes.
    """

    id: int
    node: int
    seq: int
    record: Record
    time: Time | None
    definition: Definition | None


class Part(NamedTuple):
    """Items that go together as one payload. `form` is the sink's word for what it is."""

    node: int
    form: str
    items: Sequence[Item]
    payload: bytes


class Block(NamedTuple):
    """A part on its way. A block keeps its number, and its content, until it is delivered, also across a crash."""

    number: int
    stage: int
    repeated: bool
    """It may have been sent before."""
    part: Part


Advance = Callable[[int], Awaitable[None]]
"""Sets a block's stage; durable when it returns."""


class Sink(Protocol):
    """What an uplink sends to. One coroutine of the loop connects and closes; several deliver at once."""

    window: int
    """Blocks under way at most. Read after `connect`."""

    def render(self, items: Sequence[Item], whole: bool = False) -> list[Part]:
        """Payloads of these items, in order; the same items give the same bytes.

        Each is within what the sink takes, except with `whole`: then the items were one part before, and are again.
        Raises ProtocolError for a record that cannot be decoded.
        """

    async def connect(self, resume: bool) -> bool:
        """Reach the sink. `resume`: there are blocks under way; True if the sink knows their stages.

        Raises Unavailable, Refused.
        """

    async def watch(self) -> None:
        """Raise Unavailable or Refused when the connection ends, also while nothing is delivered; never return."""

    async def deliver(self, block: Block, advance: Advance) -> None:
        """Hand over a block; return when the sink has confirmed it. Raises Unavailable, Refused, TooLarge."""

    async def close(self, orderly: bool) -> None:
        """End the connection, with a goodbye if orderly. Never raises for a connection that is gone."""
