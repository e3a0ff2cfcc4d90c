"""The door of the training loop."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from torch import nn

from ..data.augment import Augment
from ..data.load import as_dataset
from ..data.mixing import Mixing
from ..data.preprocess import Preprocess
from .batches import Batches, Inputs
from .callback import Callback
from .early_stopping import EarlyStopping
from .history import History
from .logs import log_callbacks
from .loop import Loop
from .optimizer import MakeOptimizer
from .options import Loss, Options
from .progress import progress_callbacks
from .schedule import Schedule


def fit(
    model: nn.Module,
    data: Any,
    *,
    epochs: int,
    batch_size: int = 128,
    optimizer: Literal["sgd", "adamw"] | MakeOptimizer = "sgd",
    learning_rate: float = 0.1,
    schedule: Literal["constant", "linear", "cosine", "one_cycle"] | Schedule = "cosine",
    warmup: float | None = None,
    weight_decay: float = 5e-4,
    momentum: float = 0.9,
    label_smoothing: float = 0.0,
    loss: Loss | None = None,
    augment: Augment | None = None,
    preprocess: Any = None,
    mixup: float = 0.0,
    cutmix: float = 0.0,
    ema: float | None = None,
    precision: Literal["fp32", "bf16", "fp16"] = "fp32",
    accumulate: int = 1,
    clip: float | None = None,
    callbacks: Iterable[Callback] = (),
    validation: Any = None,
    early_stopping: int | EarlyStopping | None = None,
    checkpoint_dir: str | Path | None = None,
    checkpoint_steps: int | None = None,
    resume: bool | str | Path = False,
    seed: int = 0,
    progress: bool = True,
    log_dir: str | Path | None = None,
    device: Literal["cpu"] | None = None,
) -> History:
    """Train a classifier.

    On one device, or data-parallel where the program was started by ``torchrun`` or ``accelerate
    launch``: gradients are averaged, metrics are those of all processes. The same seed gives the
    same weights with the same number of threads on the same processor; a resumed run ends with the
    weights of an uninterrupted one.

    Parameters
    ----------
    model : torch.nn.Module
        Maps a batch to logits of shape (n, classes). It is trained in place and left in evaluation
        mode.
    data : Dataset, path or pair (x, y)
        Labeled. Bytes are raw images of shape (height, width, channels) and go through `augment`
        and `preprocess`; other types are what the network takes. What does not fill a last step of
        an epoch is left to the next epoch's order.
    epochs : int
    batch_size : int
        Rows of a forward pass in one process; a step takes ``batch_size * accumulate * processes``.
    optimizer : {"sgd", "adamw"} or callable
        SGD with Nesterov momentum, AdamW, or a function from parameter groups to an optimizer (then
        `learning_rate`, `weight_decay` of matrices excepted, and `momentum` are its own affair).
    learning_rate : float
        At the peak of the schedule, > 0.
    schedule : {"constant", "linear", "cosine", "one_cycle"} or callable
        Factor over the steps after warm-up; a callable maps their share in [0, 1) to it.
    warmup : float, optional
        Epochs in which the rate rises, in [0, epochs]; by default 0, and 0.3 of the epochs for
        "one_cycle".
    weight_decay : float
        Of weights with two or more dimensions, >= 0.
    momentum : float
        In [0, 1).
    label_smoothing : float
        Share of the target spread over all classes, in [0, 1).
    loss : callable, optional
        From (logits, labels) to a scalar, in place of cross-entropy.
    augment : Augment, optional
    preprocess : Preprocess, mapping, YAML text or path, optional
        For bytes; the same for `validation`.
    mixup, cutmix : float
        Parameters of :class:`tersor.data.Mixing`; 0 for none.
    ema : float, optional
        Decay of averaged weights, in (0, 1); the model is validated and ends with them.
    precision : {"fp32", "bf16", "fp16"}
        Of the forward pass; weights stay float32. fp16 scales the loss, and skips a step whose
        gradient overflows.
    accumulate : int
        Forward passes per step.
    clip : float, optional
        Largest norm of the gradient, > 0.
    callbacks : iterable of Callback
    validation : Dataset, path or pair (x, y), optional
        Measured after each epoch. Choose settings on a part of the training images, not on those
        that results are reported for.
    early_stopping : int or EarlyStopping, optional
        Patience in epochs for ``validation_accuracy``.
    checkpoint_dir : str or Path, optional
        Where ``checkpoint.pt`` is written after each epoch.
    checkpoint_steps : int, optional
        Also after every so many steps.
    resume : bool, str or Path
        True continues from `checkpoint_dir` if it has a checkpoint; a path must be one.
    seed : int
        Of sample order, augmentation and dropout, >= 0. The weights to start from are the model's.
    progress : bool
        Show a bar on standard error.
    log_dir : str or Path, optional
        For ``metrics.csv`` and, where TensorBoard is installed, its events.
    device : {"cpu"}, optional
        None takes a GPU where there is one. The first call in a process decides.

    Returns
    -------
    History

    Raises
    ------
    ValueError
        If an argument is out of range, labels do not fit the model, the loss is not finite, or a
        checkpoint is damaged or of another run.
    FileNotFoundError
        If `resume` names no checkpoint.
    ImportError
        If accelerate is not installed.

    Examples
    --------
    >>> import numpy as np, torch
    >>> x = np.random.default_rng(0).normal(size=(64, 2)).astype(np.float32)
    >>> model = torch.nn.Linear(2, 2)
    >>> history = fit(model, (x, x[:, 0] > 0), epochs=20, batch_size=16, progress=False)
    >>> history["accuracy"][-1] > 0.9
    True
    """
    prepare = Preprocess.parse(preprocess)
    if warmup is None:
        warmup = 0.3 * epochs if schedule == "one_cycle" and isinstance(epochs, int) else 0.0
    options = Options(
        epochs=epochs,
        batch_size=batch_size,
        optimizer=optimizer,
        learning_rate=learning_rate,
        schedule=schedule,
        warmup=warmup,
        weight_decay=weight_decay,
        momentum=momentum,
        label_smoothing=label_smoothing,
        loss=loss,
        augment=augment,
        preprocess=prepare,
        mixing=Mixing(mixup, cutmix),
        ema=ema,
        precision=precision,
        accumulate=accumulate,
        clip=clip,
        has_validation=validation is not None,
        checkpoint_dir=None if checkpoint_dir is None else Path(checkpoint_dir),
        checkpoint_steps=checkpoint_steps,
        resume=resume if isinstance(resume, bool) else Path(resume),
        seed=seed,
        device=device,
    )
    inputs = Inputs(as_dataset(data, "train"), prepare, operation="fit", argument="data")
    held_out = None
    if validation is not None:
        held_out = Inputs(
            as_dataset(validation, "test"), prepare, operation="fit", argument="validation"
        )
    used = list(callbacks)
    if wrong := [c for c in used if not isinstance(c, Callback)]:
        raise TypeError(f"fit: callbacks must be Callback objects, got {wrong[0]!r}")
    accelerator = _accelerator(device)
    batches = Batches(
        inputs,
        augment,
        options.mixing,
        batch_size=batch_size,
        accumulate=accumulate,
        seed=seed,
        process=accelerator.process_index,
        processes=accelerator.num_processes,
    )
    if isinstance(early_stopping, EarlyStopping):
        used.append(early_stopping)
    elif early_stopping is not None:
        used.append(EarlyStopping(early_stopping))
    used += [*log_callbacks(log_dir), *progress_callbacks(progress)]
    with warnings.catch_warnings():
        # PyTorch warns that looking was in vain where all parameters are used.
        warnings.filterwarnings("ignore", "find_unused_parameters=True was specified")
        return Loop(model, batches, held_out, options, accelerator, used).run()


def _accelerator(device: str | None) -> Any:
    """Processes and devices; precision and accumulation are the loop's own."""
    if device not in (None, "cpu"):
        raise ValueError(f"fit: device must be 'cpu' or None, got {device!r}")
    try:
        from accelerate import Accelerator, DistributedDataParallelKwargs
    except ImportError:
        raise ImportError("fit needs accelerate: pip install 'tersor[train]'") from None
    import torch

    # Without a GPU accelerate must be told so, or torchrun would look for one.
    cpu = device == "cpu" or not (torch.cuda.is_available() or torch.backends.mps.is_available())
    # The loop sends the buffers itself, after every step. Parameters that a loss does not reach,
    # such as those of a head that is not trained, would end the run at its second step.
    parallel = DistributedDataParallelKwargs(broadcast_buffers=False, find_unused_parameters=True)
    return Accelerator(cpu=cpu, mixed_precision="no", kwargs_handlers=[parallel])


__all__ = ["fit"]
