"""ResNet-20 under a share of the int8 network's measured latency, as found and after fine-tuning.

The search gets unlabeled training images and nothing else. What it found is then fine-tuned in
float on the whole network's logits and quantized to int8 again; its layers stay as they are, and so
does its latency. Latencies are those of one image on one thread, sessions measured in turn.

    python -m benchmarks.compress.latency --output build/latency --epochs 0
    python -m benchmarks.compress.latency --output build/latency --epochs 3
    python -m benchmarks.compress.latency --output build/latency --measure

What is there already is kept. ``--tune`` holds out 5,000 training images; without it ``--measure``
reads the 10,000 test images once for each row.
"""

from __future__ import annotations

import argparse
import json
import warnings
from typing import Any

import numpy as np
import torch

import tersor
from benchmarks.compress.codebooks import normalised, top1
from benchmarks.harness import machine
from benchmarks.pruning.resnet20 import add_options, fine_tune, graph_of_module, images
from tersor.compress import Recipe
from tersor.compress.channels import least_seconds
from tersor.torch import to_torch
from tests import datasets

SETTINGS = {
    "epochs": 3,
    "learning_rate": 0.002,  # 0.01 diverges: BatchNorm is folded
    "batch_size": 128,
    "weight_decay": 1e-4,
    "temperature": 4.0,
    "alpha": 0.1,
    "share": 0.7,
    "samples": 1024,
}
ROUNDS = 5


def latencies(models: list[Any]) -> list[float]:
    """Seconds of one image: the least of many calls, the median of several sessions."""
    x = np.zeros((1, 3, 32, 32), np.float32)
    found = []
    for _ in range(ROUNDS):
        sessions = [tersor.Session(model) for model in models]
        found.append(least_seconds([lambda s=s: s(x) for s in sessions]))
    return [float(seconds) for seconds in np.median(found, axis=0)]


def quietly(graph: Any, **options: Any) -> Any:
    """Compress; what is lost is what is measured."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return tersor.compress(graph, **options)


def search(graph: Any, calibration: Any, options: argparse.Namespace) -> Any:
    """The network of the search; the file is kept."""
    file = options.output / "searched.tersor"
    if not file.exists():
        int8 = quietly(graph, calibration=calibration)
        int8.save(options.output / "int8.tersor")
        limit = options.share * latencies([int8])[0]
        model = quietly(graph, budget={"latency": limit}, calibration=calibration)
        print(json.dumps({"limit": limit, **model.provenance}, indent=2, default=str), flush=True)
        model.save(file, provenance=True)
    return tersor.load(file)


def train(graph: Any, model: Any, calibration: Any, seen: Any, options: argparse.Namespace) -> None:
    """Fine-tune the float form of a searched network and write its int8 form."""
    smaller = {"merged": model.recipe.merged, "channels": model.recipe.channels}
    small = quietly(graph, recipe=Recipe("fp32", **smaller), calibration=calibration)
    module = to_torch(small.graph)
    history = fine_tune(
        module,
        seen,
        options,
        options.output / "checkpoint",
        epochs=options.epochs,
        learning_rate=options.learning_rate,
    )
    (options.output / "history.json").write_text(json.dumps(history, indent=2))
    tuned = quietly(graph_of_module(module), calibration=calibration)
    tuned.save(options.output / "tuned.tersor")


def main() -> None:
    """Search, train, or measure."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add_options(parser, **SETTINGS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    tersor.set_threads(options.threads)
    options.output.mkdir(parents=True, exist_ok=True)
    seen, held = images(options)
    graph = tersor.load(datasets.find("models/resnet20-cifar10.onnx"))
    order = np.random.default_rng(options.seed).permutation(len(seen[1]))
    calibration = normalised(seen[0][order[: options.samples]])
    model = search(graph, calibration, options)
    if not options.measure:
        if options.epochs and not (options.output / "tuned.tersor").exists():
            train(graph, model, calibration, seen, options)
        return
    names = [n for n in ("int8", "searched", "tuned") if (options.output / f"{n}.tersor").exists()]
    models = [tersor.load(options.output / f"{name}.tersor") for name in names]
    times = latencies(models)
    rows = [
        {
            "row": name,
            "ms": 1e3 * seconds,
            "of_int8": seconds / times[0],
            "macs": found.graph.macs,
            "bytes": found.nbytes,
            "top1": top1(found, datasets.Images(*held)),
        }
        for name, found, seconds in zip(names, models, times, strict=True)
    ]
    document = {"machine": machine(), "recipe": model.recipe.to_dict(), "rows": rows}
    (options.output / "result.json").write_text(json.dumps(document, indent=2))
    print(json.dumps(document["rows"], indent=2))


if __name__ == "__main__":
    main()
