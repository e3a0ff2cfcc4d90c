"""Codebooks and rate-distortion without training: every byte beside top-1.

Rows of codebooks are named by the bits of indices of dense layers / convolutions, as Deep
Compression's tables are. Bytes are those of the weights' codes as an entropy coder stores them
(``tersor.coding``), codebooks, scales, biases, and the whole saved file; the ratio is that of the
float32 weights and biases to all of these but the graph itself, and to the file.

Needs the networks and images of tests/datasets.py (environment variable TERSOR_DATA). Calibration
uses unlabeled training images, accuracy is that of the 10,000 test images, read once a row.

    python -m benchmarks.compress.codebooks --networks resnet20 mobilenetv2 --json codebooks.json
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

import tersor
from benchmarks.harness import machine
from tersor import coding
from tests import datasets

MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)
SAMPLES = 512
NETWORKS = {
    "resnet20": "models/resnet20-cifar10.onnx",
    "mobilenetv2": "models/mobilenetv2-cifar10.onnx",
}
# Bits of dense layers and convolutions, and the share of weights that goes first.
CODEBOOKS = ((4, 4, 0.0), (2, 4, 0.0), (2, 2, 0.0), (1, 2, 0.0), (4, 4, 0.5), (4, 4, 0.75))
# Bytes that codes take; per weight where a network is larger.
RATES = (97_900 * 8 / 268_336, 77_000 * 8 / 268_336)


def normalised(x: NDArray[np.uint8]) -> NDArray[np.float32]:
    """As the networks want it."""
    return np.ascontiguousarray(((x.astype(np.float32) / 255 - MEAN) / STD).transpose(0, 3, 1, 2))


def top1(model: Any, images: datasets.Images) -> float:
    """Percent."""
    session = tersor.Session(model, 0)
    right = 0
    for start in range(0, len(images.y), 250):
        part = slice(start, start + 250)
        right += int((session(normalised(images.x[part])).argmax(1) == images.y[part]).sum())
    return 100 * right / len(images.y)


def storage(model: Any) -> dict[str, int]:
    """Bytes of every part of a model's constants, each tensor coded alone, and of the file."""
    parts = dict.fromkeys(("codes", "codebooks", "scales", "biases", "file"), 0)
    for edge in model.graph.edges:
        if not edge.is_constant:
            continue
        q = edge.qparams
        if q is None:
            parts["biases"] += np.asarray(edge.constant).nbytes
            continue
        parts["codes"] += len(coding.encode(np.asarray(edge.constant), "small"))
        parts["scales"] += (2 if len(q.scale) > 1 else 4) * len(q.scale)
        if q.codebook is not None:
            parts["codebooks"] += 2 * q.codebook.size
    parts["file"] = model.nbytes
    return parts


def recipes(graph: Any) -> dict[str, dict[str, Any]]:
    """By the name of a row."""
    dense = [node.name for node in graph.nodes if node.op == "dense"]
    found: dict[str, dict[str, Any]] = {}
    for fc, conv, sparsity in CODEBOOKS:
        name = f"codebook {fc}/{conv}" + (f", {sparsity:.0%} pruned" if sparsity else "")
        found[name] = {
            "values": "codebook4",
            "bits": conv,
            "layers": {layer: {"values": "codebook4", "bits": fc} for layer in dense},
        }
        if sparsity:
            found[name]["pruning"] = {"sparsity": sparsity}
    for bits in RATES:
        found[f"rate-distortion {bits:.2f} bits"] = {
            "values": "rate-distortion",
            "bits_per_weight": bits,
        }
    return found


def rows(network: str, only: list[str] | None, images: int) -> list[dict[str, Any]]:
    """Measure one network."""
    graph = tersor.load(datasets.find(NETWORKS[network]))
    train, test = datasets.cifar10("train"), datasets.cifar10("test")
    chosen = np.linspace(0, len(test.y) - 1, images).astype(int)  # spread over the classes
    test = datasets.Images(test.x[chosen], test.y[chosen])
    order = np.random.default_rng(0).permutation(len(train.y))
    calibration = normalised(train.x[order[:SAMPLES]])
    float_bytes = 4 * graph.parameters
    out = [{"network": network, "row": "float", "top1": top1(graph, test)}]
    out[0] |= {"file": float_bytes, "parts_ratio": 1.0, "ratio": 1.0}
    for name, recipe in recipes(graph).items():
        if only and not any(word in name for word in only):
            continue
        started = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # what is lost is what is measured
            model = tersor.compress(graph, recipe=recipe, calibration=calibration)
        seconds = time.perf_counter() - started
        parts = storage(model)
        stored = sum(size for part, size in parts.items() if part != "file")
        out.append(
            {
                "network": network,
                "row": name,
                "top1": top1(model, test),
                **parts,
                "parts_ratio": float_bytes / stored,
                "ratio": float_bytes / parts["file"],
                "seconds": seconds,
            }
        )
        print(json.dumps(out[-1]), flush=True)
    return out


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--rows", nargs="+", help="words of the rows to measure; all by default")
    parser.add_argument("--images", type=int, default=10_000, help="test images of each row")
    parser.add_argument("--json", type=Path, help="write the figures there")
    options = parser.parse_args()
    found = [r for name in options.networks for r in rows(name, options.rows, options.images)]
    table = Table(title="weights without training", title_justify="left")
    columns = ("codes", "codebooks", "scales", "biases", "file")
    heads = ("network", "FC/CONV", *columns, "ratio of parts", "of file", "top-1")
    for head in heads:
        table.add_column(head, justify="left" if head in heads[:2] else "right")
    for row in found:
        sizes = [f"{row[c]:,}" if c in row else "" for c in columns]
        ratios = [f"{row[r]:.2f}x" for r in ("parts_ratio", "ratio")]
        table.add_row(row["network"], row["row"], *sizes, *ratios, f"{row['top1']:.2f}")
    Console(width=140).print(table)
    if options.json:
        options.json.write_text(json.dumps({"machine": machine(), "rows": found}, indent=2))


if __name__ == "__main__":
    main()
