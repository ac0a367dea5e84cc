"""What a gateway's files tell of its nodes: from the key file and the store, whether the gateway runs or not."""

import json
import os
from pathlib import Path
from typing import Any

from wayside_gateway.errors import KeyFileError
from wayside_gateway.keys import KeyFile, NodeKey
from wayside_gateway.reading import read_record
from wayside_gateway.settings import Settings
from wayside_gateway.store import Store, open_store
from wayside_protocol import event, record
from wayside_protocol.errors import ProtocolError
from wayside_protocol.session import COMMANDS
from wayside_tools.commands.common import time_of

KIND_NAMES = {0: "samples", 1: "event", 2: "health", 3: "channels", 4: "log", -1: "unreadable"}
EVENTS_SHOWN = 5


class Fleet:
    """The nodes of one gateway. Use as a context manager."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.keys: dict[int, NodeKey] = KeyFile(settings.keys_path).load()
        self._connected = _connected(settings.data / "status.json")
        self._store: Store | None = None
        if (settings.data / "wayside.sqlite").exists():
            self._store = open_store(settings.data, read_only=True)

    def __enter__(self) -> "Fleet":
        return self

    def __exit__(self, *_: object) -> None:
        if self._store is not None:
            self._store.close()

    def numbers(self) -> list[int]:
        """All nodes that have a key here or ever said hello."""
        heard = {row.node for row in self._store.nodes()} if self._store else set()
        return sorted(heard | set(self.keys))

    def holds(self, node: int) -> bool:
        """Whether there are records of this node, or ever were."""
        return self._store is not None and self._store.held(node).count() > 0

    def summary(self, node: int) -> dict[str, Any]:
        """A node in one line."""
        entry = self.keys.get(node)
        out: dict[str, Any] = {"node": node, "name": entry.name if entry else "", "has_key": entry is not None}
        row = self._store.node(node) if self._store else None
        newest = self._newest(node)
        return out | {
            "heard": time_of(max(row.hello_ms if row else 0, newest or 0)),
            "boot": row.boot if row else None,
            "firmware": row.firmware if row else None,
            "board": row.board if row else None,
            "link": row.link if row else None,
            "connected": node in self._connected,
            "records": self._store.held(node).count() if self._store else 0,
            "clock": self.clock(node)["quality"],
        }

    def clock(self, node: int) -> dict[str, Any]:
        """What the node's last hello said of its clock."""
        anchors = self._store.anchors(node) if self._store else []
        if not anchors:
            return {"quality": "unknown", "bound_s": None, "off_s": None, "at": None}
        last = anchors[-1]
        known = last.clock_ms is not None and last.clock_bound_ms is not None
        return {
            "quality": "synced" if known and (last.clock_bound_ms or 0) <= 2000 else "reconstructed",
            "bound_s": last.clock_bound_ms / 1000 if last.clock_bound_ms is not None else None,
            "off_s": (last.clock_ms - last.utc_ms) / 1000 if last.clock_ms is not None else None,
            "at": time_of(last.utc_ms),
        }

    def details(self, node: int) -> dict[str, Any]:
        """All that is known of a node, never its key. Raises KeyFileError for one that nobody knows."""
        if node not in self.numbers():
            raise KeyFileError("unknown", f"Node {node} is not known here.", "See: wayside nodes list")
        out = self.summary(node) | {"clock": self.clock(node)}
        if self._store is None:
            return out
        row = self._store.node(node)
        if row is not None:
            on_node = {"oldest": row.oldest, "newest": row.newest, "evicted": row.evicted}
            out |= {
                "first_seen": time_of(row.first_seen_ms),
                "hello": time_of(row.hello_ms),
                "configuration": row.config,
                "set": row.set_id,
                "journal": on_node,
            }
        out["held"] = [list(pair) for pair in self._store.held(node)]
        counts = self._store.read("SELECT kind, count(*) FROM record WHERE node = ? GROUP BY kind", (node,))
        out["records_by_kind"] = {KIND_NAMES.get(int(str(kind)), str(kind)): count for kind, count in counts}
        out["health"] = self._health(node)
        out["events"] = self._events(node)
        out["refused"] = [row._asdict() for row in self._store.refusals() if row.node == node]
        out["commands"] = [
            {"id": c.id, "name": COMMANDS.get(c.name, c.name), "status": c.status, "result": c.result}
            for c in self._store.commands(node)[-EVENTS_SHOWN:]
        ]
        return out

    def _newest(self, node: int) -> int | None:
        if self._store is None:
            return None
        rows = self._store.read("SELECT received_ms FROM record WHERE node = ? ORDER BY seq DESC LIMIT 1", (node,))
        return int(str(rows[0][0])) if rows else None

    def _last(self, node: int, kind: int, limit: int) -> list[Any]:
        assert self._store is not None
        rows = self._store.read(
            "SELECT body FROM record WHERE node = ? AND kind = ? ORDER BY seq DESC LIMIT ?", (node, kind, limit)
        )
        out = []
        for (body,) in rows:
            try:
                out.append(read_record(bytes(body) if isinstance(body, bytes) else b""))
            except ProtocolError:
                continue
        return out

    def _health(self, node: int) -> dict[str, Any] | None:
        for said in self._last(node, record.HEALTH, 1):
            if isinstance(said, record.Health):
                return {event.HEALTH_NAMES.get(key, str(key)): value for key, value in said.values.items()}
        return None

    def _events(self, node: int) -> list[dict[str, Any]]:
        found = [said for said in self._last(node, record.EVENT, EVENTS_SHOWN) if isinstance(said, record.Event)]
        return [{"event": event.NAMES.get(e.code, e.code), "t": e.t, "detail": list(e.detail)} for e in found]


def _connected(status_file: Path) -> set[int]:
    """The nodes that the running gateway hears at an open port; none while no gateway runs."""
    try:
        status = json.loads(status_file.read_bytes())
        return {int(number) for number in status["nodes"]} if _runs(int(status["pid"])) else set()
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:  # it is there, and another user's
        return True
    except (OSError, OverflowError):
        return False
    return True


def free_number(settings: Settings, first: int = 1001) -> int:
    """The next number that no node here has."""
    with Fleet(settings) as fleet:
        return max([first - 1, *fleet.numbers()]) + 1


def provisioning(settings: Settings, node: int, key: bytes, name: str) -> dict[str, Any]:
    """What a node is given when it is provisioned. It holds the key: shown once, and nowhere else."""
    return {"node": node, "name": name, "key": key.hex(), "deployment": settings.deployment}


def write_private_json(path: Path, value: object) -> None:
    """A file that only its owner can read. Raises OSError; never overwrites."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(handle, "w", encoding="utf-8") as file:
        file.write(json.dumps(value, indent=1) + "\n")
