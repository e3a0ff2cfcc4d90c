"""Quantization-aware training of ResNet-20 on CIFAR-10 (JPEG): accuracy of network and artifact.

Trained weights are taken as they are, trained for a few epochs with their rounding, and deployed.
Beside them: the float network, and post-training quantization with the same bits.

    python -m benchmarks.quantization.qat_cifar10 --output build/qat            # w4a8, 3 epochs
    python -m benchmarks.quantization.qat_cifar10 --output build/trial --limit 2000 --epochs 1

An interrupted run continues from its checkpoint.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

import tersor
from benchmarks.harness import machine
from tersor import zoo
from tersor.data import Augment
from tersor.torch import prepare_qat
from tersor.training import QuantizationSchedule, evaluate, fit
from tests import datasets

WEIGHTS = "models/resnet20-cifar10.onnx"
PREPROCESS = {
    "scale": 1 / 255,
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
    "layout": "NCHW",
}


def trained_resnet20() -> torch.nn.Module:
    """ResNet-20 with the weights that lie beside the ONNX file."""
    from safetensors.torch import load_file

    network = zoo.resnet20()
    network.load_state_dict(load_file(datasets.find(WEIGHTS).with_suffix(".safetensors")))
    return network.eval()


def session_accuracy(model: Any, x: np.ndarray, y: np.ndarray) -> float:
    """Top-1 of the artifact."""
    session = tersor.Session(model)
    prepare = tersor.Preprocess(**PREPROCESS)
    right = 0
    for start in range(0, len(y), 250):
        logits = session(prepare(x[start : start + 250]))
        right += int((logits.argmax(1) == y[start : start + 250]).sum())
    return right / len(y)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Train, deploy and measure."""
    train, test = datasets.cifar10("train"), datasets.cifar10("test")
    x, y = train.x, train.y
    if options.limit:
        rows = np.random.default_rng(0).permutation(len(y))[: options.limit]
        x, y = x[rows], y[rows]
    test_x, test_y = test.x, test.y
    if options.test_images:
        rows = np.linspace(0, len(test_y) - 1, options.test_images).astype(int)
        test_x, test_y = test_x[rows], test_y[rows]
    plain = trained_resnet20()
    example = torch.zeros(2, 3, 32, 32)
    network = prepare_qat(plain, options.recipe, example, learned_scales=options.learned_scales)
    start = time.perf_counter()
    history = fit(
        network,
        (x, y),
        epochs=options.epochs,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        schedule="cosine",
        warmup=0.1 * options.epochs,
        weight_decay=options.weight_decay,
        augment=Augment(crop=4, flip=True),
        preprocess=PREPROCESS,
        callbacks=[QuantizationSchedule(options.observe, options.freeze)],
        checkpoint_dir=options.output,
        checkpoint_steps=50,
        resume=True,
        progress=not options.quiet,
        device="cpu",
    )
    seconds = time.perf_counter() - start
    graph = tersor.from_torch(network, example)
    path = options.output / "resnet20.tersor"
    model = tersor.compress(graph, recipe="keep", progress=False)
    model.save(path)
    prepared = evaluate(network, (test_x, test_y), preprocess=PREPROCESS)["accuracy"]
    return {
        "recipe": options.recipe,
        "learned_scales": options.learned_scales,
        "epochs": options.epochs,
        "images": len(y),
        "test_images": len(test_y),
        "float_accuracy": evaluate(plain, (test_x, test_y), preprocess=PREPROCESS)["accuracy"],
        "qat_accuracy": prepared,
        "artifact_accuracy": session_accuracy(tersor.load(path), test_x, test_y),
        "artifact_bytes": path.stat().st_size,
        "seconds": seconds,
        "images_per_second": history["images_per_second"][-1],
        "curve": history.rows,
    }


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, required=True, help="folder for the results")
    parser.add_argument("--recipe", default="w4a8", choices=("int8", "w4a8"))
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--learning-rate", type=float, default=0.02)
    parser.add_argument("--weight-decay", type=float, default=1e-4)
    parser.add_argument("--observe", type=float, default=0.02, help="share of the steps")
    parser.add_argument("--freeze", type=float, default=0.7, help="share of the steps")
    parser.add_argument("--learned-scales", action="store_true")
    parser.add_argument("--limit", type=int, help="training images, for a trial")
    parser.add_argument("--test-images", type=int, help="fewer than all")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quiet", action="store_true")
    return parser.parse_args()


def main() -> None:
    """Run, print and write the figures."""
    options = parse()
    torch.set_num_threads(options.threads)
    options.output.mkdir(parents=True, exist_ok=True)
    figures = {**run(options), "machine": machine()}
    (options.output / "result.json").write_text(json.dumps(figures, indent=2) + "\n")
    for name in ("float", "qat", "artifact"):
        print(f"{name:9} {100 * figures[f'{name}_accuracy']:.2f} %")
    print(f"{figures['artifact_bytes']:,} bytes, {figures['seconds'] / 60:.1f} minutes")


if __name__ == "__main__":
    main()
