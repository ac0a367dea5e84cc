"""Runs a demonstration: the gateway's own process on real settings, keys and store, and boards on pseudo-terminals."""

import contextlib
import secrets
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wayside_gateway.keys import KeyFile
from wayside_gateway.store import Store, open_store
from wayside_protocol.session import PAUSE
from wayside_tools.children import GATEWAY_RUN, Process, gateway_ready, running
from wayside_tools.demo.account import Account, account
from wayside_tools.demo.nodes import FIRST_NODE, DemoNode
from wayside_tools.demo.readings import Reading, Stored, by_node, published
from wayside_tools.errors import Failure
from wayside_tools.subscriber import Subscriber

DRAIN_S = 60.0
"""From the order to stop until all has arrived, at most: a time that is not known yet may take until the next hello."""
LOOK_S = 0.2
GATEWAY = 1
_SETTINGS = """# The settings of a demonstration's gateway.
gateway = {gateway}
deployment = "{deployment}"
data = "data"

[[serial]]
path = "{nodes}/*/tty"

[clock]
# A laptop's clock is good enough for a demonstration.
require_ntp = false
"""
_MQTT = """
[mqtt]
host = "{host}"
port = {port}
"""


class Demo:
    """All parts, running. What counts as arrived is what is at the broker, if there is one, else in the store."""

    def __init__(
        self, nodes: list[DemoNode], gateway: Process, store: Store, subscriber: Subscriber | None, folder: Path
    ) -> None:
        self.nodes = nodes
        self.gateway = gateway
        self.store = store
        self.folder = folder
        self._subscriber = subscriber
        self.stored = Stored(store)

    def readings(self) -> list[Reading]:
        """All that arrived so far. Raises Failure if the gateway is gone."""
        if not self.gateway.alive():
            raise Failure(f"the gateway ended: {self.gateway.last_words()}")
        self.stored.update()
        if self._subscriber is None:
            return self.stored.readings
        return published(self._subscriber.taken())

    def accounts(self) -> dict[int, Account]:
        """The account of each node as it stands."""
        arrived = by_node(self.readings())
        out = {}
        for node in self.nodes:
            out[node.number] = account(node.taken(), arrived.get(node.number, ()))
            out[node.number].people_fed = node.people()
        return out

    def stop_sampling(self) -> None:
        """Order every node to close its batch, send it and rest."""
        writer = open_store(self.store.path.parent)
        try:
            for node in self.nodes:
                writer.add_command(node.number, PAUSE, 0, int(time.time() * 1000))
        finally:
            writer.close()

    def rests(self) -> bool:
        """Have all nodes said that they rest?"""
        done = {row.node for row in self.store.commands() if row.name == PAUSE and row.status is not None}
        return done >= {node.number for node in self.nodes}

    def drain(self) -> bool:
        """Stop the nodes and wait until all has arrived. False if that takes too long."""
        self.stop_sampling()
        deadline = time.monotonic() + DRAIN_S
        while time.monotonic() < deadline:
            if self.rests() and all(a.taken <= a.delivered + a.wrong for a in self.accounts().values()):
                return True
            time.sleep(LOOK_S)
        return False


@contextlib.contextmanager
def running_demo(
    count: int, runtime: str, seed: int, mqtt: tuple[str, int] | None, keep: Path | None
) -> Iterator[Demo]:
    """Start everything, and stop it again in order."""
    with contextlib.ExitStack() as stack:
        folder = keep if keep is not None else Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="wayside-")))
        folder = folder.resolve()
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / "data").exists():
            raise Failure(f"{folder} holds an earlier demonstration: give another folder")
        boards = folder / "nodes"
        nodes = [DemoNode(FIRST_NODE + i, boards, runtime, seed) for i in range(count)]
        for node in nodes:
            stack.callback(node.board.close)
        deployment = f"demo-{secrets.token_hex(4)}"
        settings = _prepare(folder, nodes, deployment, mqtt)
        subscriber = None
        if mqtt is not None:
            subscriber = stack.enter_context(Subscriber(*mqtt, f"wayside/{deployment}/#", keep=True))
        gateway = stack.enter_context(running([*GATEWAY_RUN, str(settings)], folder / "gateway.log"))
        gateway_ready(gateway, folder / "data", count)
        store = stack.enter_context(contextlib.closing(open_store(folder / "data", read_only=True)))
        for node in nodes:
            node.board.start()
        yield Demo(nodes, gateway, store, subscriber, folder)


def _prepare(folder: Path, nodes: list[DemoNode], deployment: str, mqtt: tuple[str, int] | None) -> Path:
    data = folder / "data"
    data.mkdir(mode=0o700)
    keys = KeyFile(data / "keys.toml")
    for node in nodes:
        keys.add(node.number, node.key, f"demo {node.number}")
    text = _SETTINGS.format(gateway=GATEWAY, deployment=deployment, nodes=folder / "nodes")
    if mqtt is not None:
        text += _MQTT.format(host=mqtt[0], port=mqtt[1])
    path = folder / "wayside.toml"
    path.write_text(text)
    return path


def result(demo: Demo, runtime: str, seconds: float, drained: bool, at: str) -> dict[str, Any]:
    """The one JSON object of a demonstration."""
    accounts = demo.accounts()
    total = Account()
    for one in accounts.values():
        total.add(one)
    return {
        "nodes": len(demo.nodes),
        "seconds": round(seconds, 1),
        "runtime": runtime,
        "delivered_at": at,
        **total.as_json(),
        "records": demo.stored.records,
        "drained": drained,
        "by_node": {str(number): one.as_json() for number, one in accounts.items()},
    }
