"""Loss and accuracy of a module on labeled data."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from ..data.load import as_dataset
from ..data.preprocess import Preprocess
from .batches import Inputs
from .precision import PRECISIONS, Precision


def evaluate(
    model: nn.Module,
    data: Any,
    *,
    batch_size: int = 256,
    preprocess: Any = None,
    precision: str = "fp32",
) -> dict[str, float]:
    """Measure a module in evaluation mode, on the device of its parameters.

    Parameters
    ----------
    model : torch.nn.Module
        Its mode is restored.
    data : Dataset, path or pair (x, y)
        Labeled.
    batch_size : int
        Rows of a forward pass, at least 1.
    preprocess : Preprocess, mapping or path, optional
        For bytes.
    precision : {"fp32", "bf16", "fp16"}

    Returns
    -------
    dict
        ``loss`` (cross-entropy, mean) and ``accuracy`` in [0, 1].

    Raises
    ------
    ValueError
        If labels are missing or not below the number of classes, or an option is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> model = nn.Linear(2, 2, bias=False)
    >>> _ = nn.init.eye_(model.weight)
    >>> evaluate(model, (np.eye(2, dtype=np.float32), [0, 1]))["accuracy"]
    1.0
    """
    if not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size < 1:
        raise ValueError(f"evaluate: batch_size must be an integer >= 1, got {batch_size!r}")
    if precision not in PRECISIONS:
        raise ValueError(
            f"evaluate: precision must be one of {', '.join(PRECISIONS)}, got {precision!r}"
        )
    inputs = Inputs(
        as_dataset(data, "test"),
        Preprocess.parse(preprocess),
        operation="evaluate",
        argument="data",
    )
    parameter = next(model.parameters(), torch.empty(0))
    was_training = model.training
    try:
        sums = evaluation_sums(
            model, inputs, Precision(precision, parameter.device), batch_size, parameter.device
        )
    finally:
        model.train(was_training)
    return means(sums)


def evaluation_sums(
    model: nn.Module,
    inputs: Inputs,
    precision: Precision,
    batch_size: int,
    device: torch.device,
    *,
    process: int = 0,
    processes: int = 1,
) -> torch.Tensor:
    """Return the sums of losses, right answers and samples over this process's batches.

    Parameters
    ----------
    model : torch.nn.Module
        Is left in evaluation mode.
    inputs : Inputs
    precision : Precision
    batch_size : int
    device : torch.device
    process, processes : int
        Batches are dealt out in turn.

    Returns
    -------
    torch.Tensor of float64, shape (3,)
    """
    model.eval()
    sums = torch.zeros(3, dtype=torch.float64, device=device)
    with torch.inference_mode():
        for number, start in enumerate(range(0, len(inputs.y), batch_size)):
            if number % processes != process:
                continue
            part = slice(start, start + batch_size)
            x = inputs.tensor(inputs.prepare(inputs.x[part])).to(device)
            y = torch.from_numpy(inputs.y[part]).to(device)
            with precision.autocast():
                outputs = model(x)
            if number == process:
                check_outputs(outputs, len(y), int(inputs.y.max()), "evaluate")
            loss = F.cross_entropy(outputs.float(), y, reduction="sum")
            sums += torch.stack([loss.double(), (outputs.argmax(1) == y).sum(), _count(y)])
    return sums


def _count(y: torch.Tensor) -> torch.Tensor:
    return torch.tensor(float(len(y)), dtype=torch.float64, device=y.device)


def check_outputs(outputs: Any, rows: int, largest_label: int, operation: str) -> None:
    """Refuse outputs that are no logits for the labels.

    Parameters
    ----------
    outputs : object
        What the model returned.
    rows : int
    largest_label : int
    operation : str
        What messages begin with.

    Raises
    ------
    ValueError
        If outputs are no (rows, classes) tensor, or a label is no class.
    """
    if not isinstance(outputs, torch.Tensor) or outputs.ndim != 2 or len(outputs) != rows:
        shape = tuple(outputs.shape) if isinstance(outputs, torch.Tensor) else type(outputs)
        raise ValueError(
            f"{operation}: outputs of the model must be logits of shape ({rows}, classes), "
            f"got {shape}"
        )
    if largest_label >= outputs.shape[1]:
        raise ValueError(
            f"{operation}: labels must be below the {outputs.shape[1]} classes of the model, "
            f"got {largest_label}"
        )


def means(sums: torch.Tensor) -> dict[str, float]:
    """Turn sums into loss and accuracy.

    Parameters
    ----------
    sums : torch.Tensor, shape (3,)

    Returns
    -------
    dict
    """
    loss, right, count = sums.tolist()
    return {"loss": loss / max(count, 1), "accuracy": right / max(count, 1)}


__all__ = ["check_outputs", "evaluate", "evaluation_sums", "means"]
