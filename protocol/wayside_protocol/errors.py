"""The errors of the protocol: one class for each decision a caller can take.

Every error carries `reason`, a short stable word that serves as a metric's label.
`FrameError` and its siblings mean that the peer (or the line) misbehaved: drop, count, go on.
`UsageError` means that we did: it is never raised by what a peer sent.
"""


class WaysideError(Exception):
    """Base of every error that Wayside raises on purpose."""


class UsageError(WaysideError):
    """The caller passed what the protocol cannot express; nothing was written."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason + (": " + detail if detail else ""))
        self.reason = reason


class ProtocolError(WaysideError):
    """The peer sent what the protocol does not allow. `reason` is stable, `detail` is for people."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason + (": " + detail if detail else ""))
        self.reason = reason


class FrameError(ProtocolError):
    """The frame's outer form is wrong, so that not even its node is known."""


class AuthError(ProtocolError):
    """The frame does not open with this key: forged, damaged, or another node's key."""


class CborError(ProtocolError):
    """Not deterministic CBOR within the protocol's limits."""


class MessageError(ProtocolError):
    """The plaintext is CBOR but no message of this version."""


class ColumnsError(ProtocolError):
    """The columns of a samples record do not decode."""
