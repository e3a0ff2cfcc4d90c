"""Optimizers by name, with weight decay where it belongs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

MakeOptimizer = Callable[[Any], torch.optim.Optimizer]
OPTIMIZERS = ("sgd", "adamw")


def make_optimizer(
    optimizer: str | MakeOptimizer,
    model: nn.Module,
    *,
    learning_rate: float,
    weight_decay: float,
    momentum: float,
    fused: bool,
) -> torch.optim.Optimizer:
    """Make an optimizer for a model.

    Weight decay applies to weights of two and more dimensions, not to biases and the parameters of
    normalization layers.

    Parameters
    ----------
    optimizer : {"sgd", "adamw"} or callable
        "sgd" has Nesterov momentum (none where `momentum` is 0). A callable takes parameter groups.
    model : torch.nn.Module
    learning_rate, weight_decay, momentum : float
        For "adamw", momentum is beta1.
    fused : bool
        One kernel for all parameters.

    Returns
    -------
    torch.optim.Optimizer

    Raises
    ------
    ValueError
        If no parameter can be trained.
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    if not trained:
        raise ValueError("fit: model must have parameters to train, got none")
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if callable(optimizer):
        return optimizer(groups)
    if optimizer == "adamw":
        return torch.optim.AdamW(groups, learning_rate, betas=(momentum, 0.999), fused=fused)
    return torch.optim.SGD(
        groups, learning_rate, momentum=momentum, nesterov=momentum > 0, fused=fused
    )


__all__ = ["OPTIMIZERS", "MakeOptimizer", "make_optimizer"]
