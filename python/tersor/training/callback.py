"""What plugs into the training loop: distillation, pruning, quantizers, codebooks, logs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch

if TYPE_CHECKING:
    from .batches import Batch
    from .state import TrainingState

Reduction = Literal["mean", "sum", "min", "max", "first"]


@dataclass(frozen=True)
class Shared:
    """A tensor that must be the same in every process of a data-parallel run.

    Parameters
    ----------
    tensor : torch.Tensor
        Written in place.
    reduce : {"mean", "sum", "min", "max", "first"}
        How the processes' values become one; "first" takes those of process 0.
    every : {"step", "epoch"}
        When. Epochs also count as such where a checkpoint is written.
    """

    tensor: torch.Tensor
    reduce: Reduction
    every: Literal["step", "epoch"] = "step"


class Callback:
    """Base class whose hooks do nothing; any number of callbacks combine in one run.

    Hooks run in the order in which the callbacks were given, in every process. Order of a step:
    ``prepare_batch`` (ahead of time, in another thread), ``on_step_begin``, then per part of the
    batch ``compute_loss`` and ``modify_loss``, then ``after_backward``, ``after_step`` and
    ``on_step_end``.

    Examples
    --------
    >>> class Decay(Callback):
    ...     def modify_loss(self, state, batch, outputs, loss):
    ...         return loss + 1e-4 * sum(p.abs().sum() for p in state.model.parameters())
    """

    def on_fit_begin(self, state: TrainingState) -> None:
        """Run before optimizer and data-parallel wrapper are made: the model may still change.

        Parameters
        ----------
        state : TrainingState
            ``state.optimizer`` is not there yet.
        """

    def on_epoch_begin(self, state: TrainingState) -> None:
        """Run before the first step of an epoch.

        Parameters
        ----------
        state : TrainingState
        """

    def on_step_begin(self, state: TrainingState) -> None:
        """Run before a step, after its learning rate was set.

        Parameters
        ----------
        state : TrainingState
        """

    def prepare_batch(self, batch: Batch) -> None:
        """Add to a batch, in the thread that prepares batches while the model trains.

        Parameters
        ----------
        batch : Batch
            Put what is added into ``batch.extras``; it may depend on nothing but the batch.
        """

    def compute_loss(
        self, state: TrainingState, batch: Batch, outputs: torch.Tensor
    ) -> torch.Tensor | None:
        """Return the loss in place of cross-entropy, or None.

        Parameters
        ----------
        state : TrainingState
        batch : Batch
        outputs : torch.Tensor, shape (n, classes)

        Returns
        -------
        torch.Tensor or None
            Scalar, a mean over the batch. At most one callback may return one.
        """
        return None

    def modify_loss(
        self, state: TrainingState, batch: Batch, outputs: torch.Tensor, loss: torch.Tensor
    ) -> torch.Tensor:
        """Add terms to the loss.

        Parameters
        ----------
        state : TrainingState
        batch : Batch
        outputs : torch.Tensor, shape (n, classes)
        loss : torch.Tensor
            Scalar.

        Returns
        -------
        torch.Tensor
            Scalar.
        """
        return loss

    def after_backward(self, state: TrainingState) -> None:
        """Run when gradients are complete: unscaled, averaged over processes, not yet clipped.

        Parameters
        ----------
        state : TrainingState
        """

    def after_step(self, state: TrainingState) -> None:
        """Run when the optimizer has moved the weights; not where fp16 skipped the step.

        Parameters
        ----------
        state : TrainingState
        """

    def on_step_end(self, state: TrainingState) -> None:
        """Run at the end of every step.

        Parameters
        ----------
        state : TrainingState
        """

    def on_epoch_end(self, state: TrainingState, metrics: dict[str, float]) -> None:
        """Run after validation, before the checkpoint.

        Parameters
        ----------
        state : TrainingState
        metrics : dict of str to float
            The row of the history, the same in every process; entries may be added.
        """

    def on_fit_end(self, state: TrainingState) -> None:
        """Run once at the end, also where training failed or was interrupted.

        Parameters
        ----------
        state : TrainingState
        """

    def shared(self) -> Iterable[Shared]:
        """Return the tensors that the loop keeps equal in all processes.

        Returns
        -------
        iterable of Shared
            In the same order in every process.
        """
        return ()

    def fingerprint(self) -> dict[str, Any]:
        """Return the settings that change the result; a checkpoint is for equal ones only.

        Returns
        -------
        dict
            Numbers, text, lists and dictionaries; asked for after ``on_fit_begin``.
        """
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint must hold: tensors, numbers, text, lists and dictionaries.

        Returns
        -------
        dict
        """
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what :meth:`state_dict` returned; runs after ``on_fit_begin``.

        Parameters
        ----------
        state : mapping
        """


__all__ = ["Callback", "Shared"]
