"""The key file: one 128-bit key and a name for each node, in a file that only its owner may read.

# Keys of Wayside nodes. Keep this file private.
[1001]
key = "000102030405060708090a0b0c0d0e0f"
name = "north gate"
"""

import os
import re
import secrets
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path

from wayside_gateway.atomic import write_private
from wayside_gateway.errors import KeyFileError
from wayside_protocol.limits import KEY_LEN, U32_MAX

_HEADER = "# Keys of Wayside nodes. Whoever has a node's key can read and forge what it says: keep this file private.\n"
NAME_MAX = 64


class NodeKey:
    """A node's key and name. The key shows in no repr and no log."""

    __slots__ = ("key", "name")

    def __init__(self, key: bytes, name: str = "") -> None:
        self.key = key
        self.name = name

    def __repr__(self) -> str:
        return f"NodeKey(name={self.name!r}, key=hidden)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NodeKey) and self.name == other.name and secrets.compare_digest(self.key, other.key)

    __hash__ = None  # type: ignore[assignment]


def new_key() -> bytes:
    """A fresh random key."""
    return secrets.token_bytes(KEY_LEN)


def parse_key(text: str) -> bytes:
    """The key that 32 hex digits say. Raises KeyFileError, without quoting them."""
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != KEY_LEN:
        raise KeyFileError("key_form", f"A key is {2 * KEY_LEN} hexadecimal digits; this is not.")
    return key


class KeyFile:
    """The keys at `path`. Reads on demand; every change replaces the whole file at once and durably."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def load(self) -> dict[int, NodeKey]:
        """All nodes by number; none if there is no file yet. Raises KeyFileError."""
        try:
            handle = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise self._error("unreadable", f"cannot be read ({error.strerror})") from error
        with open(handle, "rb") as file:
            self._check_private(os.fstat(handle))
            raw = file.read()
        try:
            tables = tomllib.loads(raw.decode())
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            # tomllib's message may quote the line, and the line may hold a key.
            line = re.search(r"\(at (line \d+)", str(error))
            where = f": see {line[1]}" if line else ""
            raise self._error("form", f"is not a TOML file{where}", "Mend it, or restore it from a backup.") from None
        return {self._number(number): self._entry(number, table) for number, table in tables.items()}

    def stamp(self) -> tuple[int, int, int]:
        """Changes when the file does: inode, time of change and size; zeros when there is none."""
        try:
            status = os.stat(self.path)
        except OSError:
            return (0, 0, 0)
        return (status.st_ino, status.st_mtime_ns, status.st_size)

    def add(self, node: int, key: bytes, name: str = "", replace: bool = False) -> None:
        """Add a node. Raises KeyFileError if it is there already and not to be replaced."""
        if not 0 < node <= U32_MAX:
            raise KeyFileError("node_number", f"A node's number is between 1 and {U32_MAX}, not {node}.")
        if len(key) != KEY_LEN:
            raise KeyFileError("key_form", f"A key is {KEY_LEN} bytes long, not {len(key)}.")
        if len(name) > NAME_MAX or not name.isprintable():
            raise KeyFileError("name", f"A name is at most {NAME_MAX} printable characters.")
        nodes = self.load()
        if node in nodes and not replace:
            raise KeyFileError(
                "known", f"Node {node} has a key already.", "Remove it first, or say that it is replaced."
            )
        nodes[node] = NodeKey(key, name)
        self._save(nodes)

    def remove(self, node: int) -> None:
        """Remove a node. Raises KeyFileError if it is not there."""
        nodes = self.load()
        if nodes.pop(node, None) is None:
            raise KeyFileError("unknown", f"Node {node} has no key here.")
        self._save(nodes)

    def _save(self, nodes: Mapping[int, NodeKey]) -> None:
        parts = [_HEADER]
        for node in sorted(nodes):
            entry = nodes[node]
            parts.append(f'\n[{node}]\nkey = "{entry.key.hex()}"\n')
            if entry.name:
                parts.append(f"name = {_quoted(entry.name)}\n")
        try:
            write_private(self.path, "".join(parts).encode())
        except OSError as error:
            raise self._error("unwritable", f"cannot be written ({error.strerror})") from error

    def _check_private(self, status: os.stat_result) -> None:
        if not stat.S_ISREG(status.st_mode):
            raise self._error("form", "is not a regular file")
        if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise self._error("not_private", "may be read by others than its owner", f"Run: chmod 600 {self.path}")

    def _number(self, text: str) -> int:
        if text.isascii() and text.isdigit() and 0 < int(text) <= U32_MAX and str(int(text)) == text:
            return int(text)
        raise self._error("form", f"has a table [{text[:20]}], which is no node's number")

    def _entry(self, number: str, table: object) -> NodeKey:
        if not isinstance(table, dict) or not {"key"} <= set(table) <= {"key", "name"}:
            raise self._error("form", f"has a table [{number}] that does not hold `key` and perhaps `name`")
        key, name = table["key"], table.get("name", "")
        if not isinstance(key, str) or not isinstance(name, str):
            raise self._error("form", f"has a table [{number}] whose values are not text")
        try:
            return NodeKey(parse_key(key), name)
        except KeyFileError:
            raise self._error("form", f"holds no valid key for node {number} ({2 * KEY_LEN} hex digits)") from None

    def _error(self, reason: str, what: str, fix: str = "") -> KeyFileError:
        return KeyFileError(reason, f"The key file {self.path} {what}.", fix)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
