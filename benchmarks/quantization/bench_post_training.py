"""Int8 post-training quantization of ResNet-20: seconds to compress, file size, top-1.

Needs the networks and images of tests/datasets.py (environment variable TERSOR_DATA). Calibration
uses 128 training images, a new draw per subset; all contenders of a subset get the same ones. Peers
run in this process, one after the other.
"""

from __future__ import annotations

import argparse
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
from rich.table import Table

import tersor
from benchmarks.harness import machine
from tests import datasets

MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)
SAMPLES = 128
Logits = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def prepare(x: NDArray[np.uint8]) -> NDArray[np.float32]:
    """As the network wants it: normalised, channels first."""
    return np.ascontiguousarray(((x.astype(np.float32) / 255 - MEAN) / STD).transpose(0, 3, 1, 2))


def top1(logits: Logits, images: datasets.Images, count: int) -> float:
    """Percent of the first `count` test images, spread over the classes."""
    chosen = np.linspace(0, len(images.y) - 1, count).astype(int)
    right = 0
    for start in range(0, count, 250):
        part = chosen[start : start + 250]
        right += int((logits(prepare(images.x[part])).argmax(1) == images.y[part]).sum())
    return 100 * right / count


def tersor_int8(path: Path, x: NDArray[np.float32], folder: Path, threads: int) -> dict[str, Any]:
    graph = tersor.load(path)
    start = time.perf_counter()
    model = tersor.compress(graph, calibration=x)
    seconds = time.perf_counter() - start
    model.save(folder / "model.tersor")
    session = tersor.Session(model, threads)
    return {"seconds": seconds, "bytes": (folder / "model.tersor").stat().st_size, "run": session}


def onnxruntime_int8(
    path: Path, x: NDArray[np.float32], folder: Path, threads: int
) -> dict[str, Any]:
    import onnxruntime
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self, name: str) -> None:
            self.batches = iter([{name: x[i : i + 32]} for i in range(0, len(x), 32)])

        def get_next(self) -> Any:
            return next(self.batches, None)

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    names = [i.name for i in onnxruntime.InferenceSession(path, options).get_inputs()]
    start = time.perf_counter()
    quantize_static(
        path,
        folder / "model.onnx",
        Reader(names[0]),
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    seconds = time.perf_counter() - start
    session = onnxruntime.InferenceSession(folder / "model.onnx", options)
    return {
        "seconds": seconds,
        "bytes": (folder / "model.onnx").stat().st_size,
        "run": lambda batch: session.run(None, {names[0]: batch})[0],
    }


def measure(subsets: int, count: int, threads: int) -> list[dict[str, Any]]:
    """One row per contender and subset, and the float network."""
    path = datasets.find("models/resnet20-cifar10.onnx")
    train, test = datasets.cifar10("train"), datasets.cifar10("test")
    contenders = {"tersor int8": tersor_int8}
    try:
        import onnxruntime
    except ImportError:
        pass
    else:
        del onnxruntime
        contenders["onnxruntime int8 per channel"] = onnxruntime_int8
    session = tersor.Session(tersor.load(path), threads)
    rows = [
        {"contender": "float32", "top1": top1(session, test, count), "bytes": path.stat().st_size}
    ]
    warm = prepare(train.x[:SAMPLES])
    with tempfile.TemporaryDirectory() as name:
        for contender in contenders.values():
            contender(path, warm, Path(name), threads)
        for seed in range(subsets):
            chosen = np.random.default_rng(seed).choice(len(train.y), SAMPLES, replace=False)
            x = prepare(train.x[chosen])
            for label, contender in contenders.items():
                done = contender(path, x, Path(name), threads)
                run = done.pop("run")
                rows.append(
                    {"contender": label, "subset": seed, **done, "top1": top1(run, test, count)}
                )
    return rows


def show(rows: list[dict[str, Any]]) -> None:
    """Print a line per contender: medians of seconds, means of top-1."""
    table = Table(title="ResNet-20, CIFAR-10 (JPEG)", title_justify="left")
    for column in ("contender", "subsets", "top-1 %", "lowest %", "file bytes", "seconds"):
        table.add_column(column, justify="left" if column == "contender" else "right")
    for label in dict.fromkeys(row["contender"] for row in rows):
        of = [row for row in rows if row["contender"] == label]
        accuracies = [row["top1"] for row in of]
        seconds = [row["seconds"] for row in of if "seconds" in row]
        table.add_row(
            label,
            str(len(of)),
            f"{statistics.mean(accuracies):.3f}",
            f"{min(accuracies):.2f}",
            f"{round(statistics.mean(row['bytes'] for row in of)):,}",
            f"{statistics.median(seconds):.3f}" if seconds else "",
        )
    Console().print(table)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--subsets", type=int, default=5)
    parser.add_argument("--images", type=int, default=10_000, help="test images")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="file to write")
    args = parser.parse_args()
    tersor.set_threads(args.threads)
    rows = measure(args.subsets, args.images, args.threads)
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
