"""Pruning as a callback of the training loop."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import is_dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ..torch.pruner import Pruner, Schedule
from .callback import Callback, Shared

if TYPE_CHECKING:
    from .batches import Batch
    from .state import TrainingState


class PruningSchedule(Callback):
    """Prune a network while it trains.

    Masks are computed after the optimizer's steps that the schedule names; when training ends, the
    zeros are written into the weights and the module is a plain one again.

    Parameters
    ----------
    schedule : ConstantSchedule, PolynomialSchedule or IterativeSchedule, optional
        Of :mod:`tersor.pruning`, in optimizer steps. None holds the zeros that are there.
    finalize : bool, default True
        False leaves the masks on the module after training; ``pruner`` holds them.
    **options
        `structure`, `scope`, `criterion`, `exclude`, `seed` of :class:`tersor.torch.Pruner`.

    Attributes
    ----------
    pruner : Pruner or None
        While training runs, and after it.

    Examples
    --------
    >>> from tersor.pruning import PolynomialSchedule                          # doctest: +SKIP
    >>> prune = PruningSchedule(PolynomialSchedule(0.75, end=1000))            # doctest: +SKIP
    >>> fit(model, data, epochs=3, callbacks=[prune])                          # doctest: +SKIP
    """

    def __init__(
        self, schedule: Schedule | None = None, *, finalize: bool = True, **options: Any
    ) -> None:
        self.schedule, self.finalize, self.options = schedule, finalize, options
        self.pruner: Pruner | None = None
        self.sparsity = 0.0

    def on_fit_begin(self, state: TrainingState) -> None:
        """Put masks on the weights."""
        self.pruner = Pruner(state.model, self.schedule, **self.options)

    def after_backward(self, state: TrainingState) -> None:
        """Add the gradients to the scores, while they are unscaled and unclipped."""
        assert self.pruner is not None
        self.pruner.observe()

    def after_step(self, state: TrainingState) -> None:
        """Follow the schedule."""
        assert self.pruner is not None
        self.pruner.step(observe=False)

    def on_epoch_end(self, state: TrainingState, metrics: dict[str, float]) -> None:
        """Add the sparsity to the history."""
        assert self.pruner is not None
        metrics["sparsity"] = self.pruner.sparsity

    def on_fit_end(self, state: TrainingState) -> None:
        """Make the module a plain one with zeros."""
        if self.pruner is None:
            return
        self.sparsity = self.pruner.sparsity
        if self.finalize:
            self.pruner.finalize()

    def shared(self) -> Iterable[Shared]:
        """Return the masks: processes that sum gradients in another order may differ in a tie."""
        if self.pruner is not None:
            for mask in self.pruner.mask_buffers():
                yield Shared(mask, "first")

    def fingerprint(self) -> dict[str, Any]:
        """Return the settings."""
        schedule: Any = self.schedule
        known = dict(vars(schedule)) if is_dataclass(schedule) else repr(schedule)
        options = {
            k: list(v) if isinstance(v, Sequence) and not isinstance(v, str) else v
            for k, v in self.options.items()
        }
        return {"schedule": type(schedule).__name__, "settings": known, "options": options}

    def state_dict(self) -> dict[str, Any]:
        """Return what the module's state does not hold."""
        assert self.pruner is not None
        return self.pruner.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue."""
        assert self.pruner is not None
        self.pruner.load_state_dict(state)


class NetworkSlimming(Callback):
    """Adds ``strength * sum |gamma|`` over all BatchNorm layers to the loss.

    Channels that the network can do without end with a gamma near 0, which is the score by which
    they are removed then.

    Parameters
    ----------
    strength : float, default 1e-4
        At least 0.
    exclude : sequence of str
        Names of BatchNorm layers to leave out.

    References
    ----------
    Liu et al., "Learning Efficient Convolutional Networks through Network Slimming", ICCV 2017.
    """

    def __init__(self, strength: float = 1e-4, exclude: Sequence[str] = ()) -> None:
        if not strength >= 0:
            raise ValueError(f"NetworkSlimming: strength must be at least 0, got {strength}")
        self.strength, self.exclude = float(strength), tuple(exclude)
        self._gammas: list[nn.Parameter] = []

    def on_fit_begin(self, state: TrainingState) -> None:
        """Find the BatchNorm layers."""
        norms = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
        found = {n: m for n, m in state.model.named_modules() if isinstance(m, norms)}
        unknown = [name for name in self.exclude if name not in found]
        if unknown or not found:
            raise ValueError(
                "NetworkSlimming: exclude must name BatchNorm layers of the network, got "
                f"{unknown or 'a network without any'}"
            )
        self._gammas = [m.weight for n, m in found.items() if m.affine and n not in self.exclude]

    def modify_loss(
        self, state: TrainingState, batch: Batch, outputs: torch.Tensor, loss: torch.Tensor
    ) -> torch.Tensor:
        """Add the penalty."""
        return loss + self.strength * sum(gamma.abs().sum() for gamma in self._gammas)

    def fingerprint(self) -> dict[str, Any]:
        """Return the settings."""
        return {"strength": self.strength, "exclude": list(self.exclude)}


__all__ = ["NetworkSlimming", "PruningSchedule"]
