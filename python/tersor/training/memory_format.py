"""The order of weights in memory: convolutions on a CPU want the channels last."""

from __future__ import annotations

from itertools import chain

import torch
from torch import nn

# With the channels last, the gradient of a strided 1x1 convolution with fewer input channels than
# a vector of AVX2 has floats writes beyond its buffer and crashes the process (PyTorch 2.13).
_LEAST_CHANNELS = 8


def channels_last(model: nn.Module) -> bool:
    """Put four-dimensional parameters and buffers into channels-last memory.

    Unlike ``model.to(memory_format=torch.channels_last)`` this leaves weights of other ranks alone,
    such as those of Conv3d, where PyTorch raises.

    Parameters
    ----------
    model : torch.nn.Module
        Changed in place.

    Returns
    -------
    bool
        Whether that was done; not where a 1x1 convolution has fewer than 8 input channels, whose
        gradient PyTorch then computes safely from images in row-major memory only.
    """
    if any(
        tuple(p.shape[2:]) == (1, 1) and p.shape[1] < _LEAST_CHANNELS for p in model.parameters()
    ):
        return False
    _reorder(model, torch.channels_last)
    return True


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
