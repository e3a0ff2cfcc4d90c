"""One training run in a process of its own, so that memory is its own: driven by bench_training.

Takes one JSON object of settings as argument and prints one of results, from process 0.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.training.distill_cifar10 import AUGMENT, PREPROCESS
from tersor import zoo
from tersor.data import Augment
from tersor.training import Callback, evaluate, fit
from tests import datasets


def memory_bytes(field: str) -> int:
    """VmRSS or VmHWM of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return 1024 * int(line.split()[1])
    return 0


class StepTimes(Callback):
    """Seconds of every step, and memory before the first."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.before = 0
        self._last = 0.0

    def on_step_begin(self, state: Any) -> None:
        """Start the clock: batches are prepared beside the step, so that waiting counts too."""
        self.before = self.before or memory_bytes("VmRSS")
        self._last = self._last or time.perf_counter()

    def on_step_end(self, state: Any) -> None:
        """Take the time since the end of the step before."""
        now = time.perf_counter()
        self.times.append(now - self._last)
        self._last = now


def images(samples: int) -> tuple[Any, Any, bool]:
    """CIFAR-10 (JPEG) images, or noise where they are absent: enough for speed and memory."""
    if (datasets.folder() / "data" / "cifar10-jpeg.tar.xz").exists():
        train, test = datasets.cifar10("train"), datasets.cifar10("test")
        rows = np.random.default_rng(0).permutation(len(train.y))[:samples]
        return (train.x[rows], train.y[rows]), (test.x[:2000], test.y[:2000]), True
    random = np.random.default_rng(0)
    x = random.integers(0, 256, (samples, 32, 32, 3), dtype=np.uint8)
    y = random.integers(0, 10, samples)
    return (x, y), (x[:100], y[:100]), False


def main() -> None:
    """Train, measure, print."""
    settings = json.loads(sys.argv[1])
    torch.set_num_threads(settings["threads"])
    train, test, is_real = images(settings["samples"])
    torch.manual_seed(0)
    model = getattr(zoo, settings["network"])()
    steps = StepTimes()
    fit(
        model,
        train,
        epochs=settings["epochs"],
        batch_size=settings["batch_size"],
        accumulate=settings["accumulate"],
        precision=settings["precision"],
        learning_rate=0.1,
        schedule="one_cycle",
        weight_decay=2e-4,
        augment=Augment(**AUGMENT),
        preprocess=PREPROCESS,
        callbacks=[steps],
        progress=False,
        device="cpu",
    )
    peak = memory_bytes("VmHWM") - steps.before
    rank = int(os.environ.get("RANK", "0"))
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if rank == 0:
        counted = steps.times[1:] or steps.times
        step_images = settings["batch_size"] * settings["accumulate"] * processes
        measured = settings.get("accuracy") and is_real
        result = {
            "step_s": float(np.median(counted)),
            "step_min_s": min(counted),
            "images_per_second": step_images / float(np.median(counted)),
            "peak_bytes": peak,
            "parameters": sum(p.numel() for p in model.parameters()),
            "accuracy": evaluate(model, test, preprocess=PREPROCESS)["accuracy"]
            if measured
            else None,
        }
        print(json.dumps(result), flush=True)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
