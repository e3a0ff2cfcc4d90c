"""``tersor bench``: latency and memory of one network on this machine."""

from __future__ import annotations

import argparse
from typing import Any

from .options import load_model, new_command, whole
from .output import print_json, print_rich


def add_parser(commands: Any) -> None:
    """Add the command.

    Parameters
    ----------
    commands : object
        What ``add_subparsers`` returned.
    """
    parser = new_command(
        commands,
        "bench",
        "measure latency and memory of a network on this machine",
        "Measure a network on this machine: warm-up runs, then counted runs of a call from Python.",
    )
    parser.add_argument("model", help="network: .onnx, .tflite, .tersor, .keras, .h5, or digits")
    parser.add_argument("--threads", type=whole(1), default=1, help="threads (default 1)")
    parser.add_argument("--batch", type=whole(1), default=1, help="samples in a call (default 1)")
    parser.add_argument("--warmup", type=whole(0), default=10, help="warm-up runs (default 10)")
    parser.add_argument("--runs", type=whole(1), default=100, help="counted runs (default 100)")
    parser.add_argument(
        "--precision", choices=("fp32", "bf16"), help="of float layers (default: the recipe's)"
    )
    parser.add_argument(
        "--arithmetic", choices=("fast", "exact"), default="fast", help="of int8 layers"
    )
    parser.add_argument("--profile", action="store_true", help="add time and kernel of each layer")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Measure and print.

    Parameters
    ----------
    options : argparse.Namespace
    """
    from ..report.environment import describe_environment
    from ..report.inputs import random_inputs
    from ..report.measure import measure_latency, peak_rss_bytes
    from ..report.model import file_bytes, graph_of, precision_of, recipe_name
    from ..runtime import Session

    model = load_model(options.model)
    precision = options.precision or precision_of(model)
    session = Session(model, options.threads, precision=precision, arithmetic=options.arithmetic)
    inputs = random_inputs(graph_of(model), options.batch)
    batch = len(inputs[0])
    if batch != options.batch:
        raise ValueError(f"bench: the network has a fixed batch of {batch}, got {options.batch}")
    latency = measure_latency(
        lambda: session(*inputs), warmup=options.warmup, runs=options.runs, batch=batch
    )
    result = {
        "model": options.model,
        "recipe": recipe_name(model),
        "precision": precision,
        "arithmetic": options.arithmetic,
        "threads": options.threads,
        "size_bytes": file_bytes(model),
        "latency": latency.to_dict(),
        "session_memory_bytes": session.peak_memory_bytes,
        "process_peak_bytes": peak_rss_bytes(),
        "environment": describe_environment(),
    }
    profile = session.profile(*inputs) if options.profile else None
    if options.json:
        if profile is not None:
            result["layers"] = profile.to_dicts()
        print_json(result)
        return
    print_rich(_table(options, result))
    if profile is not None:
        print_rich(profile.table())


def _table(options: argparse.Namespace, result: dict[str, Any]) -> Any:
    from rich.table import Table

    from ..base.plain_text import plain_text
    from ..targets.units import format_bytes, format_seconds

    latency, environment = result["latency"], result["environment"]
    title = f"{options.model}: {environment['processor']} ({environment['isa']})"
    caption = (
        f"{result['recipe']}, batch {options.batch}, {options.threads} thread(s), "
        f"{options.warmup} warm-up and {options.runs} counted runs"
    )
    table = Table(
        title=plain_text(title, "table.title"),
        title_justify="left",
        caption=plain_text(caption, "table.caption"),
        caption_justify="left",
    )
    row = []
    for name, text in (
        ("mean", format_seconds(latency["mean_s"])),
        ("median", format_seconds(latency["median_s"])),
        ("p95", format_seconds(latency["p95_s"])),
        ("min", format_seconds(latency["min_s"])),
        ("samples/s", f"{latency['samples_per_s']:,.0f}"),
        ("session memory", format_bytes(result["session_memory_bytes"])),
        ("process peak", format_bytes(result["process_peak_bytes"])),
    ):
        table.add_column(name, justify="right")
        row.append(text)
    table.add_row(*row)
    return table


__all__ = ["add_parser", "run"]
