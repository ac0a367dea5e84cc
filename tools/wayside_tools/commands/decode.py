"""`wayside decode`: a frame or a serial capture, taken apart layer by layer."""

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from wayside_tools.errors import Failure, Misuse
from wayside_tools.output import JsonFlag, print_json, print_table, say

_APART = {"offset", "line_bytes", "cobs", "frame", "kind", "opened", "error", "message"}
_TABLES = {"readings", "channels", "note"}


def decode(
    what: Annotated[
        list[str], typer.Argument(help="Frames in hex or base64, a file of a serial capture, or - for stdin.")
    ],
    key: Annotated[
        str | None, typer.Option(help="The node's key, 32 hex digits. Others on this machine can see it.")
    ] = None,
    keys: Annotated[Path | None, typer.Option(help="A gateway's key file.", exists=True, dir_okay=False)] = None,
    channels: Annotated[
        str | None, typer.Option(help="Quantities of the columns, with commas, where the input does not tell.")
    ] = None,
    boot: Annotated[int | None, typer.Option(min=0, max=0xFFFFFFFF, help="The node's boot: downlinks need it.")] = None,
    json: JsonFlag = False,
) -> None:
    """Take frames apart layer by layer: COBS, clear part, nonce, COSE; with the key, the plaintext and its readings."""
    from wayside_tools.capture import Piece, from_bytes, from_text, pieces, read_file
    from wayside_tools.decode import Context, Decoder

    context = Context(_keys(key, keys), _channels(channels), boot)
    found: list[Piece] = []
    for item in what:
        if item == "-":
            data = from_bytes(sys.stdin.buffer.read())
        elif len(item) < 4096 and Path(item).is_file():
            data = read_file(Path(item))
        else:
            data = from_text(item)
        found.extend(pieces(data))
    results = list(Decoder(context).all(found))
    frames = [result for result in results if "kind" in result]
    if json:
        print_json({"frames": frames, "noise": [result for result in results if "kind" not in result]})
    else:
        _show(results)
    if not frames:
        raise Failure("no frame in it")
    if any("error" in result for result in frames):
        raise typer.Exit(1)


def _keys(key: str | None, path: Path | None) -> Mapping[int | None, bytes]:
    from wayside_gateway.errors import GatewayError
    from wayside_gateway.keys import KeyFile, parse_key

    try:
        known: dict[int | None, bytes] = {}
        if path:
            known.update((node, entry.key) for node, entry in KeyFile(path).load().items())
        if key:
            known[None] = parse_key(key)
    except GatewayError as error:
        raise Failure(str(error)) from None
    return known


def _channels(names: str | None) -> list[int]:
    from wayside_protocol.quantity import BY_NAME

    numbers = []
    for name in names.split(",") if names else ():
        if name.strip() not in BY_NAME:
            raise Misuse(f"--channels: no quantity {name.strip()!r}; there are {', '.join(BY_NAME)}")
        numbers.append(BY_NAME[name.strip()].number)
    return numbers


def _show(results: Iterable[dict[str, Any]]) -> None:
    for result in results:
        if "kind" not in result:
            say(f"byte {result['offset']}: {result['line_bytes']} bytes that are no frame ({result['error']})")
            say(f"  {result['noise']!r}")
            continue
        stuffing = f"{result['line_bytes']} bytes in COBS, " if result["cobs"] else ""
        say(f"byte {result['offset']}: {result['kind']}, {stuffing}{len(result['frame']) // 2} bytes")
        _lines(result, _APART)
        if "error" in result:
            say(f"  not read: {result['error']}")
        elif "message" in result:
            _show_message(result["message"])
        else:
            say("  sealed: give --key or --keys to open it")


def _lines(values: dict[str, Any], apart: set[str]) -> None:
    for name, value in values.items():
        if name not in apart:
            say(f"  {name:14} {'–' if value is None else value}")


def _show_message(message: dict[str, Any]) -> None:
    _lines(message, _TABLES)
    if message.get("note"):
        say(f"  {message['note']}")
    if message["says"] == "channels":
        print_table(["quantity", "unit", "place"], (channel.values() for channel in message["channels"]))
    if message.get("readings"):
        channels = message["channels"]
        rows = ([row[0], *map(_written, channels, row[1:])] for row in message["readings"])
        print_table(["time", *(f"{channel['quantity']} {channel['unit']}" for channel in channels)], rows)


def _written(channel: dict[str, Any], value: float | None) -> str | None:
    from wayside_protocol.quantity import BY_NAME

    return None if value is None else f"{value:.{BY_NAME[channel['quantity']].decimals}f}"
