"""Is the broker there, and does it take us? A connection of its own, which leaves the gateway's session alone."""

import secrets
import ssl
from functools import partial

from wayside_gateway.settings import MqttSettings
from wayside_gateway.uplinks import mqtt_packets as packets
from wayside_gateway.uplinks.mqtt import _password, _tls_context
from wayside_gateway.uplinks.mqtt_connection import VersionRefused, open_connection

LEVELS = {"auto": (5, 4), "5": (5,), "3.1.1": (4,)}
NAMES = {5: "5", 4: "3.1.1"}


async def try_broker(settings: MqttSettings) -> str:
    """The version of MQTT that a connection with these settings gets. Raises Unavailable, Refused."""
    tls: ssl.SSLContext | None = _tls_context(settings.tls) if settings.tls else None
    password = _password(settings)
    client_id = f"wayside-check-{secrets.token_hex(4)}"
    levels = LEVELS[settings.version]
    for level in levels:
        hello = partial(
            packets.connect,
            client_id=client_id,
            clean=True,
            keepalive_s=settings.keepalive_s,
            user=settings.user,
            password=password,
        )
        try:
            start = open_connection(settings.host, settings.port_number, tls, level, settings.keepalive_s, hello)
            await (await start).close(goodbye=True)
        except VersionRefused:
            if level == levels[-1]:
                raise
        else:
            return NAMES[level]
    raise AssertionError("no level")
