"""The node's firmware: from a sensor on a street to a sealed record on its way to a gateway."""

VERSION = "0.1.0"


def nothing():
    """A callback that nobody has set."""
