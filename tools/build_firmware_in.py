"""Puts the firmware into the wheel: `wayside demo` and `wayside sim` run the files that are flashed.

A hook and not a force-include in pyproject.toml: that would put a second, ageing copy beside an editable install.
"""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class FirmwareHook(BuildHookInterface):  # type: ignore[type-arg]
    """Maps `firmware/` to where wayside_sim/sources.py looks for it."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before it builds; `version` is `standard` or `editable`."""
        if version == "standard":
            build_data["force_include"]["firmware"] = "wayside_sim/_firmware"
