"""Quantization-aware training of a Keras ResNet-8 on CIFAR-10 (JPEG) with an unchanged model.fit.

The float model and the one with 4-bit weights and 8-bit activations start from the same trained
weights and see the same batches for as long.

    python -m benchmarks.quantization.qat_keras --output build/qat-keras
    python -m benchmarks.quantization.qat_keras --output build/trial --limit 2000 --epochs 1

An arm that has its result is passed over.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras

import tersor
import tersor.keras as tk
from benchmarks.harness import machine
from tests import datasets

WEIGHTS = "models/resnet8-cifar10.h5"
ARMS = ("float", "qat")


class Batches(keras.utils.PyDataset):
    """Shuffled images, flipped and shifted; the same for a seed."""

    def __init__(self, x: np.ndarray, y: np.ndarray, batch_size: int) -> None:
        super().__init__()
        self._x, self._y, self._size = x, y, batch_size
        self._epoch = 0
        self._order = np.random.default_rng(0).permutation(len(y))

    def __len__(self) -> int:
        return len(self._y) // self._size

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        rows = self._order[index * self._size : (index + 1) * self._size]
        rng = np.random.default_rng((self._epoch, index))
        x = np.pad(self._x[rows], ((0, 0), (4, 4), (4, 4), (0, 0)))
        top, left = rng.integers(0, 9, (2, len(rows)))
        x = np.stack([im[t : t + 32, s : s + 32] for im, t, s in zip(x, top, left, strict=True)])
        flip = rng.random(len(rows)) < 0.5
        x[flip] = x[flip, :, ::-1]
        return x.astype(np.float32), self._y[rows]

    def on_epoch_end(self) -> None:
        """Draw the next order."""
        self._epoch += 1
        self._order = np.random.default_rng(self._epoch).permutation(len(self._y))


def run(arm: str, options: argparse.Namespace) -> dict[str, Any]:
    """Train one arm and measure it."""
    train, test = datasets.cifar10("train"), datasets.cifar10("test")
    chosen = np.random.default_rng(0).permutation(len(train.y))[: options.limit]
    batches = Batches(train.x[chosen], train.y[chosen], options.batch_size)
    step = max(1, len(test.y) // (options.test_images or len(test.y)))
    x, y = test.x[::step].astype(np.float32), test.y[::step]
    model = keras.models.load_model(datasets.find(WEIGHTS), compile=False)
    callbacks = []
    if arm == "qat":
        model = tk.prepare_qat(model, options.recipe)
        callbacks.append(tk.QuantizationSchedule())
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, len(batches) * options.epochs, warmup_target=options.learning_rate, warmup_steps=50
    )
    model.compile(
        keras.optimizers.Adam(rate),
        keras.losses.SparseCategoricalCrossentropy(),
        metrics=["accuracy"],
    )
    start = time.perf_counter()
    history = model.fit(
        batches, epochs=options.epochs, callbacks=callbacks, verbose=options.verbose
    )
    seconds = time.perf_counter() - start
    result = {
        "arm": arm,
        "epochs": options.epochs,
        "images": len(chosen),
        "test_images": len(y),
        "loss": history.history["loss"],
        "seconds": seconds,
        "model_accuracy": accuracy(lambda part: model.predict_on_batch(part), x, y),
    }
    if arm == "qat":
        path = options.output / "resnet8.tersor"
        tersor.compress(tersor.from_keras(model), recipe="keep", progress=False).save(path)
        result["artifact_accuracy"] = accuracy(tersor.Session(tersor.load(path)), x, y)
        result["artifact_bytes"] = path.stat().st_size
    return result


def accuracy(predict: Any, x: np.ndarray, y: np.ndarray) -> float:
    """Top-1."""
    right = 0
    for start in range(0, len(y), 250):
        scores = np.asarray(predict(x[start : start + 250]))
        right += int((scores.argmax(1) == y[start : start + 250]).sum())
    return right / len(y)


def main() -> None:
    """Run what is missing and print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, required=True, help="folder for the results")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--recipe", default="w4a8", choices=("int8", "w4a8"))
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=0.001)
    parser.add_argument("--limit", type=int, help="training images, for a trial")
    parser.add_argument("--test-images", type=int, help="fewer than all")
    parser.add_argument("--verbose", type=int, default=2)
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    for arm in options.arms:
        path = options.output / f"{arm}.json"
        if not path.exists():
            figures = {**run(arm, options), "machine": machine()}
            path.write_text(json.dumps(figures, indent=2) + "\n")
        figures = json.loads(path.read_text())
        line = f"{arm:6} model {100 * figures['model_accuracy']:.2f} %"
        if "artifact_accuracy" in figures:
            line += f", artifact {100 * figures['artifact_accuracy']:.2f} %"
            line += f", {figures['artifact_bytes']:,} bytes"
        print(f"{line}, {figures['seconds'] / 60:.1f} minutes")


if __name__ == "__main__":
    main()
