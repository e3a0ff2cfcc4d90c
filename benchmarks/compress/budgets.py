"""ResNet-20 under a budget of size: the search beside recipes with one format for all layers.

Uniform recipes round to nearest, or by k-means alone, and then with the second-order rounding that
the search uses too; the largest format of each kind that fits counts. Bytes are those of the saved
file, accuracy that of the 10,000 test images of CIFAR-10 (JPEG), read once a row; compression sees
unlabeled training images. Needs the network and images of tests/datasets.py (environment variable
TERSOR_DATA).

    python -m benchmarks.compress.budgets --json build/budgets.json
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

import tersor
from benchmarks.compress.codebooks import normalised, top1
from benchmarks.harness import machine
from tests import datasets

SAMPLES = 1024
KB = 1024
# Uniform recipes of 3 bits and fewer; those with samples round to second order.
UNIFORM = {
    "nearest": {"values": "w3a32", "group_size": 0, "rounding": "nearest"},
    "second order": {"values": "w3a32", "group_size": 0},
    "k-means alone": {"values": "codebook4"},
    "k-means, second order": {"values": "codebook4"},
}
BITS = (3, 2)
BUDGETS = (96, 64)


def rows(only: list[str] | None) -> list[dict[str, Any]]:
    """Measure every recipe and every budget."""
    graph = tersor.load(datasets.find("models/resnet20-cifar10.onnx"))
    train, test = datasets.cifar10("train"), datasets.cifar10("test")
    order = np.random.default_rng(0).choice(len(train.y), SAMPLES, replace=False)
    samples = normalised(train.x[order])
    todo: list[tuple[str, dict[str, Any]]] = []
    for kind, recipe in UNIFORM.items():
        second = "second order" in kind
        for bits in BITS:
            wanted = {
                "recipe": {**recipe, "bits": bits},
                "calibration": samples if second else None,
            }
            todo.append((f"uniform, {bits} bits, {kind}", wanted))
    for size in BUDGETS:
        todo.append(
            (f"budget, {size} KB", {"budget": {"size": f"{size} KB"}, "calibration": samples})
        )
    found = []
    for name, options in todo:
        if only and not any(word in name for word in only):
            continue
        began, cpu = time.perf_counter(), time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # what is lost is what is measured
            model = tersor.compress(graph, **options)
        taken = {"seconds": time.perf_counter() - began, "cpu_s": time.process_time() - cpu}
        found.append({"row": name, "bytes": model.nbytes, "top1": top1(model, test), **taken})
        print(found[-1], flush=True)
    return found


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", nargs="*", help="rows with one of these words")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    tersor.set_threads(options.threads)
    found = rows(options.only)
    table = Table("network", "bytes", "top-1", "s", "CPU s")
    for row in found:
        seconds = (f"{row['seconds']:.0f}", f"{row['cpu_s']:.0f}")
        table.add_row(row["row"], f"{row['bytes']:,}", f"{row['top1']:.2f}", *seconds)
    Console().print(table)
    if options.json:
        options.json.write_text(json.dumps({"machine": machine(), "rows": found}, indent=2))


if __name__ == "__main__":
    main()
