"""A MobileNetV3-style network on CIFAR-10 (JPEG), trained here, and its int8 accuracy.

12 depthwise blocks with squeeze-excitation and hard-swish everywhere: channels cannot be evened out
between layers, and activations have long negative tails, which is where int8 usually collapses.
The network learns from ResNet-20's logits; settings were chosen without the test images.

    torchrun --nproc_per_node 2 -m benchmarks.quantization.mobilenetv3_cifar10
    python -m benchmarks.quantization.mobilenetv3_cifar10 --measure

Training goes on from its checkpoint where it was interrupted. ``--measure`` prints the table: float
and int8 with several calibration subsets of 512 training images, of the network that was trained,
or of the one beside this file where none was.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
from pathlib import Path

import numpy as np
import torch
from torch import nn

import tersor
from benchmarks.harness import machine
from benchmarks.training.distill_cifar10 import PREPROCESS, teacher_session
from tersor.data import Augment
from tersor.torch import KDLoss
from tersor.training import distill
from tersor.zoo.mobilenetv3 import MobileNetV3, Row
from tests import datasets

SAMPLES = 512
SETTINGS = {
    "epochs": 12,
    "learning_rate": 0.2,
    "schedule": "one_cycle",
    "weight_decay": 2e-4,
    "momentum": 0.9,
}
BATCH = 128
ROWS = (
    Row(3, 16, 16, True, nn.Hardswish, 2),  # the first stride is 1 for small images
    Row(3, 48, 24, True, nn.Hardswish, 2),
    Row(3, 72, 24, True, nn.Hardswish, 1),
    Row(5, 72, 32, True, nn.Hardswish, 2),
    Row(5, 96, 32, True, nn.Hardswish, 1),
    Row(5, 96, 32, True, nn.Hardswish, 1),
    Row(3, 128, 48, True, nn.Hardswish, 1),
    Row(3, 144, 48, True, nn.Hardswish, 1),
    Row(3, 144, 48, True, nn.Hardswish, 1),
    Row(5, 192, 64, True, nn.Hardswish, 2),
    Row(5, 256, 64, True, nn.Hardswish, 1),
    Row(5, 256, 64, True, nn.Hardswish, 1),
)


def build() -> MobileNetV3:
    """The network, untrained."""
    return MobileNetV3(
        "mobilenetv3_cifar10", ROWS, 128, num_classes=10, input_size=32, width=1.0, dropout=0.0
    )


def train(options: argparse.Namespace) -> None:
    """Distil ResNet-20 into the network and write ``model.tersor``, with float16 weights."""
    data = datasets.cifar10("train")
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    module = build()
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    history = distill(
        teacher_session(data.x[:512], "int8"),
        module,
        (data.x[: options.limit], data.y[: options.limit]),
        loss=KDLoss(temperature=4.0, alpha=0.1),
        augment=Augment(crop=4, flip=True),
        preprocess=PREPROCESS,
        batch_size=BATCH // processes,
        seed=options.seed,
        checkpoint_dir=options.output,
        checkpoint_steps=100,
        resume=True,
        device="cpu",
        progress=not options.quiet,
        **{**SETTINGS, "epochs": options.epochs},
    )
    if os.environ.get("RANK", "0") == "0":
        graph = tersor.from_torch(module.eval(), torch.zeros(1, 3, 32, 32))
        graph.preprocess = PREPROCESS
        tersor.compress(graph, recipe="fp16").save(options.output / "model.tersor")
        (options.output / "history.json").write_text(json.dumps(history.rows, indent=1) + "\n")
        print(f"train accuracy {100 * history['accuracy'][-1]:.2f} %")


def accuracy(session: tersor.Session, x: np.ndarray, y: np.ndarray) -> float:
    """Percent of right answers."""
    prepare = tersor.Preprocess(**PREPROCESS)
    right = 0
    for start in range(0, len(y), 500):
        logits = session(prepare(x[start : start + 500]))
        right += int((logits.argmax(1) == y[start : start + 500]).sum())
    return 100 * right / len(y)


def measure(options: argparse.Namespace) -> None:
    """Print float and int8 accuracy on the test images."""
    path = options.model or options.output / "model.tersor"
    if not path.exists() and options.model is None:
        path = Path(__file__).with_suffix(".tersor")
    model = tersor.load(path).graph
    train, test = datasets.cifar10("train"), datasets.cifar10("test")
    float32 = accuracy(tersor.Session(model), test.x, test.y)
    rows = []
    for seed in range(options.subsets):
        chosen = np.random.default_rng(seed).choice(len(train.y), SAMPLES, replace=False)
        int8 = tersor.compress(model, recipe=options.recipe, calibration=train.x[chosen])
        rows.append(accuracy(tersor.Session(int8), test.x, test.y))
    loss = float32 - statistics.mean(rows)
    print(f"float {float32:.2f} %, {Path(path).stat().st_size:,} bytes")
    print(f"{options.recipe}: " + ", ".join(f"{v:.2f}" for v in rows))
    print(f"mean {statistics.mean(rows):.2f} %, {loss:.2f} points lost, {int8.nbytes:,} bytes")
    result = {"float": float32, options.recipe: rows, "machine": machine()}
    (options.output / "accuracy.json").write_text(json.dumps(result, indent=1) + "\n")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=Path("build/mobilenetv3"))
    parser.add_argument("--model", type=Path, help="to measure, in place of the trained one")
    parser.add_argument("--measure", action="store_true", help="no training")
    parser.add_argument("--recipe", default="int8")
    parser.add_argument("--subsets", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=SETTINGS["epochs"])
    parser.add_argument("--threads", type=int, default=1, help="of a process that trains")
    parser.add_argument("--limit", type=int, help="training images, for a trial")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quiet", action="store_true")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    if options.measure:
        measure(options)
    else:
        train(options)


if __name__ == "__main__":
    main()
