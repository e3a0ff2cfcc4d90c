"""Distillation: a callback of the training loop, and a door to both."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .batches import Batch
from .callback import Callback, Shared
from .fit import fit
from .history import History
from .state import TrainingState
from .teacher import LogitCache, Teacher, choose_cache

DistillationLoss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


class DistillationCallback(Callback):
    """Train on what a teacher says about the same augmented images.

    Parameters
    ----------
    teacher : torch.nn.Module, Session, Graph or CompressedModel
        Takes what the student takes. A session computes the next batch while the student trains on
        this one.
    temperature : float
        > 0.
    alpha : float
        Share of cross-entropy with the labels, in [0, 1].
    loss : callable, optional
        From (student logits, teacher logits, labels), or the first two, to a scalar, in place of
        ``tersor.torch.KDLoss(temperature, alpha, label_smoothing)``.
    cache_teacher : bool, str or Path, optional
        Keep the teacher's logits, in memory or in a .npy file; None does where images repeat.

    Raises
    ------
    ValueError
        If `temperature` or `alpha` is out of range.
    """

    def __init__(
        self,
        teacher: Any,
        *,
        temperature: float = 4.0,
        alpha: float = 0.5,
        loss: DistillationLoss | None = None,
        cache_teacher: bool | str | Path | None = None,
    ) -> None:
        if not (math.isfinite(temperature) and temperature > 0):
            raise ValueError(f"distill: temperature must be > 0 and finite, got {temperature}")
        if not 0 <= alpha <= 1:
            raise ValueError(f"distill: alpha must be in [0, 1], got {alpha}")
        self._teacher = Teacher(teacher)
        self._temperature = temperature
        self._alpha = alpha
        self._given_loss = loss
        self._loss: DistillationLoss | None = None if loss is None else _with_labels(loss)
        self._cache_teacher = cache_teacher
        self._cache: LogitCache | None = None
        self._identity: str | None = None

    def on_fit_begin(self, state: TrainingState) -> None:
        """Place the teacher, choose the loss and whether logits are kept.

        Parameters
        ----------
        state : TrainingState
        """
        if self._given_loss is not None and state.options.label_smoothing:
            raise ValueError(
                "distill: label_smoothing must be 0 where loss is given, got "
                f"{state.options.label_smoothing}"
            )
        self._identity = None
        if state.options.checkpoint_dir is not None or state.options.resume:
            self._teacher_identity()  # before training moves weights that it may share
        self._cache = choose_cache(self._cache_teacher, state, self._teacher_identity)
        self._teacher.begin(state.accelerator.device)
        if self._given_loss is None:
            from ..torch import KDLoss

            self._loss = KDLoss(
                temperature=self._temperature,
                alpha=self._alpha,
                label_smoothing=state.options.label_smoothing,
            )

    def on_fit_end(self, state: TrainingState) -> None:
        """Leave the teacher as it was.

        Parameters
        ----------
        state : TrainingState
        """
        self._teacher.end()

    def fingerprint(self) -> dict[str, Any]:
        """Return teacher and loss.

        Returns
        -------
        dict
        """
        settings: dict[str, Any] = {"teacher": self._teacher_identity()}
        if self._given_loss is None:
            return settings | {"temperature": self._temperature, "alpha": self._alpha}
        loss = self._given_loss
        name = getattr(loss, "__qualname__", type(loss).__qualname__)
        options = loss.extra_repr() if isinstance(loss, nn.Module) else ""
        return settings | {"loss": f"{name}({options})"}

    def shared(self) -> Iterable[Shared]:
        """Return the logits in memory: each process may see the others' images next.

        Returns
        -------
        iterable of Shared
        """
        logits = None if self._cache is None else self._cache.exchanged()
        return [] if logits is None else [Shared(logits, "max", "epoch")]

    def state_dict(self) -> dict[str, Any]:
        """Return the logits in memory: computed anew, in other batches, they may differ by a bit.

        Returns
        -------
        dict
        """
        return {} if self._cache is None else self._cache.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict`.

        Parameters
        ----------
        state : mapping
        """
        if self._cache is not None:
            self._cache.load_state_dict(dict(state))

    def prepare_batch(self, batch: Batch) -> None:
        """Ask a session, beside the student's step.

        Parameters
        ----------
        batch : Batch
        """
        if self._teacher.in_background:
            batch.extras["teacher_logits"] = self._logits(batch, None)

    def compute_loss(
        self, state: TrainingState, batch: Batch, outputs: torch.Tensor
    ) -> torch.Tensor:
        """Return the distillation loss.

        Parameters
        ----------
        state : TrainingState
        batch : Batch
        outputs : torch.Tensor, shape (n, classes)

        Returns
        -------
        torch.Tensor
            Scalar.
        """
        teacher = batch.extras.get("teacher_logits")
        if teacher is None:
            teacher = self._logits(batch, state).to(outputs.device)
        if teacher.shape != outputs.shape:
            raise ValueError(
                f"distill: teacher must have the student's {outputs.shape[1]} classes, got "
                f"{teacher.shape[1]}"
            )
        loss = self._loss
        assert loss is not None
        logits = outputs.float()
        return batch.mixed(lambda labels: loss(logits, teacher, labels))

    def _teacher_identity(self) -> str:
        """Weights are read once a run, and only where a cache or a checkpoint needs their name."""
        if self._identity is None:
            self._identity = self._teacher.identity()
        return self._identity

    def _logits(self, batch: Batch, state: TrainingState | None) -> torch.Tensor:
        known = None if self._cache is None else self._cache.get(batch)
        if known is not None:
            return known
        logits = self._teacher.logits(batch.inputs, None if state is None else state.precision)
        if self._cache is not None:
            self._cache.put(batch, logits)
        return logits


def _with_labels(loss: Callable[..., torch.Tensor]) -> DistillationLoss:
    """Let a loss of two logits be called with labels."""
    function = loss.forward if isinstance(loss, nn.Module) else loss
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # written in C
        return loss
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    some = [p for p in parameters if p.kind in positional]
    if len(some) == 2 and all(p.kind is not inspect.Parameter.VAR_POSITIONAL for p in parameters):
        return lambda student, teacher, labels: loss(student, teacher)
    return loss


def distill(
    teacher: Any,
    student: nn.Module,
    data: Any,
    *,
    temperature: float = 4.0,
    alpha: float = 0.5,
    loss: DistillationLoss | None = None,
    cache_teacher: bool | str | Path | None = None,
    callbacks: Iterable[Callback] = (),
    **options: Any,
) -> History:
    """Train a student on the labels and on what a teacher says about the same images.

    The same loop as :func:`fit`, with a :class:`DistillationCallback`: the teacher sees each
    augmented batch that the student sees (Beyer et al. 2022: a consistent teacher).

    Parameters
    ----------
    teacher : torch.nn.Module, Session, Graph or CompressedModel
        Takes what the student takes and has its classes; a module is left in evaluation mode. A
        :class:`tersor.Session` computes the next batch on another core while the student trains.
    student : torch.nn.Module
    data : Dataset, path or pair (x, y)
    temperature : float
        Both logits are divided by it, > 0.
    alpha : float
        Share of cross-entropy, in [0, 1]; the rest is the divergence from the teacher, times
        ``temperature**2``.
    loss : callable, optional
        From (student logits, teacher logits, labels), or the first two, to a scalar; any loss of
        logits of ``tersor.torch``. `temperature` and `alpha` then do not count.
    cache_teacher : bool, str or Path, optional
        Keep the teacher's logits, in memory or in a .npy file. Possible where images repeat:
        without augmentation, or with ``Augment(variants=k)``. None does so where they take little
        memory.
    callbacks : iterable of Callback
        Further ones: pruning, quantizers.
    **options
        As for :func:`fit`: epochs, batch_size, augment, schedule and so on.

    Returns
    -------
    History

    Raises
    ------
    ValueError
        As for :func:`fit`; if `temperature` or `alpha` is out of range, the classes differ, or
        logits cannot be kept.

    References
    ----------
    Hinton, Vinyals & Dean, "Distilling the knowledge in a neural network", 2015.
    Beyer et al., "Knowledge distillation: a good teacher is patient and consistent", CVPR 2022.

    Examples
    --------
    >>> teacher = tersor.Session(tersor.load("resnet20.onnx"))           # doctest: +SKIP
    >>> distill(teacher, student, "cifar10.tar.xz", epochs=20)           # doctest: +SKIP
    """
    distillation = DistillationCallback(
        teacher, temperature=temperature, alpha=alpha, loss=loss, cache_teacher=cache_teacher
    )
    return fit(student, data, callbacks=[distillation, *callbacks], **options)


__all__ = ["DistillationCallback", "DistillationLoss", "distill"]
