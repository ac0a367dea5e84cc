"""The MQTT uplink's sink: SenML packs and notices on topics of their node, QoS 1 or 2, availability by last will.

    <prefix>/<deployment>/<node>/senml | untimed | event | health | log | channels | missing
    <prefix>/<deployment>/gateway/<gateway>/status        online | offline, retained

A block is one publish; its packet identifier comes from its number, so a block that goes again after a crash goes as
the same message. With QoS 2 and a broker that keeps its session that makes it arrive once: the broker drops a repeat
until PUBREL, and PUBREL is sent only when PUBREC is on disk here. With QoS 1, or when the broker lost the session, the
same block may arrive twice, with the same ids.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Callable, Sequence
from functools import partial

from wayside_gateway import log
from wayside_gateway.reading import read_columns
from wayside_gateway.settings import MqttSettings, Tls
from wayside_gateway.uplinks import mqtt_packets as packets
from wayside_gateway.uplinks.mqtt_connection import Connection, VersionRefused, open_connection
from wayside_gateway.uplinks.mqtt_packets import MQTT_5, MQTT_311, Ack, Property, Will
from wayside_gateway.uplinks.mqtt_reasons import (
    PACKET_ID_IN_USE,
    PACKET_TOO_LARGE,
    QUOTA_EXCEEDED,
    publish_refusal,
    reason_word,
)
from wayside_gateway.uplinks.notices import form as notice_form
from wayside_gateway.uplinks.notices import notice
from wayside_gateway.uplinks.senml import TIME_MIN_S, Writer, pack
from wayside_gateway.uplinks.sink import Advance, Block, Item, Part, Refused, TooLarge, Unavailable
from wayside_protocol.record import Samples

RECEIVED = 1
"""Stage: PUBREC came and is on disk; from here on only PUBREL is sent."""
SESSION_EXPIRY_S = 7 * 86_400
"""How long the broker shall remember what it has of us: a gateway that is away for longer may repeat a block."""
RECEIVE_MAXIMUM = 20
"""Publishes under way at most: what brokers allow where they do not say."""
WINDOW_BYTES = 4 << 20
"""Of publishes under way, about: what memory they may take."""
OVERHEAD_BYTES = 512
"""Room for topic and properties in a packet, where the broker limits packets."""
NO_LIMIT = 1 << 62
STATUS_ID = 0xFFFF
"""The packet identifier of the status; blocks use all others."""
STATUS_TIMEOUT_S = 3.0
"""How long the goodbye may take."""
QOS_2_TRIES = 5
"""Connections that end under a publish with QoS 2, none of which was ever answered, before a broker that cannot say so
(3.1.1) counts as without it."""


class MqttSink:
    """A `Sink` for one broker. `gateway` is this gateway's number."""

    def __init__(self, settings: MqttSettings, deployment: str, gateway: int) -> None:
        self._settings = settings
        self._log = log.get("uplink.mqtt")
        self._base = f"{settings.prefix}/{deployment}"
        self._status = f"{self._base}/gateway/{gateway}/status"
        self._client_id = settings.client_id or f"wayside-{deployment}-{gateway}"
        self._gateway = gateway
        self._writer = Writer(settings.names, settings.units == "secondary")
        self._limit = settings.batch_bytes
        self._connection: Connection | None = None
        self._slots = asyncio.Semaphore(RECEIVE_MAXIMUM)
        self._qos: int = settings.qos
        self._qos_2_works = False
        self._qos_2_failures = 0
        self._hard = NO_LIMIT
        self._sizes: dict[int, int] = {}  # payloads under way, by block number
        self._counted = False
        self._known = False  # the broker's session is of this life of ours
        self._fresh = False
        self._doubt = False
        self.window = RECEIVE_MAXIMUM

    # -- payloads ----------------------------------------------------------------------------------------

    def render(self, items: Sequence[Item], whole: bool = False) -> list[Part]:
        """One part for each topic, or several where they would be larger than the limit."""
        limit = NO_LIMIT if whole else self._limit
        open_parts: dict[tuple[int, str], _Pack] = {}
        parts: list[Part] = []
        for item in items:
            form, text, version = self._text(item)
            key = (item.node, form)
            current = open_parts.get(key)
            if current is None:
                current = open_parts[key] = _Pack()
            elif current.size + len(text) > limit:
                parts.append(current.part(*key))
                current = open_parts[key] = _Pack()
            current.add(item, text, version)
        parts += [current.part(*key) for key, current in open_parts.items()]
        return parts

    def _text(self, item: Item) -> tuple[str, str, int | None]:
        """The form of an item, its text and the SenML version that it needs."""
        _, node, seq, record, time, definition = item
        if not isinstance(record, Samples) or time is None or definition is None:
            return notice_form(item), notice(item), None
        columns = read_columns(record, definition)
        version = self._writer.version(definition)
        if time.unix_s is None:
            text = self._writer.untimed(node, seq, definition, record.interval_s, columns, record.t)
            return ("untimed", text, version) if text else ("missing", notice(item), None)
        if time.unix_s < TIME_MIN_S:
            raise ValueError("a time that SenML cannot say")
        interval_s = record.interval_s if time.pace == 1.0 else record.interval_s * time.pace
        text = self._writer.samples(node, seq, definition, interval_s, columns, time.unix_s, time.quality, time.bound_s)
        return ("senml", text, version) if text else ("missing", notice(item), None)

    # -- connection --------------------------------------------------------------------------------------

    async def connect(self, resume: bool) -> bool:
        """Connect, with MQTT 5 if the broker has it, and say that we are online."""
        tls = await asyncio.to_thread(_tls_context, self._settings.tls) if self._settings.tls else None
        resume = resume and not self._fresh
        levels = {"auto": (MQTT_5, MQTT_311), "5": (MQTT_5,), "3.1.1": (MQTT_311,)}[self._settings.version]
        password = await asyncio.to_thread(_password, self._settings)
        for level in levels:
            try:
                connection = await self._open(tls, level, password, resume)
                break
            except VersionRefused as error:
                if level == levels[-1]:
                    raise
                self._log.info("falling back to MQTT 3.1.1", reason=error.reason)
        self._connection = connection
        self._settle(connection)
        try:
            await self._say("online")
        except BaseException:
            await self.close(orderly=False)
            raise
        return resume and connection.connack.session_present

    async def _open(self, tls: ssl.SSLContext | None, level: int, password: str | None, resume: bool) -> Connection:
        settings = self._settings
        will = Will(self._status, b"offline")

        def hello(clean: bool, will: Will | None) -> Callable[[int], bytes]:
            return lambda level: packets.connect(
                level, self._client_id, clean, settings.keepalive_s, will, settings.user, password, SESSION_EXPIRY_S
            )

        start = partial(open_connection, settings.host, settings.port_number, tls, level, settings.keepalive_s)
        if not resume and not self._known:
            # Two steps to a session that is empty and kept: 3.1.1 has no other way, and mosquitto 2.0 saves no session
            # that began with Clean Start.
            await (await start(hello(True, None))).close(goodbye=True)
        connection = await start(hello(False, will))
        self._known, self._fresh = True, False
        return connection

    def _settle(self, connection: Connection) -> None:
        """Take over the broker's limits."""
        receive = connection.property(Property.RECEIVE_MAXIMUM, RECEIVE_MAXIMUM)
        self.window = max(1, min(receive - 1, RECEIVE_MAXIMUM, WINDOW_BYTES // self._settings.batch_bytes))
        # After a connection that broke under a publish: one at a time, until one is answered. A broker that ends the
        # connection when it has refused a publish (mosquitto 2.0.11 with QoS 2) is then heard before the end.
        self._slots = asyncio.Semaphore(1 if self._doubt else self.window)
        self._hard = min(self._hard, connection.property(Property.MAXIMUM_PACKET, NO_LIMIT) - OVERHEAD_BYTES)
        self._limit = min(self._limit, self._hard)
        qos = min(self._settings.qos, connection.property(Property.MAXIMUM_QOS, 2))
        if self._qos_2_failures >= QOS_2_TRIES:
            qos = min(qos, 1)
        self._qos = max(1, qos)
        self._counted = False

    async def watch(self) -> None:
        """Keep the connection alive; raises when it ends."""
        assert self._connection is not None
        await self._connection.watch()

    async def close(self, orderly: bool) -> None:
        """Say goodbye if orderly, else leave it to the will."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        self._connection = connection
        if orderly:
            with contextlib.suppress(Unavailable, Refused, TimeoutError):
                async with asyncio.timeout(STATUS_TIMEOUT_S):
                    await self._say("offline")
        self._connection = None
        await connection.close(goodbye=orderly)

    async def _say(self, status: str) -> None:
        assert self._connection is not None
        own = packets.properties({}) if self._connection.level == MQTT_5 else None
        payload = status.encode()
        head = packets.publish_head(self._status, len(payload), STATUS_ID, 1, retain=True, own=own)
        ack = await self._connection.publish(STATUS_ID, head, payload, (packets.PUBACK,))
        if ack.code >= packets.REFUSED_FROM:
            self._check_session(ack.code)
            error = publish_refusal(ack.code, self._status, ack.text)
            self._log.error("status refused", reason=error.reason, message=error.message, fix=error.fix)

    # -- delivery ----------------------------------------------------------------------------------------

    async def deliver(self, block: Block, advance: Advance) -> None:
        """Publish a block; return when the broker has taken it over."""
        async with self._slots:
            connection = self._connection
            if connection is None:
                raise Unavailable("connection_lost", "The connection ended.")
            packet_id = block.number % (STATUS_ID - 1) + 1
            if block.stage != RECEIVED:
                size = len(block.part.payload)
                if size > self._hard or (size > self._limit and len(block.part.items) > 1):
                    raise _too_large(size)
                ack = await self._publish(connection, packet_id, block)
                self._judge(ack, block)
                if ack.kind == packets.PUBACK:
                    return
                await advance(RECEIVED)
            await connection.release(packet_id)

    async def _publish(self, connection: Connection, packet_id: int, block: Block) -> Ack:
        payload = block.part.payload
        topic = f"{self._base}/{block.part.node}/{block.part.form}"
        own = self._properties(block) if connection.level == MQTT_5 else None
        head = packets.publish_head(topic, len(payload), packet_id, self._qos, dup=block.repeated, own=own)
        answers = (packets.PUBACK,) if self._qos == 1 else (packets.PUBREC, packets.PUBACK)
        self._sizes[block.number] = len(payload)
        try:
            ack = await connection.publish(packet_id, head, payload, answers)
        except (Unavailable, Refused) as error:
            self._learn(connection, error)
            raise
        finally:
            del self._sizes[block.number]
        self._qos_2_works = self._qos_2_works or ack.kind == packets.PUBREC
        if self._doubt and ack.code < packets.REFUSED_FROM:
            self._doubt = False
            for _ in range(self.window - 1):
                self._slots.release()
        return ack

    def _learn(self, connection: Connection, error: Unavailable | Refused) -> None:
        """From how a connection ended: what this broker does not take, where it has no words for it."""
        self._doubt = True
        if error.reason == reason_word(PACKET_TOO_LARGE):
            largest = max(self._sizes.values())
            self._limit = max(1, min(self._limit, largest // 2))
            self._hard = min(self._hard, largest - 1)
        elif self._qos == 2 and connection.level == MQTT_311 and not self._qos_2_works and not self._counted:
            self._counted = True  # once a connection
            self._qos_2_failures += 1

    def _check_session(self, code: int) -> None:
        """Raises Unavailable if the broker remembers another past than ours: then it is made to forget it.

        That is what a broker does that came back from an old copy of its state: identifiers that were done long ago are
        under way again, and they use up what it takes at once.
        """
        assert self._connection is not None
        if code == PACKET_ID_IN_USE or (code == QUOTA_EXCEEDED and self._connection.connack.session_present):
            self._known, self._fresh = False, True
            raise Unavailable("session_mismatch", "The broker's session is not what we left: it is begun anew.")

    def _properties(self, block: Block) -> bytes:
        """Content type, and the block's number as `block`: a repeat of a publish has the same."""
        kind = b"application/senml+json" if block.part.form in ("senml", "untimed") else b"application/json"
        number = f"{self._gateway}-{block.number}"
        return packets.properties({Property.PAYLOAD_FORMAT: 1, Property.CONTENT_TYPE: kind}, (("block", number),))

    def _judge(self, ack: Ack, block: Block) -> None:
        """A failing reason code is no delivery; 0x10, nobody subscribes, is one."""
        if ack.code < packets.REFUSED_FROM:
            return
        if ack.code == PACKET_TOO_LARGE:
            self._limit = max(1, min(self._limit, len(block.part.payload) // 2))
            raise _too_large(len(block.part.payload))
        self._check_session(ack.code)
        raise publish_refusal(ack.code, f"{self._base}/{block.part.node}/{block.part.form}", ack.text)


class _Pack:
    """A payload that is being put together."""

    __slots__ = ("items", "size", "texts", "version")

    def __init__(self) -> None:
        self.items: list[Item] = []
        self.texts: list[str] = []
        self.size = 32
        self.version: int | None = None

    def add(self, item: Item, text: str, version: int | None) -> None:
        self.items.append(item)
        self.texts.append(text)
        self.size += len(text) + 1
        self.version = version or self.version

    def part(self, node: int, form: str) -> Part:
        return Part(node, form, self.items, pack(self.texts, self.version))


def _too_large(size: int) -> TooLarge:
    return TooLarge("packet_too_large", f"The broker does not take a payload of {size} bytes.")


def _password(settings: MqttSettings) -> str | None:
    """Read anew for each connection, so that a changed password needs no restart."""
    if settings.password_file is None:
        return settings.password
    try:
        return settings.password_file.read_text().split("\n", 1)[0].rstrip("\r")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not UTF-8"
        fix = "Write the password into that file, and let the gateway's user read it."
        raise Refused("password_file", f"{settings.password_file} cannot be read: {why}.", fix) from None


def _tls_context(tls: Tls) -> ssl.SSLContext:
    """Made anew for each connection, so that renewed certificates need no restart."""
    try:
        context = ssl.create_default_context(cafile=tls.ca)
        if tls.cert is not None:
            context.load_cert_chain(tls.cert, tls.key)
    except (OSError, ssl.SSLError) as error:
        raise Refused("tls_files", f"The files of [mqtt.tls] cannot be used: {error}.", "Check their paths.") from None
    if tls.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
