"""`wayside bench wire` and `bench node`: the figures that were promised, and what a bad file gets."""

from pathlib import Path

import pytest
from bthome_ble import BTHomeBluetoothDeviceData
from habluetooth import BluetoothServiceInfoBleak
from hypothesis import given
from hypothesis import strategies as st

from cli_runner import wayside
from wayside_protocol.columns import MISSING
from wayside_protocol.quantity import BY_NAME
from wayside_tools.bench.peers import BTHOME_KEY, BTHOME_MAC, bthome_service_data, senml_pack, sparkplug_b
from wayside_tools.bench.series import batches, read
from wayside_tools.errors import Failure

HEADER = "time,temperature,humidity,pressure,pm2_5,walkers_in,walkers_out\n"


@pytest.mark.parametrize("name", ["street_1min.csv", "street_146s.csv"])
@pytest.mark.parametrize(
    ("batch", "drop", "bytes_max", "p95_max"), [(12, 0, 1.05, 90), (60, 0, 0.65, 250), (12, 0.05, 1.20, 95)]
)
def test_bytes_a_reading(data_dir: Path, name: str, batch: int, drop: float, bytes_max: float, p95_max: int) -> None:
    ended = wayside("bench", "wire", data_dir / name, "--batch", batch, "--drop", drop, "--json")
    assert ended.code == 0, ended.stderr
    result = ended.json
    print(name, batch, drop, result["bytes_per_reading"], result["frame_p95"])
    assert result["compared"] is True
    assert result["bytes_per_reading"] <= bytes_max
    assert result["frame_p95"] <= p95_max
    assert result["bytes"] / result["readings"] == pytest.approx(result["bytes_per_reading"], abs=1e-4)
    for peer in ("senml_cbor", "senml_json", "json", "sparkplug_b", "bthome"):
        assert result["peers"][peer] > 3 * result["bytes_per_reading"]


@pytest.mark.parametrize("batch", [1, 2, 100, 150, 200, 255])
def test_every_size_of_batch_comes_back(data_dir: Path, batch: int) -> None:
    """At 100 to 255 samples an escape once passed for a short code, in 8 columns of this file."""
    assert wayside("bench", "wire", data_dir / "street_1min.csv", "--batch", batch, "--json").code == 0


def test_readings_counts_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("time,walkers_in,temperature\n60,1,\n120,,20.5\n\n180,3,-4\n")
    result = wayside("bench", "wire", path, "--json").json
    assert (result["readings"], result["missing"], result["samples"], result["interval_s"]) == (4, 2, 3, 60)


def test_a_gap_closes_the_batch_and_jitter_does_not(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    times = [0, 59, 121, 180, 600, 661]
    path.write_text("time,walkers_in\n" + "".join(f"{t},1\n" for t in times))
    assert [list(batch.times) for batch in batches(read(path), 12)] == [[0, 59, 121, 180], [600, 661]]


def test_finer_values_are_rounded_and_said(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("time,temperature\n0,20.006\n60,20.00\n")
    assert read(path).rows == [(2001,), (2000,)]
    assert wayside("bench", "wire", path, "--json").json["rounded"] == 1


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ("", 1, "empty"),
        (HEADER, 1, "no readings"),
        ("time,temperature\n0,\n", 2, "no readings"),
        ("temperature,time\n", 1, "'temperature'"),
        ("time\n", 1, "no column"),
        ("time,temprature\n", 1, "'temprature'"),
        ("time,humidity,humidity\n", 1, "twice"),
        ("time,humidity\n0,1\n60,x\n", 3, "'x'"),
        ("time,humidity\n0,nan\n", 2, "'nan'"),
        ("time,humidity\n0,1e99\n", 2, "'1e99'"),
        ("time,humidity\n0,99999999\n", 2, "beyond"),
        ("time,walkers_in\n0,-1\n", 2, "count"),
        ("time,humidity\n0,1,2\n", 2, "3 cells"),
        ("time,humidity\n60,1\n60,1\n", 3, "does not come after"),
        ("time,humidity\n60,1\n\n0,1\n", 4, "does not come after"),
        ("time,humidity\n1.5,1\n", 2, "'1.5'"),
        ("time,humidity\n-1,1\n", 2, "'-1'"),
        ("time,humidity\n4294967296,1\n", 2, "4294967296"),
        ('time,humidity\n0,"1\n', 2, "end of data"),
        ("time,humidity\n0,1\0\n", 2, "x00"),
    ],
)
def test_a_bad_file_is_named_with_its_line(tmp_path: Path, text: str, line: int, word: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(text)
    ended = wayside("bench", "wire", path)
    assert ended.code == 1
    assert f"bad.csv, line {line}:" in ended.stderr
    assert word in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_a_frame_that_would_be_too_long_is_said(tmp_path: Path) -> None:
    path = tmp_path / "wild.csv"
    rows = (f"{60 * i},{(i % 2) * 9000},{(i % 2) * 9000}\n" for i in range(255))
    path.write_text("time,pm2_5,pressure\n" + "".join(rows))
    ended = wayside("bench", "wire", path, "--batch", 255)
    assert ended.code == 1
    assert "smaller --batch" in ended.stderr


@given(st.binary(max_size=400))
def test_no_bytes_make_a_traceback(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.csv"
    for head in (b"", b"time,temperature,walkers_in\n"):
        path.write_bytes(head + data)
        assert wayside("bench", "wire", path).code in (0, 1)


@given(st.text(st.sampled_from('0123456789.,-eE+ \n\r"n'), max_size=120))
def test_numbers_of_all_sorts(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "numbers.csv"
    path.write_text("time,temperature,walkers_in\n" + text)
    try:
        read(path)
    except Failure as error:
        said = str(error)
    else:
        said = "line"
    assert "line" in said


def test_senml_resolves_to_the_readings(data_dir: Path) -> None:
    """RFC 8428 §4.6: base fields hold from the record that has them on."""
    series = read(data_dir / "street_146s.csv")
    batch = next(batches(series, 12))
    base_name, base_time, unit = "", 0, ""
    resolved = set()
    for entry in senml_pack(batch, series.quantities):
        base_name = entry.get("bn", base_name)
        base_time = entry.get("bt", base_time)
        unit = entry.get("bu", unit)
        resolved.add((base_name, unit, base_time + entry.get("t", 0), entry["v"]))
    expected = {
        (f"wayside:1001:{q.name}", q.unit, t, value / 10**q.decimals)
        for t, row in zip(batch.times, batch.rows, strict=True)
        for q, value in zip(series.quantities, row, strict=True)
    }
    assert resolved == expected


def test_sparkplug_payload_reads_back(data_dir: Path) -> None:
    from pysparkplug._protobuf import Payload

    series = read(data_dir / "street_146s.csv")
    batch = next(batches(series, 12))
    payload = Payload.FromString(sparkplug_b(batch, series.quantities))
    values = [m.int_value if m.WhichOneof("value") == "int_value" else m.float_value for m in payload.metrics]
    expected = [v / 10**q.decimals for row in batch.rows for q, v in zip(series.quantities, row, strict=True)]
    assert values == pytest.approx(expected, rel=1e-6)
    assert payload.metrics[6].timestamp == batch.times[1] * 1000


def test_bthome_opens_in_its_own_parser() -> None:
    quantities = [BY_NAME[name] for name in ("temperature", "humidity", "pressure", "pm2_5", "walkers_in")]
    data = bthome_service_data((-1234, 953, 9861, 54, 16), quantities, 1)
    address = ":".join(f"{byte:02X}" for byte in BTHOME_MAC)
    info = BluetoothServiceInfoBleak(
        name="wayside", address=address, rssi=-60, manufacturer_data={}, service_uuids=[], source="",
        service_data={"0000fcd2-0000-1000-8000-00805f9b34fb": data},
        device=None,  # type: ignore[arg-type]
        advertisement=None, connectable=False, time=0, tx_power=None,
    )  # fmt: skip
    parsed = BTHomeBluetoothDeviceData(bindkey=BTHOME_KEY).update(info)
    values = {key.key: value.native_value for key, value in parsed.entity_values.items()}
    assert values["temperature"] == pytest.approx(-12.34)
    assert values["humidity"] == pytest.approx(95.3)
    assert values["pressure"] == pytest.approx(986.1)
    assert values["pm25"] == 5
    assert values["count"] == 16


def test_missing_readings_are_in_no_peer() -> None:
    quantities = [BY_NAME["temperature"], BY_NAME["walkers_in"]]
    assert len(bthome_service_data((MISSING, 3), quantities, 1)) == 1 + 2 + 8


@pytest.mark.micropython
@pytest.mark.usefixtures("micropython")
def test_a_batch_on_a_node() -> None:
    ended = wayside("bench", "node", "--json")
    assert ended.code == 0, ended.stderr
    result = ended.json
    print(result)
    assert (result["batch"], result["channels"]) == (12, 6)
    assert result["garbage_bytes_per_batch"] <= 1024
    if result["instructions_per_batch"] is not None:
        assert result["instructions_per_batch"] <= 800_000
    else:
        assert result["cpu_us_per_batch"] > 0


def test_readings_that_a_peer_cannot_carry_are_ours_all_the_same(tmp_path: Path) -> None:
    table = tmp_path / "extremes.csv"
    table.write_text("time,temperature,pm2_5,walkers_in\n1700000000,-900,-300,70000\n1700000060,900,99999.9,0\n")
    ended = wayside("bench", "wire", str(table), "--batch", "12", "--json")
    assert ended.code == 0, ended.stderr
    assert ended.json["readings"] == 6
    assert ended.json["compared"] is True


@pytest.mark.usefixtures("mosquitto")
def test_a_backlog_goes_through_whole() -> None:
    ended = wayside("bench", "ingest", "--frames", "3000", "--nodes", "3", "--json")
    assert ended.code == 0, ended.stderr
    result = ended.json
    print(result)
    assert (result["frames"], result["stored"], result["delivered"], result["acked"]) == (3000, 3000, 3000, 3000)
    assert result["duplicates"] == 0
    assert result["stopped_in_order"] is True


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.usefixtures("mosquitto")
def test_a_large_backlog_leaves_the_memory_bounded() -> None:
    """Speed is for the command to tell, on a quiet machine; what is exact or a matter of memory is held here."""
    result = wayside("bench", "ingest", "--frames", "100000", "--idle", "5", "--json").json
    print(result)
    assert result["delivered"] == result["stored"] == 100_000
    assert result["duplicates"] == 0
    assert result["idle_rss_mb"] <= 60
