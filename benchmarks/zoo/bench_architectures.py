"""Size, memory and latency of tersor.zoo's architectures at full size, float and int8.

Weights are random: neither size nor latency depends on them, accuracy is not looked at. Run it from
the project's root::

    python -m benchmarks.zoo.bench_architectures mobilenet_v2 resnet50 --json result.json
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

import tersor
from benchmarks.harness import machine
from tersor import zoo
from tests import exports

CALIBRATION = 8


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="name", help="default: all")
    parser.add_argument("--input-size", type=int, help="default: each architecture's own")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def variants(name: str, options: dict[str, Any]) -> dict[str, Any]:
    """Build a network and quantize it."""
    torch.manual_seed(0)
    module = zoo.create(name, **options).eval()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.onnx"
        exports.export(module, (torch.zeros(2, *module.input_shape),), path)
        graph = tersor.load(path)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(CALIBRATION, *module.input_shape)).astype(np.float32)
    # One attempt of equalization is enough where nobody looks at accuracy.
    recipe = {"values": "int8", "equalize_relu6": False}
    return {"fp32": graph, "int8": tersor.compress(graph, recipe=recipe, calibration=x)}


def main() -> None:
    """Measure, print a row per network."""
    arguments = parse()
    table = Table(title=f"tersor.zoo, batch 1, {arguments.threads} thread(s)")
    for column in ("", "MMACs", "fp32 MB", "int8 MB", "fp32 memory", "int8 memory", "fp32 ms"):
        table.add_column(column, justify="right" if column else "left")
    table.add_column("int8 ms", justify="right")
    results = {}
    for name in arguments.names or zoo.names():
        own_size = arguments.input_size is None or name == "ds_cnn"
        options = {} if own_size else {"input_size": arguments.input_size}
        report = tersor.compare(
            variants(name, options), threads=arguments.threads, runs=arguments.runs, title=name
        )
        results[name] = report.to_dict()
        rows = [report["fp32"], report["int8"]]
        table.add_row(
            name,
            f"{rows[0].macs / 1e6:,.1f}",
            *[f"{row.size_bytes / 1e6:.2f}" for row in rows],
            *[f"{row.peak_memory_bytes / 1e6:.1f}" for row in rows],
            *[f"{1e3 * row.latency.median_s:.2f}" for row in rows],
        )
    Console(width=110).print(table)
    if arguments.json:
        content = {"machine": machine(), "threads": arguments.threads, "networks": results}
        arguments.json.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
