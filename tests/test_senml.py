"""SenML as it goes out, judged by RFC 8428's rules in `senml_rules`; and the quick decoders, held to the reference."""

import json
from array import array
from decimal import Decimal
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from senml_rules import NotSenml, NotUnderstood, resolve
from uplink_records import INTERVAL_S, QUANTITIES, START_S, channels_body, event_body, samples_body, street
from wayside_gateway import fastcolumns
from wayside_gateway.reading import Definition, Definitions, read_columns, read_record
from wayside_gateway.uplinks.senml import TIME_MIN_S, Writer, number, pack, seconds, valid_name
from wayside_protocol import columns, record
from wayside_protocol.cbor import Writer as CborWriter
from wayside_protocol.errors import ColumnsError, ProtocolError
from wayside_protocol.quantity import BY_NUMBER, COUNT

SIX = Definition(tuple((number_, 0) for number_ in QUANTITIES))
UNDERSTOOD = frozenset({"boot_", "uptime_", "clock_"})


# -- the judge itself, on RFC 8428's own examples ---------------------------------------------------------


def test_the_judge_resolves_the_rfcs_example() -> None:
    """RFC 8428 §5.1.2's first example, and its resolved form in §5.1.4's manner."""
    text = """[
      {"bn":"urn:dev:ow:10e2073a0108006:","bt":1.276020076001e+09,"bu":"A","bver":10,"n":"voltage","u":"V","v":120.1},
      {"n":"current","t":-5,"v":1.2}, {"n":"current","t":-4,"v":1.3}, {"n":"current","v":1.7}]"""
    got = [(r["n"], r["u"], r["t"], r["v"]) for r in resolve(text)]
    name = "urn:dev:ow:10e2073a0108006:"
    assert got == [
        (name + "current", "A", Decimal("1276020071.001"), Decimal("1.2")),
        (name + "current", "A", Decimal("1276020072.001"), Decimal("1.3")),
        (name + "voltage", "V", Decimal("1276020076.001"), Decimal("120.1")),
        (name + "current", "A", Decimal("1276020076.001"), Decimal("1.7")),
    ]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('[{"n":"a","u":"hPa","t":1770000000,"v":1}]', "RFC 9100"),
        ('[{"n":"_a","u":"V","t":1770000000,"v":1}]', "4.5.1"),
        ('[{"n":"a b","u":"V","t":1770000000,"v":1}]', "4.5.1"),
        ('[{"n":"a","u":"V","t":100,"v":1}]', "4.5.3"),
        ('[{"n":"a","u":"V","t":1770000000}]', "4.2"),
    ],
)
def test_the_judge_refuses(text: str, why: str) -> None:
    with pytest.raises(NotSenml, match=why):
        resolve(text)


def test_the_judge_must_understand() -> None:
    with pytest.raises(NotUnderstood):
        resolve('[{"n":"a","u":"V","boot_":3,"v":1}]')


def name_of(number_: int) -> str:
    return f"wayside:1001:{BY_NUMBER[number_].name}"


# -- what the writer writes -------------------------------------------------------------------------------


def decoded(body: bytes, definition: Definition = SIX) -> tuple[record.Samples, list[fastcolumns.Column]]:
    samples = read_record(body)
    assert isinstance(samples, record.Samples)
    return samples, read_columns(samples, definition)


def test_every_reading_resolves_to_its_value_name_unit_time_and_id() -> None:
    rows = street(240)
    writer = Writer()
    texts = []
    for i in range(0, 240, 12):
        samples, values = decoded(samples_body(START_S + i * INTERVAL_S, rows[i : i + 12]))
        assert isinstance(samples.t, int)
        texts.append(writer.samples(1001, 70_000 + i, SIX, INTERVAL_S, values, samples.t, "synced", 2.0))
    got = {(r["n"], r["t"]): r for r in resolve(pack(texts, writer.version(SIX)))}
    assert len(got) == 240 * 6
    for i, row in enumerate(rows):
        for value, number_ in zip(row, QUANTITIES, strict=True):
            quantity = BY_NUMBER[number_]
            reading = got[f"wayside:1001:{quantity.name}", START_S + i * INTERVAL_S]
            assert reading["v"] == Decimal(value).scaleb(-quantity.decimals)
            assert reading["u"] == quantity.unit
            assert reading["bid"] == f"1001:{70_000 + i // 12 * 12}"
            assert (reading["btq"], reading["btb"]) == ("synced", 2)


def test_primary_units_say_the_same_exactly_in_version_10() -> None:
    """RFC 8798 §3: 1 hPa is 100 Pa, 1 ug/m3 is 1e-9 kg/m3."""
    rows = street(12)
    _, values = decoded(samples_body(START_S, rows))
    both = []
    for writer in (Writer(), Writer(secondary=False)):
        text = writer.samples(7, 1, SIX, INTERVAL_S, values, START_S, "synced", 2.0)
        both.append({(r["n"], r["t"]): r for r in resolve(pack([text], writer.version(SIX)))})
    assert Writer(secondary=False).version(SIX) is None
    assert Writer().version(Definition(((1, 0),))) is None, "degrees Celsius need no feature"
    scales = {"hPa": ("Pa", Decimal(100)), "ug/m3": ("kg/m3", Decimal("1e-9"))}
    for key, named in both[0].items():
        unit, scale = scales.get(str(named["u"]), (named["u"], Decimal(1)))
        assert both[1][key]["u"] == unit
        value = named["v"]
        assert isinstance(value, Decimal)
        assert both[1][key]["v"] == value * scale


def test_a_missing_reading_has_no_record_and_moves_no_other() -> None:
    rows = [list(row) for row in street(12)]
    missing = {(0, 0), (0, 1), (5, 1), (11, 1), *((i, 3) for i in range(12)), *((i, 4) for i in range(11))}
    for i, c in missing:
        rows[i][c] = columns.MISSING
    _, values = decoded(samples_body(START_S, rows))
    writer = Writer()
    text = writer.samples(1001, 9, SIX, INTERVAL_S, values, START_S, "reconstructed", 4.25)
    resolved = resolve(pack([text], writer.version(SIX)))
    got = {(r["n"], r["t"]): r for r in resolved}
    expected = {
        (f"wayside:1001:{BY_NUMBER[q].name}", START_S + i * INTERVAL_S): Decimal(rows[i][c]).scaleb(
            -BY_NUMBER[q].decimals
        )
        for c, q in enumerate(QUANTITIES)
        for i in range(12)
        if (i, c) not in missing
    }
    assert len(resolved) == len(got)
    assert {key: r["v"] for key, r in got.items()} == expected
    assert {(r["bid"], r["btq"], r["btb"]) for r in resolved} == {("1001:9", "reconstructed", Decimal("4.25"))}


def test_nothing_is_carried_from_one_record_to_the_next() -> None:
    """A pack of mixed qualities, nodes' places and missing readings resolves as each record does alone."""
    rng = Random(5)
    rows = [list(row) for row in street(120)]
    for row in rows:
        for c in range(6):
            if rng.random() < 0.1:
                row[c] = columns.MISSING
    placed = Definition(tuple((q, rng.randrange(3)) for q in QUANTITIES))
    writer = Writer("urn:dev:example:")
    texts = []
    for i in range(0, 120, 10):
        definition, quality, bound = rng.choice([(SIX, "synced", 2.0), (placed, "reconstructed", 0.5 * i)])
        _, values = decoded(samples_body(START_S, rows[i : i + 10]), definition)
        texts.append(writer.samples(5, i, definition, INTERVAL_S, values, START_S + 600 * i, quality, bound))
    together = resolve(pack(texts, writer.version(SIX)))
    alone = [r for text in texts for r in resolve(pack([text], writer.version(SIX)))]

    def key(reading: dict[str, object]) -> str:
        return json.dumps(reading, default=str, sort_keys=True)

    assert sorted(map(key, together)) == sorted(map(key, alone))


def test_an_unknown_time_cannot_be_taken_for_now() -> None:
    rows = [list(row) for row in street(12)]
    rows[0][0] = columns.MISSING
    samples, values = decoded(samples_body((3, 4000), rows))
    assert isinstance(samples.t, tuple)
    writer = Writer()
    data = pack([writer.untimed(1001, 5, SIX, INTERVAL_S, values, samples.t)], writer.version(SIX))
    with pytest.raises(NotUnderstood):
        resolve(data)
    got = resolve(data, UNDERSTOOD)
    assert not any("t" in r or "bt" in r for r in got)
    first = [r for r in got if r["n"] == "wayside:1001:temperature"]
    assert [(r["boot_"], r["uptime_"]) for r in first] == [(3, 4000 + 60 * i) for i in range(1, 12)]
    assert all(r["btq"] == "unknown" for r in got)
    wrong = resolve(
        pack([writer.untimed(1001, 5, SIX, INTERVAL_S, values, 946_684_800)], writer.version(SIX)), UNDERSTOOD
    )
    assert [r["clock_"] for r in wrong if r["n"] == "wayside:1001:humidity"][1] == 946_684_860


def test_all_readings_missing_is_no_text() -> None:
    none: list[int | None] = [None, None, None]
    nothing: list[fastcolumns.Column] = [none] * 6
    assert Writer().samples(1, 2, SIX, 60, nothing, START_S, "synced", 2.0) == ""
    assert Writer().untimed(1, 2, SIX, 60, nothing, (1, 2)) == ""


def test_two_columns_never_share_a_name() -> None:
    twice = Definition(((1, 0), (1, 0), (1, 2)))
    values: list[fastcolumns.Column] = [[1], [2], [3]]
    got = resolve(pack([Writer().samples(1, 2, twice, 60, values, START_S, "synced", 2.0)]))
    assert sorted(str(r["n"]) for r in got) == [
        "wayside:1:temperature",
        "wayside:1:temperature:2",
        "wayside:1:temperature:column1",
    ]


@given(st.integers(-(1 << 27), 1 << 27), st.integers(-13, 4))
def test_numbers_are_exact_json(value: int, exponent: int) -> None:
    text = number(value, exponent)
    assert json.loads(text, parse_float=Decimal, parse_int=Decimal) == Decimal(value).scaleb(exponent)


@pytest.mark.parametrize(
    ("value", "exponent", "text"),
    [(2480, -2, "24.8"), (-5, -2, "-0.05"), (-100, -2, "-1"), (0, -1, "0"), (54, -10, "54e-10"), (10132, 1, "101320")],
)
def test_numbers_are_short(value: int, exponent: int, text: str) -> None:
    assert number(value, exponent) == text


@given(st.one_of(st.integers(TIME_MIN_S, 1 << 32), st.floats(TIME_MIN_S, 1 << 32)))
def test_seconds_are_json_to_the_millisecond(value: float) -> None:
    assert abs(json.loads(seconds(value)) - value) <= 0.0005 + 1e-6


@pytest.mark.parametrize(
    ("name", "ok"),
    [
        ("wayside:", True),
        ("urn:dev:mac:0024befffe804ff1:", True),
        (":x", False),
        ("a b", False),
        ("", False),
        ("é", False),
    ],
)
def test_prefixes_that_a_name_may_begin_with(name: str, ok: bool) -> None:
    assert valid_name(name) == ok
    if not ok:
        with pytest.raises(ValueError, match="SenML"):
            Writer(name)


# -- the quick decoders against the reference -------------------------------------------------------------


def outcome(decode: "object", *arguments: object) -> object:
    assert callable(decode)
    try:
        return decode(*arguments)
    except ProtocolError as error:
        return type(error), error.reason


VALUE = st.one_of(st.integers(-(1 << 26), 1 << 26), st.integers(-50, 50), st.just(columns.MISSING))


@given(
    st.lists(st.sampled_from(QUANTITIES), min_size=1, max_size=6).flatmap(
        lambda quantities: st.tuples(
            st.just(tuple(quantities)),
            st.lists(st.lists(VALUE, min_size=len(quantities), max_size=len(quantities)), min_size=1, max_size=140),
        )
    )
)
def test_quick_columns_agree_on_what_was_encoded(case: tuple[tuple[int, ...], list[list[int]]]) -> None:
    quantities, rows = case
    for row in rows:
        for c, q in enumerate(quantities):
            if BY_NUMBER[q].kind == COUNT and row[c] != columns.MISSING:
                row[c] = abs(row[c])
    out = bytearray(20_000)
    end = columns.encode(out, 0, quantities, array("i", [value for row in rows for value in row]), len(rows))
    data = bytes(out[:end])
    values = fastcolumns.decode(data, quantities, len(rows))
    assert values == columns.decode(data, quantities, len(rows))
    expected = [[None if row[c] == columns.MISSING else row[c] for row in rows] for c in range(len(quantities))]
    assert values == expected


@given(st.binary(max_size=60), st.lists(st.sampled_from([*QUANTITIES, 250]), max_size=6), st.integers(0, 256))
def test_quick_columns_agree_on_anything(data: bytes, quantities: list[int], n: int) -> None:
    mine = outcome(fastcolumns.decode, data, tuple(quantities), n)
    assert mine == outcome(columns.decode, data, tuple(quantities), n)


@given(st.data())
def test_quick_columns_agree_on_damaged_data(data: st.DataObject) -> None:
    rows = street(24)
    at = data.draw(st.integers(0, 12))
    out = bytearray(4096)
    end = columns.encode(out, 0, QUANTITIES, array("i", [v for row in rows[at : at + 12] for v in row]), 12)
    damaged = bytearray(out[: data.draw(st.integers(1, end))])
    for _ in range(data.draw(st.integers(0, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    assert outcome(fastcolumns.decode, bytes(damaged), QUANTITIES, 12) == outcome(
        columns.decode, bytes(damaged), QUANTITIES, 12
    )


def test_quick_columns_take_all_of_the_street() -> None:
    rows = street()
    for n in (1, 2, 12, 60, 65, 255):
        for at in range(0, len(rows) - n, max(n, 37)):
            out = bytearray(20_000)
            end = columns.encode(out, 0, QUANTITIES, array("i", [v for row in rows[at : at + n] for v in row]), n)
            got = fastcolumns.decode(bytes(out[:end]), QUANTITIES, n)
            assert [list(column) for column in zip(*got, strict=True)] == rows[at : at + n]


@given(st.binary(max_size=40).map(lambda tail: b"\x86\x00" + tail))
def test_quick_records_agree_on_anything(body: bytes) -> None:
    assert outcome(read_record, body) == outcome(record.decode, body)


@given(
    st.one_of(st.integers(0, 1 << 32), st.tuples(st.integers(0, 1 << 32), st.integers(0, 1 << 32))),
    st.integers(0, 90_000),
    st.integers(0, 1 << 32),
    st.integers(0, 300),
    st.binary(max_size=300),
)
def test_quick_records_agree_on_samples(
    t: int | tuple[int, int], interval_s: int, set_id: int, n: int, data: bytes
) -> None:
    writer = CborWriter(bytearray(1024))
    writer.value([0, t, interval_s, set_id, n, data])
    body = writer.done()
    assert outcome(read_record, body) == outcome(record.decode, body)
    assert outcome(read_record, body[:-1]) == outcome(record.decode, body[:-1])


def test_other_records_are_read_too() -> None:
    body = event_body(START_S)
    assert read_record(body) == record.decode(body)


# -- definitions ------------------------------------------------------------------------------------------


def test_the_definition_in_force_is_the_last_one_before() -> None:
    two = channels_body(1, ((1, 0),))
    known = {(7, 1): [(5, channels_body(1)), (20, two), (30, channels_body(1))], (7, 2): [(1, b"\x00")]}
    definitions = Definitions(lambda node, set_id: known.get((node, set_id), []))
    assert definitions.find(7, 1, 5) is None
    first = definitions.find(7, 1, 6)
    assert first is not None
    assert first.quantities == QUANTITIES
    assert definitions.find(7, 1, 20) is first
    second = definitions.find(7, 1, 21)
    assert second is not None
    assert second.quantities == (1,)
    assert definitions.find(7, 1, 31) is first, "the same content is the same object"
    assert definitions.find(7, 2, 9) is None, "what is no channels record defines nothing"
    known[7, 2] = [(1, channels_body(2, ((2, 0),)))]
    definitions.forget(7)
    found = definitions.find(7, 2, 9)
    assert found is not None
    assert found.channels == ((2, 0),)


def test_columns_of_a_quantity_from_the_future() -> None:
    samples = read_record(samples_body(START_S, street(2)))
    assert isinstance(samples, record.Samples)
    with pytest.raises(ColumnsError) as told:
        read_columns(samples, Definition(((250, 0),)))
    assert told.value.reason == "quantity_unknown"
