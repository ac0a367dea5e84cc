"""One connection to an MQTT broker: open, publish and wait for what the broker says of it, notice its end."""

import asyncio
import contextlib
import os
import re
import ssl
from collections.abc import Callable
from typing import Any

from wayside_gateway.uplinks import mqtt_packets as packets
from wayside_gateway.uplinks.mqtt_packets import Ack, Connack, Disconnect, MqttError, Parser, Property
from wayside_gateway.uplinks.mqtt_reasons import reason_code, refusal
from wayside_gateway.uplinks.sink import Refused, Unavailable

OPEN_TIMEOUT_S = 15.0
"""From the first packet to CONNACK: over a poor mobile link a TLS handshake takes several seconds."""
CLOSE_TIMEOUT_S = 3.0
"""How long an orderly end may take."""
ACK_TIMEOUT_S = 30.0
"""Until the broker answers a publish; a broker that syncs each message to an SD card takes seconds when busy."""
READ_BYTES = 64 << 10
UNREACHABLE_FIX = "Check `host` and `port` of [mqtt], and that the broker runs and no firewall is between."


class VersionRefused(Unavailable):
    """The broker does not speak this version of MQTT."""


class Connection:
    """An open connection. `level` is the version in use, `connack` what the broker said at the start."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, level: int, where: str, keepalive_s: int
    ) -> None:
        self.level = level
        self.connack = Connack(False, 0)
        self._where = where
        self._reader = reader
        self._writer = writer
        self._parser = Parser(level)
        self._keepalive_s = float(keepalive_s)
        self._answers: dict[tuple[int, int], asyncio.Future[Ack]] = {}
        self._heard = True
        self._greeted: asyncio.Future[Connack] = asyncio.get_running_loop().create_future()
        self._ended: asyncio.Future[Unavailable | Refused] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._read(), name=f"mqtt-read-{where}")

    def property(self, key: Property, default: int) -> int:
        """A number that the broker gave in CONNACK."""
        value = self.connack.properties.get(key, default)
        return value if isinstance(value, int) else default

    async def greet(self, packet: bytes) -> None:
        """Send CONNECT and take the answer. Raises VersionRefused, Unavailable, Refused."""
        self._writer.write(packet)
        try:
            async with asyncio.timeout(OPEN_TIMEOUT_S):
                waiting: list[asyncio.Future[Any]] = [self._greeted, self._ended]
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError:
            raise Unavailable("no_answer", f"{self._where} took the connection but does not answer.") from None
        if not self._greeted.done():
            raise VersionRefused("closed_at_connect", f"{self._where} closed the connection instead of an answer.")
        self.connack = self._greeted.result()
        code = reason_code(self.level, self.connack.code)
        if code == packets.VERSION_REFUSED:
            raise VersionRefused("protocol_version", f"{self._where} does not speak this version of MQTT.")
        if code >= packets.REFUSED_FROM:
            raise refusal(code, self._where)
        self._keepalive_s = self.property(Property.SERVER_KEEP_ALIVE, int(self._keepalive_s))

    async def publish(self, packet_id: int, head: bytes, payload: bytes, answers: tuple[int, ...]) -> Ack:
        """Send a PUBLISH and return the broker's answer, one of these kinds. Raises Unavailable, Refused."""
        return await self._ask(packet_id, answers, head, payload)

    async def release(self, packet_id: int) -> Ack:
        """Send PUBREL and return PUBCOMP. Raises Unavailable, Refused."""
        return await self._ask(packet_id, (packets.PUBCOMP,), packets.pubrel(packet_id))

    async def _ask(self, packet_id: int, kinds: tuple[int, ...], *data: bytes) -> Ack:
        if self._ended.done():
            raise self._ended.result()
        answer: asyncio.Future[Ack] = asyncio.get_running_loop().create_future()
        for kind in kinds:
            self._answers[kind, packet_id] = answer
        try:
            for part in data:
                if not self._writer.transport.is_closing():
                    self._writer.write(part)
            async with asyncio.timeout(ACK_TIMEOUT_S):
                with contextlib.suppress(OSError):  # the answer may have come before the end; if not, `_end` tells
                    await self._writer.drain()
                return await answer
        except TimeoutError:
            raise Unavailable("no_answer", f"{self._where} did not answer for {ACK_TIMEOUT_S:g} s.") from None
        finally:
            for kind in kinds:
                self._answers.pop((kind, packet_id), None)

    async def watch(self) -> None:
        """Keep the connection alive; raises Unavailable or Refused when it ends."""
        while True:
            done, _ = await asyncio.wait([self._ended], timeout=self._keepalive_s / 2 or None)
            if done:
                raise self._ended.result()
            if not self._heard:
                raise self._gone(f"silent for {self._keepalive_s:g} s")
            self._heard = False
            if not self._writer.transport.is_closing():
                self._writer.write(packets.PINGREQ)

    async def close(self, goodbye: bool) -> None:
        """End it. Without a goodbye the broker publishes the will."""
        with contextlib.suppress(OSError):
            if goodbye and not self._ended.done():
                self._writer.write(packets.GOODBYE)
                self._writer.close()
                async with asyncio.timeout(CLOSE_TIMEOUT_S):
                    await self._writer.wait_closed()
        self._writer.transport.abort()
        self._task.cancel()
        await asyncio.gather(self._task, self._writer.wait_closed(), return_exceptions=True)

    async def _read(self) -> None:
        error: Unavailable | Refused
        try:
            while data := await self._reader.read(READ_BYTES):
                self._heard = True
                for packet in self._parser.feed(data):
                    self._take(packet)
            error = self._gone("closed by the broker")
        except MqttError as broken:
            error = Unavailable("protocol", f"{self._where} sent what is no MQTT ({broken.reason}).")
        except OSError as broken:
            error = self._gone(str(broken))
        if not self._ended.done():
            self._end(error)

    def _take(self, packet: packets.Packet) -> None:
        if isinstance(packet, Ack):
            answer = self._answers.get((packet.kind, packet.packet_id))
            if answer is not None and not answer.done():
                answer.set_result(packet)
        elif isinstance(packet, Connack):
            if not self._greeted.done():
                self._greeted.set_result(packet)
        elif isinstance(packet, Disconnect):
            self._end(refusal(packet.code, self._where, packet.text))

    def _end(self, error: Unavailable | Refused) -> None:
        if not self._ended.done():
            self._ended.set_result(error)
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(error)
                answer.exception()  # its task may be gone: no complaint about an error nobody took

    def _gone(self, why: str) -> Unavailable:
        return Unavailable("connection_lost", f"The connection to {self._where} ended: {why}.")


def _why(error: OSError) -> str:
    """What the system said. asyncio hides it behind addresses, and for several addresses in one text."""
    numbers = re.findall(r"\[Errno (\d+)\]", str(error))
    return ", ".join(dict.fromkeys(os.strerror(int(number)) for number in numbers)) or error.strerror or str(error)


async def open_connection(
    host: str, port: int, tls: ssl.SSLContext | None, level: int, keepalive_s: int, connect: Callable[[int], bytes]
) -> Connection:
    """A connection on which the broker has accepted us. Raises VersionRefused, Unavailable, Refused."""
    where = f"the broker {host}:{port}"
    try:
        async with asyncio.timeout(OPEN_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(host, port, ssl=tls)
    except ssl.SSLCertVerificationError as error:
        raise Refused(
            "tls_certificate",
            f"The certificate of {where} was not accepted: {error.verify_message}.",
            "Give the authority that signed it as `ca` in [mqtt.tls], and the name in it as `host`.",
        ) from None
    except ssl.SSLError as error:
        raise Unavailable("tls", f"No TLS with {where}: {error.reason}.", "Check the port, and [mqtt.tls].") from None
    except TimeoutError:
        raise Unavailable(
            "unreachable", f"{where} does not answer within {OPEN_TIMEOUT_S:g} s.", UNREACHABLE_FIX
        ) from None
    except OSError as error:
        raise Unavailable("unreachable", f"{where} cannot be reached: {_why(error)}.", UNREACHABLE_FIX) from None
    connection = Connection(reader, writer, level, where, keepalive_s)
    try:
        await connection.greet(connect(level))
    except BaseException:
        await connection.close(goodbye=False)
        raise
    return connection
