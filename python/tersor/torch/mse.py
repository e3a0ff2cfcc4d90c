"""Squared differences of logits and features as modules. Kernels: ``cpp/.../mse.h``."""

from __future__ import annotations

from collections.abc import Sequence

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
    loss: float = _core.distillation.mean_squared_difference_at(
        "feature_loss", z, teacher.data_ptr(), student.numel(), types_of(student, teacher), g
    )
    return loss


class FeatureLoss(Loss, kernel=_kernel):
    """Mean squared difference of features: hints (FitNets), with an optional learned projection.

    Parameters
    ----------
    student_channels, teacher_channels : int, optional
        Both given: a bias-free linear map of the student's channels (axis 1) is learned with it.

    See Also
    --------
    tersor.distillation.feature_loss : the same on NumPy arrays, with formula and reference.

    Examples
    --------
    >>> import torch
    >>> from tersor.torch import FeatureLoss
    >>> loss = FeatureLoss(8, 16)
    >>> loss(torch.ones(2, 8, 4, 4), torch.ones(2, 16, 4, 4)).shape
    torch.Size([])
    """

    name = "feature"
    projection: torch.nn.Parameter | None

    def __init__(
        self, student_channels: int | None = None, teacher_channels: int | None = None
    ) -> None:
        super().__init__()
        if (student_channels is None) != (teacher_channels is None):
            raise ValueError(
                "FeatureLoss: student_channels and teacher_channels must be given together"
            )
        weight = None
        if student_channels is not None and teacher_channels is not None:
            weight = torch.nn.Parameter(torch.empty(teacher_channels, student_channels))
            torch.nn.init.kaiming_uniform_(weight, a=5**0.5)
        self.register_parameter("projection", weight)

    def forward(self, student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        """Loss of features (samples, channels, ...); a scalar."""
        if self.projection is not None:
            moved = functional.linear(student.movedim(1, -1), self.projection.to(student.dtype))
            student = moved.movedim(-1, 1)
        if student.shape != teacher.shape:
            raise ValueError(
                f"feature_loss: teacher must have shape {tuple(student.shape)}, "
                f"got {tuple(teacher.shape)}"
            )
        return self.run(student, teacher)

    def in_torch(
        self, student: torch.Tensor, teacher: torch.Tensor, labels: torch.Tensor | None
    ) -> torch.Tensor:
        return (student - teacher).square().sum() / max(student.numel(), 1)


class MSELogitsLoss(FeatureLoss, kernel=_kernel):
    """Mean squared difference of logits.

    See Also
    --------
    tersor.distillation.mse_logits_loss : the same on NumPy arrays, with reference.

    Examples
    --------
    >>> import torch
    >>> from tersor.torch import MSELogitsLoss
    >>> MSELogitsLoss()(torch.ones(2, 3), torch.zeros(2, 3))
    tensor(1.)
    """

    name = "mse_logits"

    def __init__(self) -> None:
        super().__init__()


__all__ = ["FeatureLoss", "MSELogitsLoss"]
