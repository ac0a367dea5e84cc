"""What a gateway says to the node: opened, checked for replay, decoded; whatever is wrong is counted and dropped.

One for the node, shared by all its links: a downlink that was heard on one link is a replay on the other.
"""

from wayside_protocol.errors import ProtocolError
from wayside_protocol.frame import DOWNLINK, parse
from wayside_protocol.session import decode_downlink

GATEWAYS_MAX = 8
"""Gateways remembered in one boot. None is forgotten, as its old frames would open again: one more is refused."""


class Downlink:
    """`refused` counts what was dropped, by reason: those of the protocol's errors, and

    not_downlink  a frame of a node, such as our own come back from a loop in the line
    other_node    meant for another node
    replayed      its number did not grow
    gateways      from a ninth gateway
    """

    def __init__(self, node, boot, opener):
        self._node = node
        self._boot = boot
        self._opener = opener
        self._numbers = {}
        self.refused = {}

    @property
    def refusals(self):
        """All that was dropped."""
        return sum(self.refused.values())

    def open(self, frame, n):
        """(gateway, message) of the first n bytes of frame, or None. Raises nothing that a peer could cause."""
        try:
            return self._open(parse(bytes(memoryview(frame)[:n])))
        except ProtocolError as error:
            self._refuse(error.reason)
            return None

    def _open(self, frame):
        if frame.kind != DOWNLINK:
            return self._refuse("not_downlink")
        if frame.node != self._node:
            return self._refuse("other_node")
        last = self._numbers.get(frame.a)
        if last is not None and frame.b <= last:
            return self._refuse("replayed")
        plain = self._opener.open(frame, self._boot)
        if last is None and len(self._numbers) >= GATEWAYS_MAX:
            return self._refuse("gateways")
        self._numbers[frame.a] = frame.b
        return frame.a, decode_downlink(plain)

    def _refuse(self, reason):
        self.refused[reason] = self.refused.get(reason, 0) + 1
        return None
