"""A subscriber of another make (paho): it keeps every message, and its session at the broker, while it is away too."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties


@dataclass(frozen=True)
class Got:
    """A message as it came."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    properties: dict[str, Any]


@dataclass
class Collector:
    """Subscribes to `topic` with QoS 2 until `stop`."""

    port: int
    topic: str = "#"
    user: str | None = None
    password: str | None = None
    name: str = "collector"
    got: list[Got] = field(default_factory=list)
    read: int = 0
    """Messages that a test has counted in `ids`."""
    ids: Counter[str] = field(default_factory=Counter)
    redelivered: int = 0
    """What a restarted broker sent to us again as a repeat of its own: no publish that it got twice."""
    subscriptions: int = 0
    """How often the broker took the subscription: again after each connection."""

    def start(self) -> "Collector":
        client = self._client = paho.Client(CallbackAPIVersion.VERSION2, self.name, protocol=MQTTProtocolVersion.MQTTv5)
        if self.user is not None:
            client.username_pw_set(self.user, self.password)
        client.on_connect = self._connected
        client.on_subscribe = self._taken
        client.on_message = self._message
        client.reconnect_delay_set(1, 1)
        expiry = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        expiry.SessionExpiryInterval = 3600
        client.connect("127.0.0.1", self.port, clean_start=False, properties=expiry)
        client.loop_start()
        self.wait(lambda: self.subscriptions > 0, 10)
        return self

    def stop(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _connected(self, client: paho.Client, *_: object) -> None:
        client.subscribe(self.topic, qos=2)

    def _taken(self, *_: object) -> None:
        self.subscriptions += 1

    def _message(self, _client: object, _data: object, message: paho.MQTTMessage) -> None:
        if message.dup and any((m.topic, m.payload) == (message.topic, message.payload) for m in self.got):
            self.redelivered += 1
            return
        properties = message.properties.json() if message.properties is not None else {}  # type: ignore[no-untyped-call]
        self.got.append(Got(message.topic, bytes(message.payload), message.qos, message.retain, properties))

    def of(self, ending: str) -> list[Got]:
        """Messages whose topic ends so."""
        return [got for got in list(self.got) if got.topic.endswith(ending)]

    def wait(self, ready: Callable[[], bool], timeout_s: float = 30.0) -> None:
        """Until `ready()` is true."""
        end_s = time.monotonic() + timeout_s
        while not ready():
            assert time.monotonic() < end_s, f"not within {timeout_s} s; {len(self.got)} messages came"
            time.sleep(0.01)
