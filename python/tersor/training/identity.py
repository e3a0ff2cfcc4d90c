"""Short names for what a run depends on, so that a checkpoint or a cache is not used for another.

Names change when the thing changes; that two things with one name are equal is not promised (of the
data only a sample of rows is looked at).
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from .. import artifact
from ..compress.model import CompressedModel
from ..runtime.session import Session

# Decoding all images of a folder tree would take minutes.
_ROWS = 256


def identity_of_data(x: Any, y: NDArray[Any]) -> str:
    """Return a name of a data set: all labels, and some of the samples.

    Parameters
    ----------
    x : array-like, shape (n, ...)
        Anything that integer arrays index.
    y : ndarray, shape (n,)

    Returns
    -------
    str
    """
    rows = np.unique(np.linspace(0, max(len(y) - 1, 0), min(len(y), _ROWS)).astype(np.intp))
    some = np.ascontiguousarray(x[rows])
    digest = hashlib.sha256(f"{len(y)} {some.shape[1:]} {some.dtype} {y.dtype}".encode())
    digest.update(some.tobytes())
    digest.update(np.ascontiguousarray(y).tobytes())
    return digest.hexdigest()[:16]


def identity_of_model(model: Any) -> str:
    """Return a name of a network: its structure and weights.

    Parameters
    ----------
    model : torch.nn.Module, Session, Graph or CompressedModel

    Returns
    -------
    str
    """
    if isinstance(model, nn.Module):
        digest = hashlib.sha256()
        for name, part in model.named_modules():
            digest.update(f"{name} {type(part).__qualname__} {part.extra_repr()}\n".encode())
        for name, tensor in model.state_dict().items():
            if isinstance(tensor, torch.Tensor):
                digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
                digest.update(_bytes(tensor))
        return digest.hexdigest()[:16]
    if isinstance(model, CompressedModel):
        return model.content_hash[:16]
    if isinstance(model, Session):
        return f"{artifact.content_hash(model.graph)[:16]} {model.arithmetic} {model.precision}"
    return artifact.content_hash(model)[:16]


def _bytes(tensor: torch.Tensor) -> bytes:
    plain = tensor.detach().cpu().contiguous().reshape(-1)
    return plain.view(torch.uint8).numpy().tobytes() if plain.numel() else b""


__all__ = ["identity_of_data", "identity_of_model"]
