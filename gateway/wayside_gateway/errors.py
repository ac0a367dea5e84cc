"""The gateway's errors: one class for each decision a caller can take. Each says what a person should do."""

from wayside_protocol.errors import WaysideError


class GatewayError(WaysideError):
    """Base of the gateway's own errors. `reason` is a stable word, `fix` what a person can do about it."""

    def __init__(self, reason: str, message: str, fix: str = "") -> None:
        super().__init__(f"{message} {fix}".rstrip())
        self.reason = reason
        self.message = message
        self.fix = fix


class SettingsError(GatewayError):
    """The settings file cannot be used. `problems` holds every problem found, each one line of text."""

    def __init__(self, path: str, problems: list[str]) -> None:
        count = f"{len(problems)} problem{'s' if len(problems) != 1 else ''}"
        super().__init__("settings", f"{path}: {count} in the settings:\n" + "\n".join(f"  {p}" for p in problems))
        self.path = path
        self.problems = problems


class KeyFileError(GatewayError):
    """The key file is missing, unreadable, readable by others, or not a key file. Never quotes a key."""


class StoreError(GatewayError):
    """The store cannot be opened, read or written: nothing of the call took effect, so nothing may be acked.

    Reasons: corrupt, disk_full, read_only, locked, missing, newer_schema, io, usage.
    """


class LinkError(GatewayError):
    """A link cannot be opened, or it ended. The caller tries again with back-off."""
