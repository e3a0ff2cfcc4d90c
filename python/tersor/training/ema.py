"""An exponential moving average of the weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


class Ema:
    """Averaged copy of a model's floating-point parameters and buffers.

    ``value = d * value + (1 - d) * weight`` with ``d = min(decay, (1 + t) / (10 + t))`` after step
    t, so that the random start is forgotten soon.

    Parameters
    ----------
    model : torch.nn.Module
    decay : float
        In (0, 1).

    Attributes
    ----------
    values : dict of str to torch.Tensor
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.values = {
            name: value.detach().clone()
            for name, value in model.state_dict().items()
            if value.is_floating_point()
        }

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take in the weights after a step.

        Parameters
        ----------
        model : torch.nn.Module
        """
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        source = model.state_dict()
        torch._foreach_lerp_(
            list(self.values.values()), [source[name] for name in self.values], 1 - decay
        )

    @torch.no_grad()
    def copy_to(self, model: nn.Module) -> None:
        """Overwrite the model's weights with the averaged ones.

        Parameters
        ----------
        model : torch.nn.Module
        """
        target = model.state_dict()
        for name, value in self.values.items():
            target[name].copy_(value)

    @contextmanager
    def applied(self, model: nn.Module) -> Iterator[None]:
        """Let the model have the averaged weights for a while.

        Parameters
        ----------
        model : torch.nn.Module

        Yields
        ------
        None
        """
        saved = {name: value.clone() for name, value in model.state_dict().items()}
        self.copy_to(model)
        try:
            yield
        finally:
            with torch.no_grad():
                for name, value in model.state_dict().items():
                    value.copy_(saved[name])


__all__ = ["Ema"]
