"""What arrives at the broker, counted by the ids that the gateway gives: a subscriber that shares nothing with it."""

import re
import threading
from collections import Counter
from typing import Any

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from wayside_tools.errors import Failure

CONNECT_LIMIT_S = 10.0
_IDENTITY = re.compile(rb'"bid":"([^"]*)"')


class Subscriber:
    """Counts records by their id (`node:seq`), which each column of a record states once. Use as a context manager.

    `keep` keeps the payloads too.
    """

    def __init__(self, host: str, port: int, topic: str, keep: bool = False) -> None:
        self._topic = topic
        self._seen: Counter[bytes] = Counter()
        self._lock = threading.Lock()
        self._subscribed = threading.Event()
        self._keep = keep
        self._payloads: list[tuple[str, bytes]] = []
        self.messages = 0
        self.columns = 0
        self.bytes = 0
        self._client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self._client.on_connect = self._connected
        self._client.on_subscribe = self._granted
        self._client.on_message = self._message
        self._where = f"{host}:{port}"
        try:
            self._client.connect(host, port)
        except OSError as error:
            raise Failure(f"no broker at {self._where}: {error}") from None

    def __enter__(self) -> "Subscriber":
        self._client.loop_start()
        if not self._subscribed.wait(CONNECT_LIMIT_S):
            self.__exit__()
            raise Failure(f"the broker at {self._where} gave no subscription within {CONNECT_LIMIT_S:.0f} s")
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _connected(self, client: Client, *_: Any) -> None:
        client.subscribe(self._topic, qos=1)

    def _granted(self, *_: Any) -> None:
        self._subscribed.set()

    def _message(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        found = _IDENTITY.findall(message.payload)
        with self._lock:
            self.messages += 1
            self.bytes += len(message.payload)
            self.columns += len(found)
            self._seen.update(found)
            if self._keep:
                self._payloads.append((message.topic, message.payload))

    def records(self) -> dict[str, int]:
        """How many columns of each record arrived."""
        with self._lock:
            return {identity.decode("ascii", "replace"): columns for identity, columns in self._seen.items()}

    def taken(self) -> list[tuple[str, bytes]]:
        """Topic and payload of all that came so far, where they are kept."""
        with self._lock:
            return list(self._payloads)
