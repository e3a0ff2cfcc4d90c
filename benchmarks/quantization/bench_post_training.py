"""Int8 post-training quantization: seconds to compress, file size, top-1, beside other quantizers.

Needs the networks and images of tests/datasets.py (environment variable TERSOR_DATA). Calibration
uses 128 training images, a new draw per subset; all contenders of a subset get the same ones, and
run one after the other in this process. Contenders whose packages are missing are left out.

    python -m benchmarks.quantization.bench_post_training --networks resnet20 resnet8
"""

from __future__ import annotations

import argparse
import importlib
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

import tersor
from benchmarks.harness import machine
from benchmarks.runtime import networks
from tests import datasets

SAMPLES = 128
PEERS = ("onnxruntime", "nncf", "pt2e", "ai_edge")
SOURCES = {"resnet20": "models/resnet20-cifar10.onnx", "resnet8": "models/resnet8-cifar10.h5"}
Predict = Callable[[NDArray[np.float32]], NDArray[np.float32]]
Quantized = tuple[float, int, Predict]


def prepare(network: str, x: NDArray[np.uint8]) -> NDArray[np.float32]:
    """As the network wants it, channels first: ResNet-8 takes bytes, the other normalised ones."""
    images = x.astype(np.float32)
    if network != "resnet8":
        images = (images / 255 - networks.MEAN) / networks.STD
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2))


def top1(predict: Predict, network: str, images: datasets.Images, count: int) -> float:
    """Percent of the first `count` test images, spread over the classes."""
    chosen = np.linspace(0, len(images.y) - 1, count).astype(int)
    right = 0
    for start in range(0, count, 250):
        part = chosen[start : start + 250]
        logits = predict(prepare(network, images.x[part]))
        right += int((logits.argmax(1) == images.y[part]).sum())
    return 100 * right / count


def tersor_graph(network: str) -> tuple[tersor.Graph, Callable[[NDArray[Any]], NDArray[Any]]]:
    """The network from its source file, and how images with channels first fit it."""
    graph = tersor.load(datasets.find(SOURCES[network]))
    if network == "resnet8":  # Keras: channels last
        return graph, lambda x: np.ascontiguousarray(x.transpose(0, 2, 3, 1))
    return graph, lambda x: x


def tersor_int8(network: str, x: NDArray[np.float32], target: Path, threads: int) -> Quantized:
    """As a peer's ``quantize``."""
    graph, fit = tersor_graph(network)
    images = fit(x)
    start = time.perf_counter()
    model = tersor.compress(graph, recipe="int8", calibration=images)
    seconds = time.perf_counter() - start
    model.save(target / "model.tersor")
    session = tersor.Session(model, threads)
    size = (target / "model.tersor").stat().st_size
    return seconds, size, lambda batch: session(fit(batch))


def contenders(network: str, folder: Path, wanted: list[str]) -> dict[str, Callable[..., Any]]:
    """Functions of (images, target folder, threads), by name."""
    found: dict[str, Callable[..., Any]] = {
        "tersor": lambda x, target, threads: tersor_int8(network, x, target, threads)
    }
    for name in wanted:
        try:
            peer = importlib.import_module(f"benchmarks.quantization.peers.{name}")
        except ImportError as error:
            print(f"{name} is left out: {error}")
            continue
        found[name] = lambda x, target, threads, peer=peer: peer.quantize(
            folder, x, target, threads
        )
    return found


def measure(network: str, args: argparse.Namespace) -> list[dict[str, Any]]:
    """One row per contender and subset, and the float network."""
    folder = networks.prepare(network, args.folder)
    train, test = datasets.cifar10("train"), datasets.cifar10("test")
    graph, fit = tersor_graph(network)
    session = tersor.Session(graph, args.threads)
    rows: list[dict[str, Any]] = [
        {
            "network": network,
            "contender": "float32",
            "top1": top1(lambda x: session(fit(x)), network, test, args.images),
            "bytes": (folder / "fp32.onnx").stat().st_size,
        }
    ]
    chosen = contenders(network, folder, args.peers)
    with tempfile.TemporaryDirectory() as name:
        for seed in track(range(-1, args.subsets), f"{network}, calibration subsets"):
            order = np.random.default_rng(max(seed, 0)).choice(len(train.y), SAMPLES, replace=False)
            x = prepare(network, train.x[order])
            for label, quantize in chosen.items():
                done = quantize(x, Path(name), args.threads)
                if done is None or seed < 0:  # the first round warms up
                    continue
                seconds, size, predict = done
                rows.append(
                    {
                        "network": network,
                        "contender": label,
                        "subset": seed,
                        "seconds": seconds,
                        "bytes": size,
                        "top1": top1(predict, network, test, args.images),
                    }
                )
    return rows


def show(rows: list[dict[str, Any]]) -> None:
    """Print a line per contender: medians of seconds, means of top-1."""
    table = Table(title="int8 after training, CIFAR-10 (JPEG)", title_justify="left")
    table.add_column("network")
    table.add_column("contender")
    for column in ("subsets", "top-1 %", "lowest %", "file bytes", "seconds"):
        table.add_column(column, justify="right")
    for network, label in dict.fromkeys((row["network"], row["contender"]) for row in rows):
        of = [r for r in rows if (r["network"], r["contender"]) == (network, label)]
        accuracies = [row["top1"] for row in of]
        seconds = [row["seconds"] for row in of if "seconds" in row]
        table.add_row(
            network,
            label,
            str(len(of)),
            f"{statistics.mean(accuracies):.3f}",
            f"{min(accuracies):.2f}",
            f"{round(statistics.mean(row['bytes'] for row in of)):,}",
            f"{statistics.median(seconds):.3f}" if seconds else "",
        )
    Console(width=110).print(table)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--networks", nargs="+", choices=SOURCES, default=list(SOURCES))
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS))
    parser.add_argument("--subsets", type=int, default=5)
    parser.add_argument("--images", type=int, default=10_000, help="test images")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path("build/networks"), help="of networks")
    parser.add_argument("--json", type=Path, help="file to write")
    args = parser.parse_args()
    tersor.set_threads(args.threads)
    rows = [row for network in args.networks for row in measure(network, args)]
    show(rows)
    if args.json:
        result = {
            "benchmark": "post_training",
            "threads": args.threads,
            "machine": machine(),
            "rows": rows,
        }
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
