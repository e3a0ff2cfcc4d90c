"""Relational distillation as a module. Kernels: ``cpp/tersor/distillation/relational.h``."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional

from .. import _core
from .loss import Loss


def _kernel(
    student: torch.Tensor,
    teacher: torch.Tensor,
    labels: torch.Tensor | None,
    numbers: Sequence[float],
    z: int,
    g: int,
) -> float:
    loss: float = _core.distillation.relational_loss_at(
        z,
        teacher.data_ptr(),
        student.shape[0],
        student.shape[1],
        teacher.shape[1],
        numbers[0],
        numbers[1],
        g,
    )
    return loss


class RelationalLoss(Loss, kernel=_kernel):
    """Relational distillation: distances of pairs and angles of triples of embeddings.

    Parameters
    ----------
    distance : float, default 1.0
        Weight of the distances, >= 0.
    angle : float, default 2.0
        Weight of the angles, >= 0; work grows with the cube of the batch.

    See Also
    --------
    tersor.distillation.relational_loss : the same on NumPy arrays, with formula and reference.

    Examples
    --------
    >>> import torch
    >>> from tersor.torch import RelationalLoss
    >>> RelationalLoss()(torch.eye(3), 2 * torch.eye(3))
    tensor(0.)
    """

    name = "relational"
    dtypes = (torch.float32,)

    def __init__(self, distance: float = 1.0, angle: float = 2.0) -> None:
        super().__init__()
        for what, value in (("distance", distance), ("angle", angle)):
            if not 0 <= value < float("inf"):
                raise ValueError(f"RelationalLoss: {what} must be finite and >= 0, got {value}")
        self.distance, self.angle = float(distance), float(angle)

    @property
    def numbers(self) -> tuple[float, ...]:
        return (self.distance, self.angle)

    def forward(self, student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        """Loss of embeddings (samples, dimensions); a scalar."""
        if student.dim() != 2 or teacher.dim() != 2 or len(student) != len(teacher):
            raise ValueError(
                "relational_loss: student and teacher must have shape (samples, dimensions) with "
                f"equal samples, got {tuple(student.shape)} and {tuple(teacher.shape)}"
            )
        return self.run(student, teacher)

    def extra_repr(self) -> str:
        return f"distance={self.distance:g}, angle={self.angle:g}"

    def in_torch(
        self, student: torch.Tensor, teacher: torch.Tensor, labels: torch.Tensor | None
    ) -> torch.Tensor:
        def distances(x: torch.Tensor) -> torch.Tensor:
            squared = (x.unsqueeze(0) - x.unsqueeze(1)).square().sum(2)
            positive = squared > 0
            d = torch.where(positive, squared, 1).sqrt() * positive
            return d / (d.sum() / positive.sum().clamp(min=1)).clamp(min=1e-30)

        def angles(x: torch.Tensor) -> torch.Tensor:
            sides = functional.normalize(x.unsqueeze(0) - x.unsqueeze(1), dim=2)
            return sides @ sides.transpose(1, 2)

        if len(student) == 0:
            return student.sum()
        loss = student.new_zeros(())
        if self.distance:
            d = functional.smooth_l1_loss(distances(student), distances(teacher))
            loss = loss + self.distance * d
        if self.angle:
            loss = loss + self.angle * functional.smooth_l1_loss(angles(student), angles(teacher))
        return loss


__all__ = ["RelationalLoss"]
