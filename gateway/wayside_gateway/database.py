"""Opening the store's SQLite file, and telling in words what went wrong with it."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from wayside_gateway.errors import StoreError
from wayside_gateway.schema import APPLICATION_ID, migrate

BUSY_TIMEOUT_S = 10
"""How long a command line tool and the gateway wait for each other's transaction."""
WRITER_CACHE_KIB = 4096
READER_CACHE_KIB = 1024
"""Page caches of the two connections; the gateway's whole memory stays below 60 MB."""
WAL_LIMIT_BYTES = 16 << 20
"""The write-ahead log is cut back to this after a checkpoint, so that a backlog does not leave a large file."""

_FIXES = {
    "disk_full": "Free space on this disk (the nodes keep what is not acked, and the gateway goes on by itself).",
    "read_only": "Make the data directory writable for the gateway's user, or mount the disk for writing.",
    "corrupt": "Stop the gateway, move the file away and restore a backup, or start with a new one: the nodes send "
    "again what they still hold. `sqlite3 FILE .recover` may save what is readable.",
    "locked": "Another program holds the store for writing: end it, then start the gateway again.",
    "io": "The disk reports errors: look at the kernel's log and replace the disk or the SD card.",
    "missing": "Check that the data directory exists and that the gateway's user may enter it.",
}

_REASONS = (
    (sqlite3.SQLITE_FULL, "disk_full", "the disk is full"),
    (sqlite3.SQLITE_READONLY, "read_only", "the store cannot be written"),
    (sqlite3.SQLITE_PERM, "read_only", "the store cannot be written"),
    (sqlite3.SQLITE_CORRUPT, "corrupt", "the store is damaged"),
    (sqlite3.SQLITE_NOTADB, "corrupt", "the file is no SQLite database"),
    (sqlite3.SQLITE_BUSY, "locked", "the store is locked"),
    (sqlite3.SQLITE_LOCKED, "locked", "the store is locked"),
    (sqlite3.SQLITE_CANTOPEN, "missing", "the store cannot be opened"),
    (sqlite3.SQLITE_IOERR, "io", "the disk failed"),
)


def store_error(error: sqlite3.Error, path: Path | str) -> StoreError:
    """The StoreError that says what this SQLite error means for the operator."""
    code = getattr(error, "sqlite_errorcode", None)
    primary = code & 0xFF if code is not None else -1
    for wanted, reason, words in _REASONS:
        if primary == wanted:
            return StoreError(reason, f"{path}: {words} ({error}).", _FIXES[reason])
    return StoreError("usage", f"{path}: {error}.")


@contextlib.contextmanager
def told(path: Path | str) -> Iterator[None]:
    """Turns every sqlite3.Error of the block into a StoreError."""
    try:
        yield
    except sqlite3.Error as error:
        raise store_error(error, path) from error


def connect(path: Path, read_only: bool = False) -> sqlite3.Connection:
    """Open the store, making or migrating it unless read_only. Raises StoreError."""
    with told(path):
        uri = f"{path.absolute().as_uri()}?mode={'ro' if read_only else 'rwc'}"
        db = sqlite3.connect(
            uri, uri=True, isolation_level=None, timeout=BUSY_TIMEOUT_S, check_same_thread=False, cached_statements=64
        )
        try:
            _prepare(db, path, read_only)
        except BaseException:
            db.close()
            raise
        return db


def _prepare(db: sqlite3.Connection, path: Path, read_only: bool) -> None:
    db.execute(f"PRAGMA cache_size = -{READER_CACHE_KIB if read_only else WRITER_CACHE_KIB}")
    application = db.execute("PRAGMA application_id").fetchone()[0]
    empty = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
    if application != APPLICATION_ID and not (empty and not read_only):
        raise StoreError(
            "corrupt", f"{path}: this SQLite file is no Wayside store.", "Give the gateway a data directory of its own."
        )
    if read_only:
        db.execute("PRAGMA query_only = 1")
        return
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")  # NORMAL may lose the last commits at a power cut, after they were acked
    db.execute(f"PRAGMA journal_size_limit = {WAL_LIMIT_BYTES}")
    migrate(db)
