"""What provisioning puts on a board's flash, written by the firmware's own modules so that there is one format."""

import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from wayside_sim.sources import firmware_dir


def node_files(
    node: int, key: bytes, settings: Mapping[str, int] | None = None, *, data_root: str = "/data"
) -> dict[str, bytes]:
    """The files that make a board this node, by their path on it. Raises ValueError for a key or settings it cannot
    have."""
    firmware = str(firmware_dir())
    if firmware not in sys.path:
        sys.path.append(firmware)
    from wayside_node import identity
    from wayside_node.settings import Settings, SettingsError

    with tempfile.TemporaryDirectory() as folder:
        identity.save(folder, node, key)
        if settings:
            try:
                Settings(folder).change(dict(settings))
            except SettingsError as e:
                raise ValueError(str(e)) from e
        return {f"{data_root}/{p.name}": p.read_bytes() for p in sorted(Path(folder).iterdir())}
