"""What a link is to the rest of the node."""

from wayside_node import nothing
from wayside_protocol.limits import FRAME_MAX


class Link:
    """A session, and the way its frames go. `sender(now)` is a task's core; `listen` waits for bytes.

    name         of its tasks
    noise_bytes  skipped on the line since boot
    dropped      frames that the other side did not take in time
    on_input     called after something was received: the sender's wake
    """

    name = ""

    def __init__(self, session, clock):
        self.session = session
        self.on_input = nothing
        self.dropped = 0
        self._clock = clock
        self._out = bytearray(FRAME_MAX)

    @property
    def noise_bytes(self) -> int:
        return 0

    def sender(self, now):
        """Send what is due; return the milliseconds until there may be more."""
        raise NotImplementedError

    async def listen(self, beat):
        """Receive for ever. `beat` rests while nothing comes."""
        raise NotImplementedError
