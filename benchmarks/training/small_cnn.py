"""The small CNN of the multi-scale study and its depthwise-separable rewrite, trained and measured.

Trains ``tersor.zoo.small_cnn`` on CIFAR-10, rewrites it by ``to_depthwise_separable``, fine-tunes
the rewrite, quantizes both to int8, and prints accuracy, size and latency beside the figures that
the study published (section A of the reference results). Run it from the project's root::

    python -m benchmarks.training.small_cnn --output build/small_cnn

``TERSOR_DATA`` names the folder with ``data/cifar10-jpeg.tar.xz``. Settings are chosen with
``--held-out 5000``, which measures on training images that are left out; the test images are for
the final figures only.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch import nn

import tersor
from benchmarks.harness import machine
from tersor import zoo
from tersor.data import Augment, Preprocess
from tersor.torch import separable_errors, to_depthwise_separable
from tersor.training import evaluate, fit
from tests import datasets

PREPARE = Preprocess(
    scale="1/255", mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), layout="NCHW"
)
CALIBRATION = 512
# What the study printed: size, top-1 on 1,000 images, latency. The latencies are its estimates.
PUBLISHED = {
    "study: cloud": ("3.81 MB", "83.7 %", "5 ms, estimated"),
    "study: edge": ("0.33 MB", "83.6 %", "20 ms, estimated"),
    "study: microcontroller": ("341 KB", "82.8 %", "50 ms, estimated"),
    "study: separable rewrite": ("291 KB", "", ""),
}


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--fine-tune-epochs", type=int, default=6)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--learning-rate", type=float, default=0.1)
    parser.add_argument("--fine-tune-rate", type=float, default=0.05)
    parser.add_argument("--weight-decay", type=float, default=5e-4)
    parser.add_argument("--label-smoothing", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--train-threads", type=int, default=0, help="0 is PyTorch's choice")
    parser.add_argument("--threads", type=int, default=1, help="of the measured sessions")
    parser.add_argument("--held-out", type=int, default=0, help="measure on training images")
    parser.add_argument("--limit", type=int, help="training images, for a quick try")
    parser.add_argument("--resume", action="store_true", help="go on with an interrupted run")
    parser.add_argument("--output", type=Path, default=Path("build/small_cnn"))
    return parser.parse_args()


Images = tuple[NDArray[np.uint8], NDArray[np.int64]]


def load_data(arguments: argparse.Namespace) -> tuple[Images, Images]:
    """Return images to train on and images to measure on."""
    train, test = datasets.cifar10("train"), datasets.cifar10("test")
    order = np.random.default_rng(0).permutation(len(train.x))
    held, rest = order[: arguments.held_out], order[arguments.held_out :][: arguments.limit]
    measured = (train.x[held], train.y[held]) if len(held) else (test.x, test.y)
    return (train.x[rest], train.y[rest]), measured


def train(
    name: str, module: nn.Module, data: Images, arguments: argparse.Namespace, tune: bool = False
) -> dict[str, Any]:
    """Train in place; return seconds and the history."""
    start = time.perf_counter()
    history = fit(
        module,
        data,
        epochs=arguments.fine_tune_epochs if tune else arguments.epochs,
        batch_size=arguments.batch_size,
        learning_rate=arguments.fine_tune_rate if tune else arguments.learning_rate,
        schedule="one_cycle",
        weight_decay=arguments.weight_decay,
        label_smoothing=arguments.label_smoothing,
        augment=Augment(crop=4, flip=True),
        preprocess=PREPARE,
        checkpoint_dir=arguments.output / name,
        resume=arguments.resume,
        log_dir=arguments.output / name,
        seed=arguments.seed,
    )
    torch.save(module.state_dict(), arguments.output / f"{name}.pt")
    seconds = time.perf_counter() - start
    return {"train_s": seconds, "train_accuracy": history["accuracy"][-1]}


def variants(name: str, module: nn.Module, calibration: NDArray[np.uint8]) -> dict[str, Any]:
    """Import a module and quantize it."""
    graph = tersor.from_torch(module.eval(), torch.zeros(1, *module.input_shape))
    graph.preprocess = PREPARE.to_dict()
    int8 = tersor.compress(graph, recipe="int8", calibration=calibration)
    return {f"{name} fp32": graph, f"{name} int8": int8}


def show(report: tersor.Report) -> None:
    """Print the measured rows and the published ones."""
    table = Table(title=report.title)
    for column in ("", "parameters", "MMACs", "size", "top-1", "latency, batch 1"):
        table.add_column(column, justify="left" if not column else "right")
    for row in report.variants:
        table.add_row(
            row.name,
            f"{row.parameters:,}",
            f"{row.macs / 1e6:.1f}",
            f"{row.size_bytes / 1024:.1f} KB",
            f"{100 * row.accuracy:.2f} %" if row.accuracy is not None else "",
            f"{1e3 * row.latency.median_s:.3f} ms",
        )
    for name, (size, accuracy, latency) in PUBLISHED.items():
        table.add_row(name, "324,394" if "cloud" in name else "", "", size, accuracy, latency)
    Console(width=110).print(table)


def main() -> None:
    """Train, rewrite, fine-tune, measure, write ``result.json``."""
    arguments = parse()
    arguments.output.mkdir(parents=True, exist_ok=True)
    if arguments.train_threads:
        torch.set_num_threads(arguments.train_threads)
    data, measured = load_data(arguments)
    torch.manual_seed(arguments.seed)
    module: nn.Module = zoo.small_cnn()
    runs = {"small_cnn": train("small_cnn", module, data, arguments)}
    rewritten = to_depthwise_separable(module, exclude=["features.0"])
    before = evaluate(rewritten, measured, preprocess=PREPARE)["accuracy"]
    errors = separable_errors(rewritten)
    runs["separable"] = train("separable", rewritten, data, arguments, tune=True)
    runs["separable"] |= {"accuracy_before_fine_tuning": before, "weight_errors": errors}
    calibration = data[0][:CALIBRATION]
    report = tersor.compare(
        variants("small_cnn", module, calibration) | variants("separable", rewritten, calibration),
        data=measured,
        threads=arguments.threads,
        title="Small CNN on CIFAR-10",
    )
    show(report)
    settings = {k: str(v) if isinstance(v, Path) else v for k, v in vars(arguments).items()}
    result = {
        "machine": machine(),
        "settings": settings,
        "torch_threads": torch.get_num_threads(),
        "runs": runs,
        "report": report.to_dict(),
        "published": PUBLISHED,
    }
    path = arguments.output / "result.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    print(f"{path}: " + ", ".join(f"{n} {r['train_s'] / 60:.1f} min" for n, r in runs.items()))


if __name__ == "__main__":
    main()
