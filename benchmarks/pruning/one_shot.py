"""One-shot pruning of ResNet-20 from unlabeled training images: the table of the results page.

``--images test`` measures the 10,000 test images; ``--images train`` training images that were not
used, for development.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

import tersor
from benchmarks.harness import machine
from tersor.compress import prune
from tests import datasets

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CASES = [
    ("unstructured", 0.5),
    ("unstructured", 0.75),
    ("unstructured", 0.9),
    ("2:4", 0.5),
    ("1x4", 0.5),
    ("1x4", 0.75),
]
METHODS = {
    "magnitude": {"method": "magnitude", "reestimate": "never"},
    "magnitude, re-estimated": {"method": "magnitude", "reestimate": "always"},
    "lamp, re-estimated": {"method": "lamp", "reestimate": "always"},
    "second-order": {"method": "second-order"},
}


def prepared(x: Any) -> Any:
    """Images as the network takes them."""
    values = (x.astype(np.float32) / 255 - np.float32(MEAN)) / np.float32(STD)
    return np.ascontiguousarray(values.transpose(0, 3, 1, 2))


def accuracy(session: Any, x: Any, y: Any) -> float:
    """Top-1 in percent."""
    right = 0
    for i in range(0, len(x), 500):
        right += int((session(prepared(x[i : i + 500])).argmax(axis=1) == y[i : i + 500]).sum())
    return 100 * right / len(x)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", choices=["test", "train"], default="test")
    parser.add_argument("--count", type=int, default=10_000, help="images to measure")
    parser.add_argument("--samples", type=int, default=1024, help="unlabeled images to prune with")
    parser.add_argument("--cases", nargs="*", help="such as unstructured@0.75 or 2:4@0.5")
    parser.add_argument("--methods", nargs="*", choices=[*METHODS], default=[*METHODS])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="file to write")
    args = parser.parse_args()
    tersor.set_threads(args.threads)
    train = datasets.cifar10("train")
    order = np.random.default_rng(0).permutation(len(train.x))
    samples = prepared(train.x[order[: args.samples]])
    if args.images == "test":
        measured = datasets.cifar10("test")
        x, y = measured.x[: args.count], measured.y[: args.count]
    else:
        rest = order[args.samples : args.samples + args.count]
        x, y = train.x[rest], train.y[rest]
    graph: Any = tersor.load(datasets.find("models") / "resnet20-cifar10.onnx")
    rows = [{"method": "float", "case": "", "top1": accuracy(tersor.Session(graph), x, y)}]
    print(rows[-1], flush=True)
    for structure, sparsity in CASES:
        if args.cases and f"{structure}@{sparsity}" not in args.cases:
            continue
        for name in args.methods:
            start = time.perf_counter()
            done = prune(graph, samples, sparsity, structure=structure, **METHODS[name])
            seconds = time.perf_counter() - start
            rows.append(
                {
                    "method": name,
                    "case": f"{structure} {sparsity:.0%}",
                    "top1": accuracy(tersor.Session(done.graph), x, y),
                    "sparsity": done.sparsity,
                    "rescaled": sum(done.rescaled.values()),
                    "seconds": round(seconds, 1),
                }
            )
            print(rows[-1], flush=True)
    table = Table(title=f"ResNet-20, {len(x)} {args.images} images", title_justify="left")
    for column in ("case", "method", "top-1 %", "sparsity", "seconds"):
        table.add_column(column)
    for row in rows:
        table.add_row(
            row["case"],
            row["method"],
            f"{row['top1']:.2f}",
            f"{row.get('sparsity', 0):.3f}",
            f"{row.get('seconds', 0):.1f}",
        )
    Console().print(table)
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        document = {"benchmark": "one_shot", "machine": machine(), "rows": rows}
        args.json.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
