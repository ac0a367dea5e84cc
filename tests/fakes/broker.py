"""A real mosquitto on a port of loopback, to start, kill and restart; and a certificate authority for it."""

import datetime
import ipaddress
import os
import signal
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

READY_S = 10.0


@dataclass
class Broker:
    """A broker whose state outlives it in `directory`. `extra` are lines of its configuration."""

    executable: str
    directory: Path
    port: int
    users: dict[str, str] = field(default_factory=dict)
    acl: str = ""
    """An access list in mosquitto's form; `write_acl` changes it later."""
    tls: bool = False
    persistent: bool = False
    """Every change is on disk before it is answered."""
    extra: tuple[str, ...] = ()
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def ca(self) -> Path:
        return self.directory / "ca.pem"

    def start(self) -> "Broker":
        """Start it, and wait until it takes connections."""
        self.directory.mkdir(exist_ok=True)
        if self.tls and not self.ca.exists():
            make_certificates(self.directory)
        (self.directory / "mosquitto.conf").write_text("\n".join(self._lines()) + "\n")
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [self.executable, "-c", str(self.directory / "mosquitto.conf")], stdout=log, stderr=log
            )
        end_s = time.monotonic() + READY_S
        while time.monotonic() < end_s:
            assert self.process.poll() is None, (self.directory / "log").read_text()
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return self
            time.sleep(0.01)
        raise AssertionError("mosquitto does not take connections")

    def _lines(self) -> list[str]:
        own = self.directory
        lines = [f"listener {self.port} 127.0.0.1"]
        if self.tls:
            lines += [f"cafile {own}/ca.pem", f"certfile {own}/server.pem", f"keyfile {own}/server.key"]
        lines += [*self.extra, "max_queued_messages 0", "log_type all", "connection_messages true"]
        if os.getuid() == 0:
            lines.append("user root")  # it would leave for a user who may not read a test's directory
        if self.users:
            self._write_passwords()
            lines += ["allow_anonymous false", f"password_file {own}/passwords"]
        else:
            lines.append("allow_anonymous true")
        if self.acl:
            (own / "acl").write_text(self.acl)
            (own / "acl").chmod(0o600)
            lines.append(f"acl_file {own}/acl")
        if self.persistent:
            lines += ["persistence true", f"persistence_location {own}/", "autosave_on_changes true"]
            lines += ["autosave_interval 1"]
        return lines

    def _write_passwords(self) -> None:
        path = self.directory / "passwords"
        path.touch(mode=0o600)
        tool = Path(self.executable).parent.parent / "bin" / "mosquitto_passwd"
        for user, password in self.users.items():
            subprocess.run(
                [str(tool) if tool.exists() else "mosquitto_passwd", "-b", str(path), user, password],
                check=True,
                capture_output=True,
            )

    def write_acl(self, acl: str) -> None:
        """Change the access list of the running broker."""
        (self.directory / "acl").write_text(acl)
        assert self.process is not None
        self.process.send_signal(signal.SIGHUP)

    def stop(self) -> None:
        """An orderly end: what it knows is on disk."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """An end without warning."""
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(10)
            self.process = None


def make_certificates(directory: Path) -> None:
    """`ca.pem`, and `server.pem` with `server.key` for localhost and 127.0.0.1, valid for a day."""
    now = datetime.datetime.now(datetime.UTC)
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a test's authority")])

    def certificate(name: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(ca_name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=5))
            .not_valid_after(now + datetime.timedelta(days=1))
        )

    ca = (
        certificate(ca_name, ca_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    key = ec.generate_private_key(ec.SECP256R1())
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    server = (
        certificate(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")]), key.public_key())
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    (directory / "ca.pem").write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    (directory / "server.pem").write_bytes(server.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    (directory / "server.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    )
