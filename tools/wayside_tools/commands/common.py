"""What several commands share: the gateway's settings file, and what it names."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wayside_tools.errors import Failure

if TYPE_CHECKING:
    from wayside_gateway.settings import Settings
    from wayside_gateway.store import Store

DEFAULT_SETTINGS = Path("wayside.toml")

SettingsFile = Annotated[
    Path,
    typer.Option(
        "--settings", "--config", "-c", envvar="WAYSIDE_SETTINGS", dir_okay=False, help="The gateway's settings file."
    ),
]


def load_settings(path: Path) -> "Settings":
    """Raises SettingsError with every problem at once."""
    from wayside_gateway.settings import load

    return load(path)


def open_read_only(settings: "Settings") -> "Store":
    """The gateway's store, also while it runs. Raises Failure if it never ran, StoreError if it cannot be read."""
    from wayside_gateway.store import open_store

    if not (settings.data / "wayside.sqlite").exists():
        raise Failure(f"no store in {settings.data} yet: the gateway has not run with these settings")
    return open_store(settings.data, read_only=True)


def time_of(unix_ms: int | None) -> str | None:
    """Unix milliseconds as UTC for people and programs; None for 0, which stands for unknown."""
    import datetime

    if not unix_ms:
        return None
    return datetime.datetime.fromtimestamp(unix_ms / 1000, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
