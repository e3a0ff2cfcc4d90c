"""Decoupled distillation as a module. Kernels: ``cpp/tersor/distillation/dkd.h``."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from .. import _core
from .formula_checks import check_logits
from .loss import Loss, check_pair, counting_mean, divergence, rows_of, softened, types_of


def _kernel(
    student: torch.Tensor,
    teacher: torch.Tensor,
    labels: torch.Tensor | None,
    numbers: Sequence[float],
    z: int,
    g: int,
) -> float:
    temperature, alpha, beta, ignore_index = numbers
    loss: float = _core.distillation.dkd_loss_at(
        z,
        teacher.data_ptr(),
        *rows_of(student),
        types_of(student, teacher),
        0 if labels is None else labels.data_ptr(),
        temperature,
        alpha,
        beta,
        int(ignore_index),
        g,
    )
    return loss


class DKDLoss(Loss, kernel=_kernel):
    """Decoupled distillation: ``T**2 * (alpha * TCKD + beta * NCKD)``, without cross-entropy.

    Parameters
    ----------
    temperature : float, default 4.0
        Finite and > 0.
    alpha, beta : float, default 1.0 and 8.0
        Weights of the label's mass and of the distribution over the other classes, >= 0.
    ignore_index : int, default -100
        Label of rows that do not count.

    See Also
    --------
    tersor.distillation.dkd_loss : the same on NumPy arrays, with formula and reference.

    Examples
    --------
    >>> import torch
    >>> from tersor.torch import DKDLoss
    >>> loss = DKDLoss()(torch.eye(3), torch.eye(3), torch.tensor([0, 1, 2]))
    >>> bool(loss.abs() < 1e-5)
    True
    """

    name = "dkd"

    def __init__(
        self,
        temperature: float = 4.0,
        alpha: float = 1.0,
        beta: float = 8.0,
        *,
        ignore_index: int = -100,
    ) -> None:
        super().__init__()
        for what, value in (("temperature", temperature), ("alpha", alpha), ("beta", beta)):
            if not 0 <= value < float("inf") or (what == "temperature" and value == 0):
                bound = "> 0" if what == "temperature" else ">= 0"
                raise ValueError(f"DKDLoss: {what} must be finite and {bound}, got {value}")
        self.temperature, self.alpha, self.beta = float(temperature), float(alpha), float(beta)
        self.ignore_index = int(ignore_index)

    @property
    def numbers(self) -> tuple[float, ...]:
        return (self.temperature, self.alpha, self.beta, self.ignore_index)

    def forward(
        self, student: torch.Tensor, teacher: torch.Tensor, labels: torch.Tensor
    ) -> torch.Tensor:
        """Loss of logits (..., classes) with labels (...); a scalar."""
        if not isinstance(labels, torch.Tensor):
            raise TypeError(
                f"dkd_loss: labels must be a tensor of classes, got {type(labels).__name__}"
            )
        check_pair("dkd_loss", student, teacher, labels)
        return self.run(student, teacher, labels)

    def extra_repr(self) -> str:
        return f"temperature={self.temperature:g}, alpha={self.alpha:g}, beta={self.beta:g}"

    def check_values(
        self, student: torch.Tensor, teacher: torch.Tensor, labels: torch.Tensor | None
    ) -> None:
        if student.shape[-1] < 2 and student.numel():
            raise ValueError("dkd_loss: student must have at least 2 classes, got 1")
        check_logits("dkd_loss", student, teacher, labels, self.ignore_index)

    def in_torch(
        self, student: torch.Tensor, teacher: torch.Tensor, labels: torch.Tensor | None
    ) -> torch.Tensor:
        if labels is None:
            raise TypeError("dkd_loss: labels must be a tensor of classes, got None")
        y = labels.flatten().long()
        y = torch.where(y == self.ignore_index, 0, y).unsqueeze(1)
        z, t = (
            softened(x, labels, self.ignore_index, self.temperature) for x in (student, teacher)
        )

        def split(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            others = x.scatter(1, y, -torch.inf)
            log_label = x.gather(1, y) - x.logsumexp(1, keepdim=True)
            log_others = others.logsumexp(1, keepdim=True) - x.logsumexp(1, keepdim=True)
            masses = torch.cat([log_label, log_others], 1)
            return masses, torch.log_softmax(others, 1).scatter(1, y, 0.0)

        (p, log_p), (q, log_q) = split(z), split(t)
        rows = self.alpha * divergence(q, p) + self.beta * divergence(log_q, log_p)
        return counting_mean(self.temperature**2 * rows, labels, self.ignore_index)


__all__ = ["DKDLoss"]
