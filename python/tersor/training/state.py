"""Where a run stands: what callbacks see."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from .history import History
from .identity import identity_of_data

if TYPE_CHECKING:
    from accelerate import Accelerator

    from .batches import Inputs
    from .ema import Ema
    from .options import Options
    from .precision import Precision


@dataclass
class TrainingState:
    """Where a run stands.

    Attributes
    ----------
    model : torch.nn.Module
        Without the data-parallel wrapper.
    options : Options
        The arguments of ``fit``.
    accelerator : accelerate.Accelerator
        Device, process number, collective operations.
    precision : Precision
        Autocast and loss scaling.
    optimizer : torch.optim.Optimizer or None
        None until ``on_fit_begin`` is over.
    ema : Ema or None
        Averaged weights.
    history : History
    inputs : Inputs
        The training set.
    steps_per_epoch : int
    epoch, step : int
        Numbers of the present epoch and of the step within it, from 0.
    learning_rate : float
        Of the present step.
    loss : float
        Mean over the present epoch so far, of this process.
    accuracy : float
        The same, in [0, 1].
    seen : int
        Images of the present epoch so far, of all processes.
    seconds : float
        Of the present epoch so far.
    skipped_steps : int
        Steps of the present epoch that fp16 skipped.
    stop_reason : str or None
        Set by :meth:`stop`.
    """

    model: nn.Module
    options: Options
    accelerator: Accelerator
    precision: Precision
    inputs: Inputs
    steps_per_epoch: int
    history: History = field(default_factory=History)
    optimizer: torch.optim.Optimizer | None = None
    ema: Ema | None = None
    epoch: int = 0
    step: int = 0
    learning_rate: float = 0.0
    loss: float = 0.0
    accuracy: float = 0.0
    seen: int = 0
    seconds: float = 0.0
    skipped_steps: int = 0
    stop_reason: str | None = None

    @property
    def samples(self) -> int:
        """Size of the training set."""
        return len(self.inputs.y)

    @cached_property
    def data(self) -> str:
        """Identity of the training set; reads some of its samples when first asked."""
        return identity_of_data(self.inputs.x, self.inputs.y)

    @property
    def global_step(self) -> int:
        """Steps since the beginning of the run."""
        return self.epoch * self.steps_per_epoch + self.step

    @property
    def total_steps(self) -> int:
        """Steps of the whole run."""
        return self.options.epochs * self.steps_per_epoch

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes and prints."""
        return bool(self.accelerator.is_main_process)

    def stop(self, reason: str) -> None:
        """End training after the present epoch.

        Parameters
        ----------
        reason : str
            Kept in ``history.stop_reason``.
        """
        self.stop_reason = reason

    def weights(self) -> dict[str, Any]:
        """Return a copy of the weights that validation used: averaged ones where there are any.

        Returns
        -------
        dict of str to torch.Tensor
        """
        source = self.model.state_dict()
        if self.ema is not None:
            source |= self.ema.values
        return {name: value.detach().clone() for name, value in source.items()}


__all__ = ["TrainingState"]
