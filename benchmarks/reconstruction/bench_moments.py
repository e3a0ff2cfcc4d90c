"""Second moments of layer inputs and second-order rounding, beside NumPy and torch.

`add_products` is the kernel behind `Moments`: every variant of this CPU is timed on the layers of
ResNet-20. Peers compute ``x.T @ x`` of patches that lie in memory already, which favours them.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

import tersor
from benchmarks.harness import machine
from tersor.reconstruction import Moments, round_matrix

# (name, channels, image, outputs): 3x3 convolutions of ResNet-20, and a dense layer as 1x1.
LAYERS = [
    ("16 x 32x32, 3x3", 16, 32, 3),
    ("32 x 16x16, 3x3", 32, 16, 3),
    ("64 x 8x8, 3x3", 64, 8, 3),
    ("768 x 16x16, 1x1", 768, 16, 1),
]


def best(function: Callable[[], Any], repeats: int) -> float:
    """Least seconds of several calls."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def measure(images: int, repeats: int) -> list[dict[str, Any]]:
    """One row per layer and contender."""
    rows = []
    for name, channels, size, kernel in LAYERS:
        rng = np.random.default_rng(0)
        x = rng.normal(size=(images, channels, size, size)).astype(np.float32)
        columns = channels * kernel * kernel
        patches = rng.normal(size=(images * size * size, columns)).astype(np.float32)
        products = len(patches) * columns * (columns + 1) / 2

        def ours(x: Any = x, columns: int = columns, kernel: int = kernel) -> None:
            pads = (kernel // 2,) * 2
            Moments(columns, threads=1).add_images(x, kernel=(kernel, kernel), pads=pads)

        for isa in tersor.supported_isas():
            tersor.force_isa(isa)
            rows.append(row(name, f"tersor {isa}", best(ours, repeats), products))
        tersor.force_isa("")
        rows.append(row(name, "numpy x.T @ x", best(lambda p=patches: p.T @ p, repeats), products))
        weight, hessian = rng.normal(size=(64, columns)), patches.T @ patches / len(patches)
        for group in (32, None):
            seconds = best(
                lambda w=weight, h=hessian, g=group: round_matrix(w, h, 4, group_size=g, threads=1),
                max(1, repeats // 3),
            )
            rows.append(row(name, f"round_matrix, group {group}", seconds, None))
    return rows


def row(layer: str, contender: str, seconds: float, products: float | None) -> dict[str, Any]:
    """One line of the result."""
    rate = None if products is None else products / seconds / 1e9
    return {"layer": layer, "contender": contender, "ms": seconds * 1e3, "gmacs_per_s": rate}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, help="file to write")
    args = parser.parse_args()
    rows = measure(args.images, args.repeats)
    table = Table(title=f"{args.images} images, 1 thread", title_justify="left")
    for column in ("layer", "contender", "ms", "GMAC/s (half of the square)"):
        table.add_column(column)
    for r in rows:
        rate = "" if r["gmacs_per_s"] is None else f"{r['gmacs_per_s']:.1f}"
        table.add_row(r["layer"], r["contender"], f"{r['ms']:.2f}", rate)
    Console().print(table)
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        document = {"benchmark": "moments", "machine": machine(), "rows": rows}
        args.json.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
