"""A ResNet-8 student of CIFAR-10 (JPEG), alone and distilled from ResNet-20, several seeds.

Both arms share the starting weights, the order of the images, augmentation, epochs and schedule;
only the loss differs. The settings were chosen for the lone student, with ``--tune``, on 5,000 of
the training images that it does not see; the test images are looked at once, at the end of a run.

    python -m benchmarks.training.distill_cifar10 --output build/distill            # all runs
    python -m benchmarks.training.distill_cifar10 --output build/distill --seeds 1  # some of them
    torchrun --nproc_per_node 2 -m benchmarks.training.distill_cifar10 --output build/distill
    python -m benchmarks.training.distill_cifar10 --output build/distill --table    # no training

A run that has its result is passed over, one that was interrupted continues from its checkpoint.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

import tersor
from benchmarks.harness import machine
from tersor import zoo
from tersor.data import Augment
from tersor.torch import KDLoss
from tersor.training import distill, evaluate, fit
from tests import datasets

PREPROCESS = {
    "scale": 1 / 255,
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
    "layout": "NCHW",
}
SETTINGS: dict[str, Any] = {
    "epochs": 12,
    "batch_size": 128,  # of a step, whatever the number of processes
    "learning_rate": 0.4,
    "schedule": "one_cycle",
    "weight_decay": 2e-4,
    "momentum": 0.9,
}
AUGMENT = {"crop": 4, "flip": True}
DISTILLATION = {"temperature": 4.0, "alpha": 0.1}
ARMS = ("lone", "distilled")
HELD_OUT = 500  # images per class, for --tune
TEACHER = "models/resnet20-cifar10.onnx"


def teacher_session(calibration: np.ndarray, precision: str) -> tersor.Session:
    """ResNet-20 in int8, or in float32, for the thread that prepares the batches."""
    graph = tersor.load(str(datasets.find(TEACHER)))
    if precision == "fp32":
        return tersor.Session(graph)
    model = tersor.compress(
        graph,
        recipe="int8",
        calibration=tersor.Preprocess(**PREPROCESS)(calibration),
        progress=False,
    )
    return tersor.Session(model)


def split_train(tune: bool) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """Training images, and what is measured at the end: test images, or held-out ones."""
    train = datasets.cifar10("train")
    if not tune:
        test = datasets.cifar10("test")
        return (train.x, train.y), (test.x, test.y)
    held = np.zeros(len(train.y), bool)
    for label in range(10):
        rows = np.flatnonzero(train.y == label)
        held[np.random.default_rng(label).choice(rows, HELD_OUT, replace=False)] = True
    return (train.x[~held], train.y[~held]), (train.x[held], train.y[held])


def run(arm: str, seed: int, options: argparse.Namespace, data: Any) -> dict[str, Any]:
    """Train one student and measure it."""
    train, held_out = data
    torch.manual_seed(seed)
    student = zoo.resnet8()
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    settings = options.settings
    arguments = {
        **settings,
        "batch_size": settings["batch_size"] // processes,
        "augment": Augment(**AUGMENT),
        "preprocess": PREPROCESS,
        "seed": seed,
        "checkpoint_dir": options.output / f"{arm}-{seed}",
        "checkpoint_steps": 100,
        "resume": True,
        "progress": not options.quiet,
        "device": "cpu",
    }
    if arm == "lone":
        history = fit(student, train, **arguments)
    else:
        teacher = teacher_session(train[0][:512], options.teacher)
        loss = KDLoss(**options.distillation, standardize=options.standardize)
        history = distill(teacher, student, train, loss=loss, **arguments)
    figures = evaluate(student, held_out, preprocess=PREPROCESS)
    return {
        "arm": arm,
        "seed": seed,
        "accuracy": figures["accuracy"],
        "loss": figures["loss"],
        "train_loss": history["loss"][-1],
        "train_accuracy": history["accuracy"][-1],
        "seconds": sum(history["seconds"]),
        "images_per_second": statistics.median(history["images_per_second"]),
        "processes": processes,
        "threads": torch.get_num_threads(),
        "curve": history.rows,
    }


def result_file(options: argparse.Namespace, arm: str, seed: int) -> Path:
    """Where a run leaves its result."""
    return options.output / f"{arm}-{seed}.json"


def table(options: argparse.Namespace) -> str:
    """Markdown table of all results that are there, with mean, spread and gain."""
    rows = [json.loads(path.read_text()) for path in sorted(options.output.glob("*-*.json"))]
    lines = [
        "| student (ResNet-8) | seeds | accuracy (%) per seed | mean | std | minutes a run |",
        "|---|---|---|---|---|---|",
    ]
    accuracies = {}
    for arm in ARMS:
        found = [row for row in rows if row["arm"] == arm]
        if not found:
            continue
        values = [100 * row["accuracy"] for row in found]
        accuracies[arm] = {row["seed"]: 100 * row["accuracy"] for row in found}
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        minutes = max(row["seconds"] for row in found) / 60
        lines.append(
            f"| {arm} | {len(found)} | {', '.join(f'{v:.2f}' for v in values)} | "
            f"{statistics.mean(values):.2f} | {spread:.2f} | {minutes:.1f} |"
        )
    if len(accuracies) == 2:
        lone, distilled = (accuracies[arm] for arm in ARMS)
        gains = [distilled[seed] - lone[seed] for seed in sorted(lone) if seed in distilled]
        if gains:
            spread = statistics.stdev(gains) if len(gains) > 1 else 0.0
            lines.append(
                f"| gain (points) | {len(gains)} | {', '.join(f'{g:+.2f}' for g in gains)} | "
                f"{statistics.mean(gains):+.2f} | {spread:.2f} | |"
            )
    return "\n".join(lines)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, required=True, help="folder for results")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--threads", type=int, default=1, help="of the student's steps")
    parser.add_argument("--teacher", choices=("int8", "fp32"), default="int8")
    parser.add_argument("--tune", action="store_true", help="hold out training images instead")
    parser.add_argument("--limit", type=int, help="training images, for a trial")
    parser.add_argument("--table", action="store_true", help="print what is there and end")
    parser.add_argument("--standardize", action="store_true", help="logits in the KL term")
    parser.add_argument("--quiet", action="store_true")
    for name, value in {**SETTINGS, **DISTILLATION}.items():
        parser.add_argument(
            f"--{name.replace('_', '-')}", type=type(value), default=value, metavar="X"
        )
    options = parser.parse_args()
    options.settings = {name: getattr(options, name) for name in SETTINGS}
    options.distillation = {name: getattr(options, name) for name in DISTILLATION}
    return options


def main() -> None:
    """Run what is missing, then print and write the table."""
    options = parse()
    is_main = os.environ.get("RANK", "0") == "0"
    if not options.table:
        torch.set_num_threads(options.threads)
        options.output.mkdir(parents=True, exist_ok=True)
        train, held_out = split_train(options.tune)
        if options.limit:
            rows = np.random.default_rng(0).permutation(len(train[1]))[: options.limit]
            train = (train[0][rows], train[1][rows])
        data = (train, held_out)
        for seed in options.seeds:
            for arm in options.arms:
                file = result_file(options, arm, seed)
                if file.exists():
                    continue
                start = time.perf_counter()
                result = run(arm, seed, options, data)
                result["wall_seconds"] = time.perf_counter() - start
                result |= {
                    "settings": options.settings,
                    "training_images": len(train[1]),
                    "augment": AUGMENT,
                    "distillation": None
                    if arm == "lone"
                    else {**options.distillation, "standardize": options.standardize},
                    "teacher": options.teacher if arm == "distilled" else None,
                    "measured_on": "held-out training images" if options.tune else "test images",
                    "machine": machine(),
                }
                if is_main:
                    file.write_text(json.dumps(result, indent=1) + "\n")
                    print(f"{arm} seed {seed}: {100 * result['accuracy']:.2f} %", flush=True)
    if is_main:
        print(table(options))
        (options.output / "table.md").write_text(table(options) + "\n")


if __name__ == "__main__":
    main()
