"""Networks, images and callbacks for the tests of training, and what torchrun starts.

As a program: ``python -m tests.small_training TASK FOLDER`` runs one of the tasks below and writes
``FOLDER/TASK.RANK.pt``.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

from tersor.data import Augment
from tersor.training import Callback, Shared, distill, fit

CLASSES = 4
PREPROCESS = {"scale": 1 / 255, "mean": 0.5, "std": 0.25, "layout": "NCHW"}


def images(n=256, size=8, seed=0):
    """Noise in which one color is dark, by class."""
    random = np.random.default_rng(seed)
    x = random.integers(0, 256, (n, size, size, 3), dtype=np.uint8)
    y = random.integers(0, CLASSES, n)
    for label in range(1, CLASSES):
        x[y == label, :, :, label - 1] //= 4
    return x, y


def network(seed=0, *, norm=True, width=8, dropout=0.0, classes=CLASSES):
    """One convolution, BatchNorm where asked for, and a classifier."""
    torch.manual_seed(seed)
    layers = [nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width) if norm else nn.Identity()]
    layers += [nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout)]
    return nn.Sequential(*layers, nn.Linear(width, classes))


def distillation_loss(student, teacher, labels):
    """0.5 * cross-entropy + 0.5 * KL at temperature 2, spelled out."""
    log_student = nn.functional.log_softmax(student / 2, 1)
    log_teacher = nn.functional.log_softmax(teacher / 2, 1)
    soft = (log_teacher.exp() * (log_teacher - log_student)).sum(1).mean()
    return 0.5 * nn.functional.cross_entropy(student, labels) + 0.5 * 4 * soft


class Observer(Callback):
    """Range of what this process sees, and a mask that begins different in each process."""

    def __init__(self):
        self.low, self.high = torch.tensor(torch.inf), torch.tensor(-torch.inf)
        self.total = torch.zeros(())
        self.mean = torch.zeros(())
        self.mask = torch.zeros(8, dtype=torch.bool)
        self.own = []

    def on_fit_begin(self, state):
        self.mask[state.accelerator.process_index] = True

    def modify_loss(self, state, batch, outputs, loss):
        self.own.append((float(batch.inputs.min()), float(batch.inputs.max())))
        torch.minimum(self.low, batch.inputs.min(), out=self.low)
        torch.maximum(self.high, batch.inputs.max(), out=self.high)
        self.mean.fill_(float(state.accelerator.process_index))
        return loss

    def on_epoch_end(self, state, metrics):
        metrics["total"] = float(self.total)

    def on_step_begin(self, state):
        if state.step == 0:
            self.total.fill_(1.0)

    def shared(self):
        return [
            Shared(self.low, "min"),
            Shared(self.high, "max"),
            Shared(self.mean, "mean"),
            Shared(self.mask, "first"),
            Shared(self.total, "sum", every="epoch"),
        ]

    def state_dict(self):
        return {"low": self.low, "high": self.high}

    def load_state_dict(self, state):
        self.low.copy_(state["low"])
        self.high.copy_(state["high"])


class KillAt(Callback):
    """End this process as a power cut would, at a step."""

    def __init__(self, step):
        self.step = step

    def on_step_end(self, state):
        if state.global_step == self.step:
            if state.accelerator.num_processes > 1 and state.is_main:
                os.kill(os.getppid(), signal.SIGKILL)  # torchrun would wait for its children
            os.kill(os.getpid(), signal.SIGKILL)


def long_run(model, folder, **more):
    """A run that uses everything a checkpoint must hold: 3 epochs of 4 steps of 64 images."""
    settings = {
        "epochs": 3,
        "batch_size": 16,
        "accumulate": 4 // int(os.environ.get("WORLD_SIZE", "1")),
        "learning_rate": 0.05,
        "warmup": 1,
        "augment": Augment(crop=1, flip=True),
        "preprocess": PREPROCESS,
        "mixup": 0.2,
        "ema": 0.9,
        "clip": 5.0,
        "early_stopping": 3,
        "validation": images(64, seed=1),
        "checkpoint_dir": folder,
        "checkpoint_steps": 2,
        "progress": False,
    }
    return fit(model, images(), **{**settings, **more})


def task_full(folder):
    """Everything at once, in one start of the processes."""
    model = network(dropout=0.2)
    whole = long_run(model, folder / "whole")
    observer = Observer()
    spare = network()
    spare[0].spare = nn.Linear(2, 2)  # parameters that no loss reaches
    long_run(spare, folder / "observed", callbacks=[observer], mixup=0.0)
    student = network(1, width=4)
    distilled = distill(
        network(2), student, images(), epochs=1, batch_size=32, preprocess=PREPROCESS,
        loss=distillation_loss, progress=False, validation=images(70, seed=1),
    )  # fmt: skip
    plain = network(norm=False)
    plain_history = fit(plain, images(), epochs=1, batch_size=32, preprocess=PREPROCESS,
                        progress=False, validation=images(70, seed=1))  # fmt: skip
    half = network()
    fp16 = fit(half, images(), epochs=1, batch_size=32, preprocess=PREPROCESS, precision="fp16",
               progress=False)  # fmt: skip
    return {
        "model": model.state_dict(),
        "rows": whole.rows,
        "observer": {
            "low": observer.low, "high": observer.high, "mean": observer.mean,
            "mask": observer.mask, "own": observer.own,
        },
        "student": student.state_dict(),
        "distilled": distilled.rows,
        "plain": plain.state_dict(),
        "plain_rows": plain_history.rows,
        "fp16": fp16.rows,
    }  # fmt: skip


def task_killed(folder):
    """Die in the second epoch, between two checkpoints."""
    long_run(network(dropout=0.2), folder / "killed", callbacks=[KillAt(7)])
    return {}


def task_resumed(folder):
    """Continue what was killed."""
    model = network(seed=99, dropout=0.2)  # other weights: the checkpoint's must replace them
    history = long_run(model, folder / "killed", resume=True)
    return {"model": model.state_dict(), "rows": history.rows}


class StopAfter(Callback):
    """End the run after an epoch, as a user would."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch_end(self, state, metrics):
        if state.epoch + 1 == self.epoch:
            raise KeyboardInterrupt


def quantized_run(folder, stop_after=None, resume=False):
    """Quantization-aware training of the small network for two epochs."""
    from tersor.torch import prepare_qat
    from tersor.training import QuantizationSchedule

    processes = int(os.environ.get("WORLD_SIZE", "1"))
    model = prepare_qat(network(), "w4a8", torch.zeros(2, 3, 8, 8), learned_scales=True)
    callbacks = [QuantizationSchedule(0.25, 0.75)]
    if stop_after is not None:
        callbacks.append(StopAfter(stop_after))
    with contextlib.suppress(KeyboardInterrupt):
        fit(
            model,
            images(),
            epochs=2,
            batch_size=32 // processes,
            learning_rate=0.05,
            preprocess=PREPROCESS,
            callbacks=callbacks,
            checkpoint_dir=folder,
            checkpoint_steps=3,
            resume=resume,
            progress=False,
        )
    return model


def task_quantized(folder):
    """Observers and learned scales in every process."""
    return {"model": quantized_run(folder / "quantized").state_dict()}


def run_task(name, folder):
    """Run one of the tasks above in this process."""
    return {
        "full": task_full,
        "killed": task_killed,
        "resumed": task_resumed,
        "quantized": task_quantized,
    }[name](folder)


def main():
    """Run a task and write what each process ended with."""
    name, folder = sys.argv[1], Path(sys.argv[2])
    torch.set_num_threads(1)
    result = run_task(name, folder)
    rank = os.environ.get("RANK", "0")
    torch.save(result, folder / f"{name}.{rank}.pt")
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
