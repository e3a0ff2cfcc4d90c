"""fp32, bf16 and fp16 with dynamic loss scaling, the same on every device.

accelerate leaves fp16 out on CPUs without a word, so autocast and scaler are PyTorch's own here.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import torch

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Precision:
    """Autocast, and for fp16 a loss scale that halves when a gradient overflows.

    Parameters
    ----------
    name : {"fp32", "bf16", "fp16"}
    device : torch.device
    growth_interval : int
        Steps without overflow after which the scale doubles.

    References
    ----------
    Micikevicius et al., "Mixed precision training", ICLR 2018.
    """

    def __init__(self, name: str, device: torch.device, growth_interval: int = 2000) -> None:
        self.name = name
        self._device = device.type
        self._scaler = torch.amp.GradScaler(
            self._device, enabled=name == "fp16", growth_interval=growth_interval
        )

    @property
    def loss_scale(self) -> float:
        """What the loss is multiplied by; 1 but for fp16."""
        return float(self._scaler.get_scale())

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the context of a forward pass.

        Returns
        -------
        context manager
        """
        return torch.autocast(
            self._device,
            PRECISIONS[self.name] if self.name != "fp32" else None,
            enabled=self.name != "fp32",
        )

    def scaled(self, loss: torch.Tensor) -> torch.Tensor:
        """Return the loss to differentiate.

        Parameters
        ----------
        loss : torch.Tensor

        Returns
        -------
        torch.Tensor
        """
        return self._scaler.scale(loss)

    def unscale(self, optimizer: torch.optim.Optimizer) -> None:
        """Divide the gradients by the scale, and look for overflow.

        Parameters
        ----------
        optimizer : torch.optim.Optimizer
        """
        self._scaler.unscale_(optimizer)

    def step(self, optimizer: torch.optim.Optimizer) -> bool:
        """Let the optimizer step unless a gradient overflowed, and update the scale.

        Parameters
        ----------
        optimizer : torch.optim.Optimizer

        Returns
        -------
        bool
            Whether it stepped.
        """
        before = self.loss_scale
        self._scaler.step(optimizer)
        self._scaler.update()
        return self.loss_scale >= before

    def state_dict(self) -> dict[str, Any]:
        """Return the scale and its counter.

        Returns
        -------
        dict
        """
        return dict(self._scaler.state_dict())

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`state_dict`.

        Parameters
        ----------
        state : dict
        """
        if state:
            self._scaler.load_state_dict(state)


__all__ = ["PRECISIONS", "Precision"]
