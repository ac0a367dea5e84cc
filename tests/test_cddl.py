"""Every frame and message by the grammar, judged by CDDL tools that have never seen our code.

zcbor judges both ways: what it must take and what it must refuse. pycddl, where it has a wheel, is asked only what it
must take: it refuses maps whose keys are a range and miscounts groups in lists, and it lets wrong types pass in arrays.
"""

import contextlib
import functools
import io
import json
import re
from pathlib import Path
from typing import Any

import cbor2
import pytest
import zcbor
from hypothesis import given
from hypothesis import strategies as st

import micropython_port
from protocol_limits import ATOMS, EVERY, LIMITS, ODD, put
from protocol_values import downlinks, encoded, examples, keys, numbers, plains, records, sealed, uplinks
from wayside_protocol import event, quantity, record, session
from wayside_protocol.errors import CborError, MessageError

try:
    import pycddl
except ImportError:
    pycddl = None

GRAMMAR = (micropython_port.ROOT / "protocol" / "wayside.cddl").read_text()
LEAVES = {
    "frame": ("record-frame", "session-frame", "downlink-frame"),
    "record": ("samples", "event", "health", "channels", "log"),
    "uplink": ("hello", "answer"),
    "downlink": ("welcome", "ack", "command"),
}

# What a reader refuses and CDDL has no words for: relations between numbers.
SILENT = {"an empty journal", "one seq", "not touching", "not overlapping", "ascending"}
# zcbor counts a text's characters; RFC 8610 §3.8.1 counts its bytes.
CHARACTERS = {"text of an event", "board"}
PYCDDL_REFUSES = (record.Health, session.Ack, session.Welcome)


@functools.cache
def zcbor_types() -> dict[str, Any]:
    prelude = Path(zcbor.__file__).parent / "zcbor" / "prelude.cddl"
    types: dict[str, Any] = zcbor.DataTranslator.from_cddl(
        cddl_string=prelude.read_text() + GRAMMAR, default_max_qty=64
    ).my_types
    return types


def by_zcbor(rule: str, data: bytes) -> bool:
    """Whether zcbor takes it. It tells its reasons on stdout."""
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            return bool(zcbor_types()[rule].validate_str(data))
        except zcbor.CddlValidationError:
            return False


@functools.cache
def pycddl_schema(leaf: str) -> Any:
    return pycddl.Schema(f"start = {leaf}\n{GRAMMAR}")


def by_pycddl(rule: str, data: bytes) -> bool:
    """Whether pycddl takes it as one of the rule's leaves: it takes a choice between arrays too easily."""
    for leaf in LEAVES[rule]:
        with contextlib.suppress(pycddl.ValidationError):
            pycddl_schema(leaf).validate_cbor(data)
            return True
    return False


def judge(rule: str, data: bytes, pycddl_too: bool = True) -> None:
    """Both tools take it."""
    assert by_zcbor(rule, data)
    assert pycddl is None or not pycddl_too or by_pycddl(rule, data)


def taken(rule: str, data: bytes) -> bool:
    """Whether our decoder takes it; an error of CBOR itself is not the grammar's to say."""
    decode = {"record": record.decode, "uplink": session.decode_uplink, "downlink": session.decode_downlink}[rule]
    try:
        decode(data)
    except MessageError:
        return False
    return True


def test_the_grammar_has_each_leaf() -> None:
    assert set(zcbor_types()) >= {*LEAVES, *(leaf for leaves in LEAVES.values() for leaf in leaves)}


@examples(100)
@given(keys, numbers(), plains)
def test_every_frame(key: bytes, identity: tuple[int, int, int, int, int], plain: bytes) -> None:
    kind, node, a, b, boot = identity
    data = sealed(key, kind, node, a, b, boot, plain)
    judge("frame", data)


@examples(150)
@given(records)
def test_every_record(message: Any) -> None:
    judge("record", encoded(message), not isinstance(message, PYCDDL_REFUSES))


@examples(100)
@given(uplinks)
def test_every_uplink(message: Any) -> None:
    judge("uplink", encoded(message), not isinstance(message, PYCDDL_REFUSES))


@examples(100)
@given(downlinks)
def test_every_downlink(message: Any) -> None:
    judge("downlink", encoded(message), not isinstance(message, PYCDDL_REFUSES))


def test_every_vector() -> None:
    """What an independent generator wrote."""
    vectors = json.loads((Path(__file__).parent / "vectors" / "protocol.json").read_text())
    rule_of = {leaf: rule for rule, leaves in LEAVES.items() for leaf in leaves}
    for case in vectors["messages"]:
        assert by_zcbor(rule_of[case["kind"]], bytes.fromhex(case["plain"])), case
    for case in vectors["frames"]:
        judge("frame", bytes.fromhex(case["frame"]))


@pytest.mark.parametrize("limit", LIMITS)
def test_limits_from_both_sides(limit: str) -> None:
    rule, within, beyond, _ = LIMITS[limit]
    assert by_zcbor(rule, cbor2.dumps(within, canonical=True))
    assert by_zcbor(rule, cbor2.dumps(beyond, canonical=True)) == (limit in SILENT | CHARACTERS)


@pytest.mark.parametrize(("rule", "item"), EVERY, ids=str)
def test_every_element_by_every_type(rule: str, item: list[Any]) -> None:
    """The grammar and the decoder agree on each wrong type in each place."""
    for at in range(len(item)):
        for odd in ODD:
            data = cbor2.dumps(put(item, at, odd), canonical=True)
            # the kind chooses among all, and what follows is judged by its own rule alone: that is quicker
            assert by_zcbor(rule if at == 0 else LEAVES[rule][item[0]], data) == taken(rule, data), (at, odd)


@pytest.mark.parametrize(("rule", "item"), EVERY, ids=str)
def test_too_few_and_too_many_elements(rule: str, item: list[Any]) -> None:
    for wrong in (*(item[:length] for length in range(len(item))), *([*item, odd] for odd in ODD)):
        assert not by_zcbor(LEAVES[rule][item[0]], cbor2.dumps(wrong, canonical=True))


@pytest.mark.parametrize("rule", ["record", "uplink", "downlink"])
@examples(200)
@given(parts=st.lists(st.sampled_from(ATOMS), max_size=11), kind=st.integers(0, 5))
def test_what_the_decoder_takes_the_grammar_allows(rule: str, parts: list[Any], kind: int) -> None:
    data = cbor2.dumps([kind, *parts], canonical=True)
    try:
        read = taken(rule, data)
    except CborError:
        return
    assert not read or by_zcbor(rule, data)


FRAMES: dict[str, list[Any]] = {
    "kind 3": [3, 1, 2, 3, bytes(9)],
    "a negative kind": [-1, 1, 2, 3, bytes(9)],
    "a record of five": [0, 1, 2, 3, bytes(9)],
    "a session of four": [1, 1, 2, bytes(9)],
    "a downlink of six": [2, 1, 2, 3, 4, bytes(9)],
    "a node of 33 bits": [0, 2**32, 2, bytes(9)],
    "a boot of 33 bits": [1, 1, 2**32, 2, bytes(9)],
    "a gateway of 17 bits": [2, 1, 2**16, 2, bytes(9)],
    "a negative seq": [0, 1, -2, bytes(9)],
    "a float": [0, 1, 2.5, bytes(9)],
    "text for a body": [0, 1, 2, "123456789"],
    "only a tag": [0, 1, 2, bytes(8)],
    "a body beyond the frame": [0, 1, 2, bytes(1025)],
    "nothing": [],
}


@pytest.mark.parametrize("case", FRAMES)
def test_no_frame(case: str) -> None:
    assert not by_zcbor("frame", cbor2.dumps(FRAMES[case], canonical=True))
    judge("frame", cbor2.dumps([0, 1, 2, bytes(9)]))


# -- no field for a person ------------------------------------------------------------------------

# What would name, place or follow someone, as a part of a field's name.
PERSONAL = {
    "mac",
    "bssid",
    "ssid",
    "imei",
    "imsi",
    "phone",
    "person",
    "face",
    "plate",
    "image",
    "photo",
    "audio",
    "email",
    "user",
    "owner",
    "address",
}


def test_no_name_on_the_wire_is_a_persons() -> None:
    """Counts and air only: no quantity, event, health key or rule of the grammar can carry who passed."""
    rules = " ".join(line.partition(";")[0] for line in GRAMMAR.splitlines())
    names = [q.name for q in quantity.TABLE] + [*event.NAMES.values(), *event.HEALTH_NAMES.values(), rules]
    assert not PERSONAL & set(re.findall("[a-z]+", " ".join(names).lower()))


def test_a_samples_record_has_no_place_for_text() -> None:
    """It has numbers and one byte string, which the columns fill to the last bit (test_columns.py)."""
    said = [0, 5, 60, 1, 1, b"\0"]
    assert by_zcbor("record", cbor2.dumps(said))
    for at in range(6):
        assert not by_zcbor("record", cbor2.dumps(put(said, at, "a name")))
