"""Int8 products with weights in blocks of 1 x 4 (spmm_pairs, spmm_quads) beside dense int8 ones.

Both give int32 sums from the same codes; packing of the inputs is part of both. Least time of many
short rounds in which the contenders take turns.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

import tersor
from benchmarks.harness import machine
from benchmarks.sparse.bench_spmm import SHAPES, least_times
from tersor.quantization import ConvInt8
from tersor.sparse import SparseMatrix, matmul

SPARSITIES = [0.5, 0.75, 0.9, 0.95]


def blocks(rows: int, depth: int, sparsity: float) -> Any:
    """Codes of which whole blocks of 1 x 4 are zero."""
    rng = np.random.default_rng(0)
    w = rng.integers(-127, 128, (rows, depth)).astype(np.int8)
    return w * np.repeat(rng.random((rows, depth // 4)) >= sparsity, 4, axis=1)


def measure(shape: tuple[int, int, int], threads: int, seconds: float) -> dict[str, Any]:
    """Speed-ups of one shape."""
    rows, depth, columns = shape
    tersor.set_threads(threads)
    x = np.random.default_rng(1).integers(-128, 128, (depth, columns)).astype(np.int8)
    channels_last = np.ascontiguousarray(x.T).reshape(1, 1, columns, depth)
    dense = ConvInt8(channels_last.shape, blocks(rows, depth, 0).reshape(rows, depth, 1, 1))
    sums = dense.accumulate(channels_last)
    calls: dict[str, Any] = {"dense": lambda: dense.accumulate(channels_last, out=sums)}
    for s in SPARSITIES:
        ws = SparseMatrix.from_dense(blocks(rows, depth, s), format="block")
        y = matmul(ws, x, threads=threads)
        calls[str(s)] = lambda ws=ws, y=y: matmul(ws, x, out=y, threads=threads)
    best = least_times(calls, seconds)
    return {
        "shape": shape,
        "threads": threads,
        "dense_us": best["dense"] * 1e6,
        "speedup": {str(s): best["dense"] / best[str(s)] for s in SPARSITIES},
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--shape", type=int, nargs="+", help="indices of the shapes to run")
    parser.add_argument("--seconds", type=float, default=0.5, help="per contender")
    parser.add_argument("--json", type=Path, help="file to write")
    args = parser.parse_args()
    everything = []
    for threads in args.threads:
        table = Table(title=f"int8 in 1 x 4 blocks over dense int8, {threads} thread(s)")
        for column in ("shape", "dense us", *(f"{s:.0%}" for s in SPARSITIES)):
            table.add_column(column, justify="right")
        for i in args.shape or range(len(SHAPES) - 1):
            row = measure(SHAPES[i], threads, args.seconds)
            table.add_row(
                "x".join(map(str, row["shape"])),
                f"{row['dense_us']:.0f}",
                *(f"{row['speedup'][str(s)]:.2f}" for s in SPARSITIES),
            )
            everything.append(row)
        Console(width=160).print(table)
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        document = {"benchmark": "spmm_int8", "machine": machine(), "rows": everything}
        args.json.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
