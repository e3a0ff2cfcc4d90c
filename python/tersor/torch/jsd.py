"""Jensen-Shannon divergence as a module. Kernels: ``cpp/tersor/distillation/jsd.h``."""

from __future__ import annotations

import math
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
    beta, temperature, ignore_index = numbers
    loss: float = _core.distillation.jsd_loss_at(
        z,
        teacher.data_ptr(),
        *rows_of(student),
        types_of(student, teacher),
        0 if labels is None else labels.data_ptr(),
        temperature,
        beta,
        int(ignore_index),
        g,
    )
    return loss


class JSDLoss(Loss, kernel=_kernel):
    """Generalised Jensen-Shannon divergence between teacher and student.

    Parameters
    ----------
    beta : float, default 0.5
        In [0, 1]: 0 is ``KL(teacher || student)``, 1 is ``KL(student || teacher)``.
    temperature : float, default 1.0
        Finite and > 0; the loss is multiplied by its square.
    ignore_index : int, default -100
        Label of rows that do not count, where labels are given.

    See Also
    --------
    tersor.distillation.jsd_loss : the same on NumPy arrays, with formula and reference.

    Examples
    --------
    >>> import torch
    >>> from tersor.torch import JSDLoss
    >>> bool(JSDLoss()(torch.eye(3), torch.eye(3)).abs() < 1e-6)
    True
    """

    name = "jsd"

    def __init__(
        self, beta: float = 0.5, temperature: float = 1.0, *, ignore_index: int = -100
    ) -> None:
        super().__init__()
        if not 0 <= beta <= 1:
            raise ValueError(f"JSDLoss: beta must be in [0, 1], got {beta}")
        if not 0 < temperature < float("inf"):
            raise ValueError(f"JSDLoss: temperature must be finite and > 0, got {temperature}")
        self.beta, self.temperature = float(beta), float(temperature)
        self.ignore_index = int(ignore_index)

    @property
    def numbers(self) -> tuple[float, ...]:
        return (self.beta, self.temperature, self.ignore_index)

    def forward(
        self, student: torch.Tensor, teacher: torch.Tensor, labels: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Loss of logits (..., classes); labels (...) only leave out rows. A scalar."""
        check_pair("jsd_loss", student, teacher, labels)
        return self.run(student, teacher, labels)

    def extra_repr(self) -> str:
        return f"beta={self.beta:g}, temperature={self.temperature:g}"

    def check_values(
        self, student: torch.Tensor, teacher: torch.Tensor, labels: torch.Tensor | None
    ) -> None:
        check_logits("jsd_loss", student, teacher, labels, self.ignore_index)

    def in_torch(
        self, student: torch.Tensor, teacher: torch.Tensor, labels: torch.Tensor | None
    ) -> torch.Tensor:
        log_p, log_q = (
            softened(x, labels, self.ignore_index, self.temperature).log_softmax(1)
            for x in (student, teacher)
        )
        beta = self.beta
        if beta == 0:
            rows = divergence(log_q, log_p)
        elif beta == 1:
            rows = divergence(log_p, log_q)
        else:
            # Of the logarithms, not of probabilities that vanish; -inf in both has no gradient.
            log_m = torch.logaddexp(
                log_q.clamp(min=-1e30) + math.log(beta), log_p.clamp(min=-1e30) + math.log1p(-beta)
            )
            rows = beta * divergence(log_q, log_m) + (1 - beta) * divergence(log_p, log_m)
        return counting_mean(self.temperature**2 * rows, labels, self.ignore_index)


__all__ = ["JSDLoss"]
