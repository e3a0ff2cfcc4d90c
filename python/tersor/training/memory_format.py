"""The order of weights in memory: convolutions on a CPU want the channels last."""

from __future__ import annotations

from itertools import chain

import torch
from torch import nn


def channels_last(model: nn.Module) -> None:
    """Put four-dimensional parameters and buffers into channels-last memory.

    Unlike ``model.to(memory_format=torch.channels_last)`` this leaves weights of other ranks alone,
    such as those of Conv3d, where PyTorch raises.

    Parameters
    ----------
    model : torch.nn.Module
        Changed in place.
    """
    _reorder(model, torch.channels_last)


def contiguous(model: nn.Module) -> None:
    """Put parameters and buffers back into row-major memory.

    Parameters
    ----------
    model : torch.nn.Module
        Changed in place.
    """
    _reorder(model, torch.contiguous_format)


def _reorder(model: nn.Module, order: torch.memory_format) -> None:
    with torch.no_grad():
        for tensor in chain(model.parameters(), model.buffers()):
            if tensor.ndim == 4:
                tensor.data = tensor.data.contiguous(memory_format=order)


__all__ = ["channels_last", "contiguous"]
