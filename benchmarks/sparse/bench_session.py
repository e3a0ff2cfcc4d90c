"""Layers of a session from their sparse and their dense form, and what the break-even table says.

    python -m benchmarks.sparse.bench_session              # shapes of ResNet-20, MobileNetV2, ...
    python -m benchmarks.sparse.bench_session --random 40  # random layers
    python -m benchmarks.sparse.bench_session --int8       # codes, pruned in blocks of 1x4

Each layer runs alone (kernels spmm_tile and shift_planes; int8: spmm_pairs or spmm_quads,
spmm_widen, finish_int8), minima of interleaved calls. "chosen" is
what a plain session takes; the last line counts choices that are more than 5 % slower than the
other form.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

import tersor
from benchmarks.harness import machine

# name, channels, height, width, outputs, kernel, stride
SHAPES = [
    ("resnet20 stage 1", 16, 32, 32, 16, 3, 1),
    ("resnet20 stage 2", 32, 16, 16, 32, 3, 1),
    ("resnet20 stage 3", 64, 8, 8, 64, 3, 1),
    ("resnet20 strided", 16, 32, 32, 32, 3, 2),
    ("resnet18 stage 2", 128, 28, 28, 128, 3, 1),
    ("resnet18 stage 3", 256, 14, 14, 256, 3, 1),
    ("expand", 96, 14, 14, 576, 1, 1),
    ("project", 576, 14, 14, 96, 1, 1),
    ("project at 7", 960, 7, 7, 320, 1, 1),
    ("wide 1x1", 384, 14, 14, 64, 1, 1),
]
SPARSITIES = (0.5, 0.6, 0.75, 0.9, 0.95)


def layer(shape: tuple[Any, ...], sparsity: float, int8: bool = False) -> tersor.Graph:
    """One convolution with ReLU, that share of its weights (int8: blocks of 1x4) 0."""
    _, channels, height, width, outputs, kernel, stride = shape
    rng = np.random.default_rng(0)
    w = rng.normal(size=(outputs, channels, kernel, kernel)).astype(np.float32)
    if int8:
        kept = rng.random((outputs, -(-channels // 4), kernel, kernel)) >= sparsity
        w *= np.repeat(kept, 4, axis=1)[:, :channels]
    else:
        w[rng.random(w.shape) < sparsity] = 0
    bias = rng.normal(size=outputs).astype(np.float32)
    graph = tersor.Graph()
    x = graph.add_input("x", "float32", (None, channels, height, width))
    attributes = {
        "strides": [stride] * 2,
        "pads": [kernel // 2] * 4,
        "activation": "relu",
    }
    if int8:
        scale = float(np.abs(w).max()) / 127 or 1.0
        codes = np.rint(w / scale).astype(np.int8)
        x = graph.add_node("quantize", [x], {}, "quantize", "q", qparams=_qparams(0.03))
        edges = [
            x,
            graph.add_constant("w", codes, qparams=_qparams(scale, narrow=True)),
            graph.add_constant(
                "b", np.int32(bias / (0.03 * scale)), qparams=_qparams(0.03 * scale, bits=32)
            ),
        ]
        y = graph.add_node("conv", edges, attributes, "conv", "y", qparams=_qparams(0.3, -128))
        graph.set_outputs([graph.add_node("dequantize", [y], {}, "dequantize")])
        return graph
    edges = [x, graph.add_constant("w", w), graph.add_constant("b", bias)]
    graph.set_outputs([graph.add_node("conv", edges, attributes, "conv")])
    return graph


def _qparams(scale: float, zero_point: int = 0, **options: Any) -> tersor.quantization.QParams:
    return tersor.quantization.QParams(scale=[scale], zero_point=[zero_point], **options)


def step_time(session: tersor.Session, x: np.ndarray) -> float:
    """Microseconds of the layer alone, without changes of layout."""
    return next(row.time_us for row in session.profile(x) if row.op == "conv")


def minima(calls: list[tuple[tersor.Session, np.ndarray]], seconds: float) -> list[float]:
    """Least times of layers that take turns."""
    best = [float("inf")] * len(calls)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for i, call in enumerate(calls):
            best[i] = min(best[i], step_time(*call))
    return best


def random_shapes(count: int) -> list[tuple[Any, ...]]:
    """Layers as networks have them."""
    rng = np.random.default_rng(0)
    shapes = []
    for i in range(count):
        size = int(rng.integers(4, 57))
        channels, outputs = (int(8 * rng.integers(1, 48)) for _ in range(2))
        kernel, stride = int(rng.choice([1, 1, 3, 3, 5])), int(rng.choice([1, 1, 1, 2]))
        if kernel * kernel * channels * outputs * size * size > 4e8:
            channels, outputs = max(8, channels // 8), max(8, outputs // 8)
        shapes.append((f"random {i}", channels, size, size, outputs, kernel, stride))
    return shapes


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--random", type=int, default=0, help="random layers instead")
    parser.add_argument("--int8", action="store_true")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=0.4, help="for each row")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    shapes = random_shapes(options.random) if options.random else SHAPES
    rng = np.random.default_rng(1)
    rows, wrong = [], 0
    print("| layer | shape | sparsity | dense us | sparse us | dense / sparse | chosen |")
    print("|---|---|--:|--:|--:|--:|---|")
    for shape in shapes:
        name, channels, height, width, outputs, kernel, stride = shape
        x = rng.normal(size=(options.batch, channels, height, width)).astype(np.float32)
        sparsities = SPARSITIES if not options.random else [float(rng.uniform(0.3, 0.98))]
        for sparsity in sparsities:
            graph = layer(shape, sparsity, options.int8)
            dense = tersor.Session(
                layer(shape, 0.0, options.int8), options.threads, provider="native"
            )
            sparse = tersor.Session(graph, options.threads, provider="sparse")
            plain = tersor.Session(graph, options.threads)
            chosen = any("sparse" in row.kernel for row in plain.profile(x))
            a, b = minima([(dense, x), (sparse, x)], options.seconds)
            wrong += (b if chosen else a) > 1.05 * min(a, b)
            text = f"{outputs}x{channels}x{kernel}x{kernel} / {stride}, {height}x{width}"
            print(
                f"| {name} | {text} | {sparsity:.2f} | {a:.1f} | {b:.1f} | {a / b:.2f} | "
                f"{'sparse' if chosen else 'dense'} |"
            )
            rows.append(
                {
                    "shape": shape[1:],
                    "sparsity": sparsity,
                    "dense": a,
                    "sparse": b,
                    "chosen": chosen,
                }
            )
    print(f"\n{wrong} of {len(rows)} choices are more than 5 % slower than the other form")
    if options.json:
        result = {"machine": machine(), "batch": options.batch, "rows": rows}
        options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
