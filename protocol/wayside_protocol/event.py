"""Codes of events and keys of health records (SPEC §4.2, §4.3). Numbers never change meaning."""

BOOT = 1  # [boot, cause, firmware]: cause is one of CAUSES
SENSOR_FAULT = 2  # [driver, reason, first channel's quantity, place]
SENSOR_RECOVERED = 3  # [driver, seconds it was away, quantity, place]
LOST = 4  # [first seq, last seq, reason]: records that will never arrive; reason is one of LOSSES
CLOCK_SET = 5  # [boot, uptime ms, Unix ms before or -1, Unix ms after]
SETTINGS = 6  # [configuration version, what changed]
CRASH = 7  # [task, error, place in the source]

NAMES = {
    BOOT: "boot",
    SENSOR_FAULT: "sensor_fault",
    SENSOR_RECOVERED: "sensor_recovered",
    LOST: "lost",
    CLOCK_SET: "clock_set",
    SETTINGS: "settings",
    CRASH: "crash",
}

CAUSE_POWER, CAUSE_HARD, CAUSE_WATCHDOG, CAUSE_SLEEP, CAUSE_SOFT, CAUSE_UNKNOWN = 1, 2, 3, 4, 5, 0
CAUSES = {
    CAUSE_UNKNOWN: "unknown",
    CAUSE_POWER: "power_on",
    CAUSE_HARD: "hard_reset",
    CAUSE_WATCHDOG: "watchdog",
    CAUSE_SLEEP: "deep_sleep",
    CAUSE_SOFT: "soft_reset",
}

LOST_EVICTED, LOST_JOURNAL, LOST_CORRUPT = 1, 2, 3
LOSSES = {
    LOST_EVICTED: "evicted",  # the journal was full before a gateway took them
    LOST_JOURNAL: "journal_lost",  # the journal was gone at boot; numbering went on above its ceiling
    LOST_CORRUPT: "corrupt",  # the flash gave back something else than was written
}

UPTIME_S = 1
HEAP_FREE = 2  # bytes after a collection
HEAP_LARGEST = 3  # bytes, largest free block after a collection
JOURNAL_BYTES = 4
JOURNAL_WAITING = 5  # records not yet acked
JOURNAL_EVICTED = 6  # unacked records evicted, ever
FLASH_ERASES = 7  # of the journal's segments since boot
BATTERY_MV = 8
TOTAL_IN = 9  # running totals; they never fall
TOTAL_OUT = 10
LINK_NOISE = 11  # bytes skipped between frames since boot
LINK_REFUSED = 12  # downlinks that did not open or were replayed, since boot
CLOCK_BOUND_MS = 13  # the node's own bound on its clock's error
SENSOR_ERRORS = 14  # since boot

HEALTH_NAMES = {
    UPTIME_S: "uptime_s",
    HEAP_FREE: "heap_free_bytes",
    HEAP_LARGEST: "heap_largest_bytes",
    JOURNAL_BYTES: "journal_bytes",
    JOURNAL_WAITING: "journal_waiting",
    JOURNAL_EVICTED: "journal_evicted",
    FLASH_ERASES: "flash_erases",
    BATTERY_MV: "battery_mv",
    TOTAL_IN: "total_in",
    TOTAL_OUT: "total_out",
    LINK_NOISE: "link_noise_bytes",
    LINK_REFUSED: "link_refused",
    CLOCK_BOUND_MS: "clock_bound_ms",
    SENSOR_ERRORS: "sensor_errors",
}
