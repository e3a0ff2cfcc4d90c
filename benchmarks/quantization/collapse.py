"""Networks whose channels differ in scale by up to 1,024: where int8 collapses.

Inside each residual block every channel of the first convolution is multiplied by a factor that is
log-uniform in [1/32, 32], and the second convolution takes it back: ReLU commutes with positive
factors, so the function stays the same. Needs the networks and images of tests/datasets.py.
"""

from __future__ import annotations

import argparse
import json
import os
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

import tersor
from benchmarks.harness import machine
from benchmarks.quantization.bench_low_bit import NETWORKS, top1
from tests import datasets

# (label, recipe); equalization is on by default.
CASES: list[tuple[str, dict[str, Any]]] = [
    ("int8 per channel", {}),
    ("int8 per tensor", {"conv_per_channel": False}),
    ("int8 per channel, not equalized", {"equalize": False}),
]
WANTED = {"ResNet-20": 87.4, "ResNet-8": 75.2}


def uneven(graph: tersor.Graph, *, most: float = 32.0, seed: int = 0) -> tersor.Graph:
    """A network of the same function with uneven channels.

    A convolution is scaled where one other convolution alone reads it, through ReLU at most.
    """
    out = graph.clone()
    out.canonicalize()
    rng = np.random.default_rng(seed)
    makers = {node.outputs[0]: node for node in out.nodes}
    reads = [i for node in out.nodes for i in node.inputs]
    for second in out.nodes:
        first = makers.get(second.inputs[0])
        if (
            first is None
            or not first.op == second.op == "conv"
            or reads.count(first.outputs[0]) > 1
        ):
            continue
        w, b, v = first.inputs[1], first.inputs[2], second.inputs[1]
        bias = np.asarray(out.edge(b).constant)
        factors = most ** rng.uniform(-1, 1, len(bias))
        column = factors.reshape(-1, 1, 1, 1)
        out.set_constant(w, np.float32(np.asarray(out.edge(w).constant) * column))
        out.set_constant(b, np.float32(bias * factors))
        out.set_constant(v, np.float32(np.asarray(out.edge(v).constant) / column[None, :, 0]))
    return out


def measure(samples: int, count: int) -> list[dict[str, Any]]:
    """One row per network and recipe."""
    train, test = datasets.cifar10("train"), datasets.cifar10("test")
    chosen = np.random.default_rng(0).choice(len(train.y), samples, replace=False)
    rows: list[dict[str, Any]] = []
    for network, (file, prepare) in NETWORKS.items():
        graph = uneven(tersor.load(datasets.find(file)))
        row: dict[str, Any] = {"network": network, "recipe": "float32", "warning": ""}
        rows.append(row | {"top1": top1(graph, prepare, test, count)})
        for label, recipe in CASES:
            start = time.perf_counter()
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                model = tersor.compress(graph, recipe=recipe, calibration=prepare(train.x[chosen]))
            rows.append(
                {
                    "network": network,
                    "recipe": label,
                    "seconds": time.perf_counter() - start,
                    "warning": "; ".join(str(w.message) for w in caught),
                    "top1": top1(model, prepare, test, count),
                    "wanted": None if "not" in label else WANTED[network],
                }
            )
    return rows


def main() -> None:
    """Command line."""
    os.environ.setdefault("KERAS_BACKEND", "torch")
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--samples", type=int, default=128, help="calibration images")
    parser.add_argument("--images", type=int, default=10_000, help="test images")
    parser.add_argument("--json", type=Path, help="file to write")
    args = parser.parse_args()
    rows = measure(args.samples, args.images)
    table = Table(title="CIFAR-10 (JPEG), channels scaled by 1/32..32", title_justify="left")
    for column in ("network", "recipe", "top-1 %", "wanted", "s", "warning"):
        table.add_column(column)
    for r in rows:
        table.add_row(
            r["network"],
            r["recipe"],
            f"{r['top1']:.2f}",
            f"{r['wanted']:.1f}" if r.get("wanted") else "",
            f"{r['seconds']:.1f}" if "seconds" in r else "",
            r["warning"],
        )
    Console().print(table)
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        document = {"benchmark": "collapse", "machine": machine(), "rows": rows}
        args.json.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
