"""What an operator may set on a node: names, units in the names, limits and defaults; kept in a slot.

Every value is an integer. The stored form is JSON of what differs from the defaults, so that a firmware with more
settings reads what an older one wrote, and leaves out what it does not know.
"""

import json

from wayside_node.slots import Slots

TABLE = (
    # name, default, low, high
    ("sample_interval_s", 60, 1, 3600),  # how often a reading is taken
    ("report_interval_s", 720, 1, 86400),  # how late a reading may be: a batch closes then at the latest
    ("batch", 12, 1, 255),  # samples in a record at most: SAMPLES_MAX of the protocol
    ("health_interval_s", 3600, 60, 86400),
    ("beam_spacing_mm", 200, 50, 1000),  # between the two beams, along the way people walk
    ("beam_swap", 0, 0, 1),  # 1: in and out are the other way round, for a node mounted the other way
    ("beam_debounce_ms", 60, 0, 500),  # a beam that clears for less is still blocked by the same person
)
NAMES = tuple([row[0] for row in TABLE])


class SettingsError(Exception):
    """What was asked for cannot be set, and nothing was. `faults` is a list of (name, reason).

    Reasons: `unknown`, `not_an_integer`, `too_low`, `too_high`, `report_before_sample`.
    """

    def __init__(self, faults):
        super().__init__(", ".join([name + ": " + reason for name, reason in faults]))
        self.faults = faults


def faults(values):
    """All that is wrong with a complete mapping of settings, as (name, reason)."""
    found = []
    for name in values:
        if name not in NAMES:
            found.append((name, "unknown"))
    for name, _, low, high in TABLE:
        value = values.get(name)
        if not isinstance(value, int) or isinstance(value, bool):
            found.append((name, "not_an_integer"))
        elif value < low:
            found.append((name, "too_low"))
        elif value > high:
            found.append((name, "too_high"))
    if not found and values["report_interval_s"] < values["sample_interval_s"]:
        found.append(("report_interval_s", "report_before_sample"))
    return found


class Settings:
    """The settings in force, as attributes named as in TABLE.

    `version` counts the changes ever stored: 0 is a node on its defaults. `lost` says that something was stored and
    cannot be used, so that the defaults are in force though nobody chose them: the node asks for service.
    """

    def __init__(self, root):
        self._slots = Slots(root, "settings")
        self.values = {}
        self.lost = False
        stored = self._slots.load()
        self._take(self._read(stored))
        self.version = self._slots.generation

    def _read(self, stored):
        values = {row[0]: row[1] for row in TABLE}
        if stored is None:
            self.lost = self._slots.damaged > 0
            return values
        try:
            changed = json.loads(stored)
        except ValueError:
            changed = None
        if not isinstance(changed, dict):
            self.lost = True
            return values
        for name in changed:
            if name in values:
                values[name] = changed[name]
        if faults(values):
            self.lost = True
            values = {row[0]: row[1] for row in TABLE}
        return values

    def _take(self, values):
        self.values = values
        for name in values:
            setattr(self, name, values[name])

    def change(self, wanted):
        """Set these, all or none, and store them before they are in force; return the new version.

        `wanted` maps names to values; None puts a setting back to its default. Raises SettingsError with every fault
        at once, SlotError when the flash refuses.
        """
        values = dict(self.values)
        defaults = {row[0]: row[1] for row in TABLE}
        for name in wanted:
            values[name] = defaults.get(name) if wanted[name] is None else wanted[name]
        found = faults(values)
        if found:
            raise SettingsError(found)
        different = {name: values[name] for name in values if values[name] != defaults[name]}
        self._slots.save(json.dumps(different).encode())
        self._take(values)
        self.lost = False
        self.version = self._slots.generation
        return self.version
