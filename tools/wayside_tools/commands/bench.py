"""`wayside bench`: bytes on the wire, a node's work, a gateway's speed."""

from pathlib import Path
from typing import Annotated, Any

import typer

from wayside_tools.output import JsonFlag, print_json, print_table, say

app = typer.Typer(
    help="Measure: bytes on the wire, a node's work for a batch, a gateway's speed.", no_args_is_help=True
)


@app.command()
def wire(
    file: Annotated[Path, typer.Argument(help="CSV: first column `time` (Unix s), the others named by quantity.")],
    batch: Annotated[int, typer.Option(min=1, max=255, help="Samples in a record.")] = 12,
    drop: Annotated[float, typer.Option(min=0, max=0.99, help="Take out this share of the readings, by chance.")] = 0,
    seed: Annotated[int, typer.Option(help="Of that chance.")] = 1,
    json: JsonFlag = False,
) -> None:
    """Bytes a reading takes on the wire: every frame is sealed, opened, decoded and compared with the file."""
    from wayside_tools.bench.wire import bench_wire

    result = bench_wire(file, batch, drop, seed)
    if json:
        print_json(result)
        return
    say(
        f"{result['readings']:,} readings in {result['frames']:,} frames of up to {batch} samples: "
        f"{result['bytes']:,} bytes, {result['bytes_per_reading']:.3f} a reading; "
        f"95 % of the frames within {result['frame_p95']} bytes."
    )
    rows = [("wayside", f"{result['bytes_per_reading']:.2f}", "sealed")]
    rows += [
        (name, "–" if size is None else f"{size:.2f}", "sealed" if name == "bthome" else "in clear")
        for name, size in result["peers"].items()
    ]
    print_table(["format", "bytes a reading", ""], rows)


@app.command()
def node(json: JsonFlag = False) -> None:
    """Work and garbage of one batch of 12 × 6 readings on a node, in real MicroPython with 256 KiB of heap."""
    from wayside_tools.bench.node import bench_node

    _show(bench_node(), json)


@app.command()
def ingest(
    frames: Annotated[int, typer.Option(min=1, max=10_000_000, help="How many frames to feed.")] = 100_000,
    nodes: Annotated[int, typer.Option(min=1, max=1000, help="From how many nodes.")] = 8,
    idle: Annotated[float, typer.Option(min=0, max=3600, help="Seconds to watch the gateway idle afterwards.")] = 0,
    json: JsonFlag = False,
) -> None:
    """Frames a second through a serial line into the gateway and on to an MQTT broker, and the CPU they take."""
    from wayside_tools.bench.ingest import bench_ingest

    result = bench_ingest(frames, nodes, idle)
    _show(result, json)
    if result["stored"] != frames or result["delivered"] != frames:
        raise typer.Exit(1)


def _show(result: dict[str, Any], json: bool) -> None:
    if json:
        print_json(result)
        return
    print_table(["figure", "value"], ((name.replace("_", " "), value) for name, value in result.items()))
