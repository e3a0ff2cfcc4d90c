"""Weights of 3 and 4 bits, one-shot, float activations: top-1 of second-order rounding and nearest.

Needs the networks and images of tests/datasets.py (environment variable TERSOR_DATA). Calibration
uses unlabeled training images, accuracy is that of the 10,000 test images.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

import tersor
from benchmarks.harness import machine
from tests import datasets

MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)
Prepare = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


def normalised(x: NDArray[np.uint8]) -> NDArray[np.float32]:
    """As the PyTorch networks want it."""
    return np.ascontiguousarray(((x.astype(np.float32) / 255 - MEAN) / STD).transpose(0, 3, 1, 2))


def raw(x: NDArray[np.uint8]) -> NDArray[np.float32]:
    """As the Keras network wants it."""
    return x.astype(np.float32)


NETWORKS: dict[str, tuple[str, Prepare]] = {
    "ResNet-20": ("models/resnet20-cifar10.onnx", normalised),
    "ResNet-8": ("models/resnet8-cifar10.h5", raw),
}
# (network, label, recipe, top-1 wanted)
CASES: list[tuple[str, str, dict[str, Any], float | None]] = [
    ("ResNet-20", "4 bits, group 32", {"values": "w4a32"}, 87.4),
    ("ResNet-20", "4 bits, per channel", {"values": "w4a32", "group_size": 0}, 86.5),
    ("ResNet-20", "3 bits, group 32", {"values": "w3a32"}, 86.6),
    ("ResNet-8", "4 bits, group 32", {"values": "w4a32"}, 73.5),
    ("ResNet-20", "4 bits, int8 activations", {"values": "w4a8"}, None),
]


def top1(model: Any, prepare: Prepare, images: datasets.Images, count: int) -> float:
    """Percent of `count` test images, spread over the classes."""
    session = tersor.Session(model, 0)
    chosen = np.linspace(0, len(images.y) - 1, count).astype(int)
    right = 0
    for start in range(0, count, 250):
        part = chosen[start : start + 250]
        right += int((session(prepare(images.x[part])).argmax(1) == images.y[part]).sum())
    return 100 * right / count


def weight_bits(model: Any) -> float:
    """Stored bits for each weight of a layer, scales included."""
    bits, weights = 0.0, 0
    for edge in model.graph.edges:
        if edge.is_constant and edge.qparams is not None and edge.qparams.bits <= 8:
            scales = np.asarray(edge.qparams.scale)
            half = np.array_equal(scales, scales.astype(np.float16).astype(np.float32))
            bits += edge.constant.size * edge.qparams.bits + scales.size * (16 if half else 32)
            weights += edge.constant.size
    return bits / max(weights, 1)


ROUNDINGS: dict[str, dict[str, Any]] = {
    "nearest": {"rounding": "nearest", "correct_bias": False},
    "nearest, biases corrected": {"rounding": "nearest"},
    "gptq": {"rounding": "gptq"},
}


def measure(samples: int, count: int) -> list[dict[str, Any]]:
    """One row per case and rounding, and the float networks."""
    train, test = datasets.cifar10("train"), datasets.cifar10("test")
    chosen = np.random.default_rng(0).choice(len(train.y), samples, replace=False)
    rows: list[dict[str, Any]] = []
    graphs = {}
    for name, (file, prepare) in NETWORKS.items():
        graphs[name] = tersor.load(datasets.find(file))
        score = top1(graphs[name], prepare, test, count)
        rows.append({"network": name, "format": "float32", "rounding": "", "top1": score})
    for network, label, recipe, wanted in CASES:
        prepare = NETWORKS[network][1]
        for rounding, how in ROUNDINGS.items():
            start = time.perf_counter()
            model = tersor.compress(
                graphs[network],
                recipe={**recipe, **how, "samples": samples},
                calibration=prepare(train.x[chosen]),
            )
            seconds = time.perf_counter() - start
            rows.append(
                {
                    "network": network,
                    "format": label,
                    "rounding": rounding,
                    "top1": top1(model, prepare, test, count),
                    "wanted": wanted if rounding == "gptq" else None,
                    "bits": weight_bits(model),
                    "bytes": model.nbytes,
                    "seconds": seconds,
                }
            )
    return rows


def main() -> None:
    """Command line."""
    os.environ.setdefault("KERAS_BACKEND", "torch")
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--samples", type=int, default=1024, help="calibration images")
    parser.add_argument("--images", type=int, default=10_000, help="test images")
    parser.add_argument("--json", type=Path, help="file to write")
    args = parser.parse_args()
    rows = measure(args.samples, args.images)
    table = Table(title="CIFAR-10 (JPEG), one-shot", title_justify="left")
    columns = ("network", "format", "rounding", "top-1 %", "wanted", "bits/weight", "bytes", "s")
    for column in columns:
        table.add_column(column)
    for r in rows:
        cells = [r["network"], r["format"], r["rounding"], f"{r['top1']:.2f}"]
        cells.append(f"{r['wanted']:.1f}" if r.get("wanted") else "")
        if "bytes" in r:
            cells += [f"{r['bits']:.2f}", f"{r['bytes']:,}", f"{r['seconds']:.1f}"]
        table.add_row(*cells)
    Console().print(table)
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        document = {"benchmark": "low_bit", "machine": machine(), "rows": rows}
        args.json.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
