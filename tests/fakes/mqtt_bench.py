"""What the MQTT uplink's tests share: its sink, records in a store, and counting what came."""

from collections import Counter
from collections.abc import Callable
from random import Random

from fakes.broker import Broker
from fakes.mqtt_collector import Collector
from uplink_records import add_channels, add_samples, ids_of
from wayside_gateway.settings import MqttSettings
from wayside_gateway.store import Store
from wayside_gateway.uplinks.mqtt import MqttSink

Start = Callable[..., Broker]
"""Starts a broker with these options of `Broker`."""
Collect = Callable[..., Collector]
"""Starts a subscriber at a broker."""
DATA = "wayside/test/+/+"


def sink(port: int, **options: object) -> MqttSink:
    settings = MqttSettings.model_validate({"host": "127.0.0.1", "port": port, **options})
    return MqttSink(settings, "test", 1)


def counted(collector: Collector) -> Counter[str]:
    """How often each record came."""
    for got in collector.got[collector.read :]:
        collector.ids.update(ids_of(got.topic, got.payload))
        collector.read += 1
    return collector.ids


def every(*nodes: tuple[int, int]) -> set[str]:
    """The ids of these nodes' records 1..count."""
    return {f"{node}:{seq}" for node, count in nodes for seq in range(1, count + 1)}


def fill(store: Store, *nodes: tuple[int, int], rng: Random | None = None) -> None:
    for node, count in nodes:
        add_channels(store, node)
        add_samples(store, node, 2, count - 1, rng)
