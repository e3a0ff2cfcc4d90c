"""Attention transfer as a module. Kernels: ``cpp/tersor/distillation/attention.h``."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
from torch.nn import functional

from .. import _core
from .loss import Loss, types_of


def _kernel(
    student: torch.Tensor,
    teacher: torch.Tensor,
    labels: torch.Tensor | None,
    numbers: Sequence[float],
    z: int,
    g: int,
) -> float:
    axis = student.dim() - 1 if numbers[0] else 1
    shape = student.shape
    loss: float = _core.distillation.attention_loss_at(
        z,
        teacher.data_ptr(),
        shape[0],
        shape[axis],
        teacher.shape[axis],
        prod(shape[1:axis] + shape[axis + 1 :]),
        bool(numbers[0]),
        types_of(student, teacher),
        g,
    )
    return loss


class AttentionLoss(Loss, kernel=_kernel):
    """Attention transfer: compare where two layers are active, whatever their channels.

    Parameters
    ----------
    channels_last : bool, default False
        Features have shape (samples, ..., channels) instead of (samples, channels, ...).

    See Also
    --------
    tersor.distillation.attention_loss : the same on NumPy arrays, with formula and reference.

    Examples
    --------
    >>> import torch
    >>> from tersor.torch import AttentionLoss
    >>> AttentionLoss()(torch.ones(2, 8, 4, 4), torch.ones(2, 16, 4, 4))
    tensor(0.)
    """

    name = "attention"

    def __init__(self, channels_last: bool = False) -> None:
        super().__init__()
        self.channels_last = bool(channels_last)

    @property
    def numbers(self) -> tuple[float, ...]:
        return (float(self.channels_last),)

    def forward(self, student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        """Loss of two features with equal samples and positions; a scalar."""
        axis = student.dim() - 1 if self.channels_last else 1
        positions = [
            (*x.shape[:axis], *x.shape[axis + 1 :]) if x.dim() > 2 else None
            for x in (student, teacher)
        ]
        if positions[0] is None or positions[0] != positions[1]:
            raise ValueError(
                "attention_loss: student and teacher must have equal samples and positions, "
                f"got shapes {tuple(student.shape)} and {tuple(teacher.shape)}"
            )
        return self.run(student, teacher)

    def in_torch(
        self, student: torch.Tensor, teacher: torch.Tensor, labels: torch.Tensor | None
    ) -> torch.Tensor:
        axis = -1 if self.channels_last else 1
        a, b = (functional.normalize(x.square().sum(axis).flatten(1)) for x in (student, teacher))
        return (a - b).square().sum() / max(a.numel(), 1)


__all__ = ["AttentionLoss"]
