"""Sparse x dense (spmm_tile, spmm_pack; spmv_tile) beside the fastest dense product of the run.

Every contender of a shape takes turns for many short rounds, and the least time counts: on a busy
machine only it means something. Dense peers are the session's own products and oneDNN's (through
the session), ONNX Runtime and torch in the layout that each likes best; sparse peers are SciPy's
and torch's CSR. A sparsity pays from the break-even on, found between the sparsities measured.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
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
from tersor.sparse import SparseMatrix, matmul

Floats = NDArray[np.float32]
Call = Callable[[], Any]

# Rows, depth, columns: 1 x 1 convolutions of MobileNetV2 and ResNet-50, a 3 x 3 convolution with
# its patches given, a transformer's feed-forward layer, and few columns.
SHAPES = [
    (64, 384, 196),
    (576, 96, 196),
    (256, 1024, 196),
    (512, 2048, 49),
    (320, 960, 49),
    (1280, 320, 49),
    (64, 576, 1024),
    (3072, 768, 128),
    (4096, 4096, 16),
    (4096, 1024, 1),
]
SPARSITIES = [0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.9, 0.95]


def sparse_weights(rows: int, depth: int, sparsity: float) -> Floats:
    rng = np.random.default_rng(0)
    w = rng.normal(size=(rows, depth)).astype(np.float32)
    w[rng.random(w.shape) < sparsity] = 0
    return w


def session_call(w: Floats, x: Floats, provider: str, threads: int) -> Call:
    """Multiply x of shape (columns, depth) by a dense layer."""
    graph = tersor.Graph()
    edge = graph.add_input("x", "float32", (None, x.shape[1]))
    graph.set_outputs([graph.add_node("dense", [edge, graph.add_constant("w", w)], {})])
    session = tersor.Session(graph, threads=threads, provider=provider)
    y = session(x)
    return lambda: session(x, out=y)


def onnxruntime_call(w: Floats, x: Floats, threads: int) -> Call:
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "dense",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [len(x), len(w)])],
        [onnx.numpy_helper.from_array(np.ascontiguousarray(w.T), "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    return lambda: session.run(None, {"x": x})


def dense_calls(w: Floats, x: Floats, threads: int) -> dict[str, Call]:
    """The product by everyone's dense kernels."""
    rows_first = np.ascontiguousarray(x.T)
    calls = {
        "session": session_call(w, rows_first, "native", threads),
        "oneDNN": session_call(w, rows_first, "onednn", threads),
    }
    with contextlib.suppress(ImportError):
        calls["ONNX Runtime"] = onnxruntime_call(w, rows_first, threads)
    try:
        import torch
    except ImportError:
        return calls
    torch.set_num_threads(threads)
    a, b, bt = torch.from_numpy(w), torch.from_numpy(x), torch.from_numpy(rows_first)
    y, yt = a @ b, torch.nn.functional.linear(bt, a)
    calls["torch.mm"] = lambda: torch.mm(a, b, out=y)
    calls["torch linear"] = lambda: torch.mm(bt, a.T, out=yt)
    return calls


def sparse_calls(w: Floats, x: Floats, threads: int) -> dict[str, Call]:
    """The product by everyone's sparse kernels."""
    ws = SparseMatrix.from_dense(w)
    y = matmul(ws, x)
    calls: dict[str, Call] = {"tersor": lambda: matmul(ws, x, out=y, threads=threads)}
    try:
        from scipy.sparse import csr_array

        csr = csr_array(w)
        calls["SciPy CSR"] = lambda: csr @ x
    except ImportError:
        pass
    try:
        import torch
    except ImportError:
        return calls
    tensor, right = torch.from_numpy(w).to_sparse_csr(), torch.from_numpy(x)
    calls["torch CSR"] = lambda: tensor @ right
    return calls


def least_times(calls: dict[str, Call], seconds: float) -> dict[str, float]:
    """Least seconds of each call; they take turns until `seconds` for each are over."""
    best = dict.fromkeys(calls, math.inf)
    for call in calls.values():
        call()
    end = time.perf_counter() + seconds * len(calls)
    while time.perf_counter() < end:
        for name, call in calls.items():
            for _ in range(3):
                start = time.perf_counter()
                call()
                best[name] = min(best[name], time.perf_counter() - start)
    return best


def measure(
    shape: tuple[int, int, int], threads: int, sparsities: list[float], seconds: float, peers: bool
) -> list[dict[str, Any]]:
    """One row per sparsity."""
    rows, depth, columns = shape
    x = np.random.default_rng(1).normal(size=(depth, columns)).astype(np.float32)
    w = sparse_weights(rows, depth, 0)
    calls = dense_calls(w, x, threads)
    matrices = {s: sparse_weights(rows, depth, s) for s in sparsities}
    for s, matrix in matrices.items():
        for name, call in sparse_calls(matrix, x, threads).items():
            if peers or name == "tersor":
                calls[f"{name} {s}"] = call
    best = least_times(calls, seconds)
    dense = {name: t for name, t in best.items() if name in dense_calls_names(best)}
    fastest = min(dense, key=lambda name: dense[name])
    result = []
    for s, matrix in matrices.items():
        ws = SparseMatrix.from_dense(matrix)
        result.append(
            {
                "shape": shape,
                "threads": threads,
                "sparsity": s,
                "dense_us": {name: t * 1e6 for name, t in dense.items()},
                "fastest_dense": fastest,
                "sparse_us": {
                    name.rsplit(" ", 1)[0]: t * 1e6
                    for name, t in best.items()
                    if name.endswith(f" {s}")
                },
                "speedup": dense[fastest] / best[f"tersor {s}"],
                "format": ws.format,
                "bytes": ws.nbytes,
                "dense_bytes": matrix.nbytes,
            }
        )
    return result


def dense_calls_names(best: dict[str, float]) -> set[str]:
    return {name for name in best if not name.rsplit(" ", 1)[-1].replace(".", "").isdigit()}


def break_even(rows: list[dict[str, Any]]) -> float:
    """Least sparsity from which the speed-up stays above 1, by interpolation of the times."""
    points = sorted((r["sparsity"], 1 / r["speedup"]) for r in rows)
    for (s0, t0), (s1, t1) in zip(points[-2::-1], points[:0:-1], strict=True):
        if t0 > 1:
            return s1 if t1 > 1 else s0 + (s1 - s0) * (t0 - 1) / (t0 - t1)
    return points[0][0]


def geometric_mean(values: list[float]) -> float:
    return math.exp(sum(map(math.log, values)) / len(values))


def show(rows: list[dict[str, Any]], threads: int, sparsities: list[float]) -> None:
    """One line per shape."""
    table = Table(title=f"speed-up over the fastest dense, {threads} thread(s)")
    for column in ("shape", "fastest dense", "us", *(f"{s:.0%}" for s in sparsities), "break-even"):
        table.add_column(column, justify="right")
    shapes = list(dict.fromkeys(tuple(r["shape"]) for r in rows))
    for shape in shapes:
        own = [r for r in rows if tuple(r["shape"]) == shape]
        first = own[0]
        table.add_row(
            "x".join(map(str, shape)),
            first["fastest_dense"],
            f"{first['dense_us'][first['fastest_dense']]:.0f}",
            *(f"{r['speedup']:.2f}" for r in own),
            f"{break_even(own):.0%}",
        )
    means = []
    for s in sparsities:
        own = [r["speedup"] for r in rows if r["sparsity"] == s and r["shape"][2] >= 16]
        means.append(f"{geometric_mean(own):.2f}" if own else "")
    table.add_row("geometric mean, N >= 16", "", "", *means, "")
    Console(width=160).print(table)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--sparsity", type=float, nargs="+", default=SPARSITIES)
    parser.add_argument("--shape", type=int, nargs="+", help="indices of the shapes to run")
    parser.add_argument("--seconds", type=float, default=0.5, help="per contender")
    parser.add_argument("--no-peers", action="store_true", help="no SciPy and torch CSR")
    parser.add_argument("--json", type=Path, help="file to write")
    args = parser.parse_args()
    everything = []
    for threads in args.threads:
        rows = []
        for i in args.shape or range(len(SHAPES)):
            rows += measure(SHAPES[i], threads, args.sparsity, args.seconds, not args.no_peers)
        show(rows, threads, args.sparsity)
        everything += rows
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        document = {"benchmark": "spmm", "machine": machine(), "rows": everything}
        args.json.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
