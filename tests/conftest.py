"""What every test may use. A test that draws at random takes `seed`, and a failure shows it."""

import asyncio
import os
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, settings

from fakes.broker import Broker
from fakes.mqtt_collector import Collector

DATA = Path(__file__).parent / "data"

# The same examples in every run. `--hypothesis-profile=explore` draws others; it prints what repeats a failure.
settings.register_profile(
    "default", deadline=None, derandomize=True, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("explore", settings.get_profile("default"), derandomize=False)
settings.load_profile("default")

SEED_VARIABLE = "WAYSIDE_TEST_SEED"


def pytest_report_header() -> list[str]:
    """Say what this machine can run, so that a skip explains itself."""
    parts = {name: shutil.which(name, path=_path()) or "absent" for name in ("micropython", "mosquitto", "valgrind")}
    return [f"{name}: {where}" for name, where in parts.items()]


def _path() -> str:
    """Search path with this interpreter's own scripts first: pytest may be run without activating .venv."""
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])


@pytest.fixture
def data_dir() -> Path:
    """The folder of recorded data; SOURCES.md in it says where each file is from."""
    return DATA


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """A seed of the test's own: the same in every run unless the environment gives another. Printed on failure."""
    value = int(os.environ.get(SEED_VARIABLE) or Random(request.node.nodeid).getrandbits(32))
    print(f"{SEED_VARIABLE}={value}")
    return value


@pytest.fixture(scope="session")
def micropython() -> str:
    """Path of MicroPython's unix port."""
    found = shutil.which("micropython", path=_path())
    if found is None:
        pytest.skip("no MicroPython here: its wheel exists for Linux on x86_64 only")
    return found


@pytest.fixture(scope="session")
def mosquitto() -> str:
    """Path of the MQTT broker's executable."""
    found = shutil.which("mosquitto", path=_path() + os.pathsep + "/usr/sbin")
    if found is None:
        pytest.skip("no mosquitto here: apt-get install mosquitto")
    return found


@pytest.fixture
def free_port() -> int:
    """A TCP port on loopback that was free a moment ago."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@pytest.fixture
def start(mosquitto: str, free_port: int, tmp_path: Path) -> Iterator[Callable[..., Broker]]:
    """Start a broker with these options of `Broker`."""
    brokers: list[Broker] = []

    def begin(**options: object) -> Broker:
        broker = Broker(mosquitto, tmp_path / "broker", free_port, **options)  # type: ignore[arg-type]
        brokers.append(broker)
        return broker.start()

    yield begin
    for broker in brokers:
        broker.kill()


@pytest.fixture
def collect() -> Iterator[Callable[..., Collector]]:
    """Start a subscriber at a broker."""
    started: list[Collector] = []

    def begin(broker: Broker, topic: str = "wayside/test/+/+", **options: object) -> Collector:
        collector = Collector(broker.port, topic, **options)  # type: ignore[arg-type]
        started.append(collector)
        return collector.start()

    yield begin
    for collector in started:
        collector.stop()


@pytest.fixture
async def proxy_port() -> int:
    """Another free port."""
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    return port
