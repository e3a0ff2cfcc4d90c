"""Distillation from logits as modules. Kernels: ``cpp/tersor/distillation/kd.h``."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional

from .. import _core
from .autograd import NATIVE_DTYPES, empty_like, native_loss
from .loss import counting_mean, keep_gradient, scale_gradient, types_of

_kd_loss_at: Callable[..., float] = _core.distillation.kd_loss_at


class KDLoss(torch.nn.Module):
    """Combined distillation loss: ``alpha * CE + (1 - alpha) * T**2 * KL(teacher || student)``.

    Float32 and bfloat16 tensors on the CPU go to tersor's kernels without a copy, which compute the
    gradient together with the loss; other tensors take the same formula in PyTorch operations. The
    second derivative exists only there.

    Parameters
    ----------
    temperature : float, default 4.0
        Softens both distributions of the KL term. Finite and > 0.
    alpha : float, default 0.5
        Share of the cross-entropy, in [0, 1].
    label_smoothing : float, default 0.0
        Share of the label's probability spread over all classes, in [0, 1).
    class_weights : torch.Tensor of float32, shape (classes,), optional
        Weights of the cross-entropy, which becomes a weighted mean as in PyTorch.
    ignore_index : int, default -100
        Label of rows that leave both terms and the divisor.
    standardize : bool, default False
        Let the KL term see ``(x - mean) / std`` of each row of logits.

    See Also
    --------
    tersor.distillation.kd_loss : the same on NumPy arrays, with formula and references.

    Examples
    --------
    >>> import torch
    >>> from tersor.torch import KDLoss
    >>> student = torch.zeros(2, 3, requires_grad=True)
    >>> loss = KDLoss(temperature=4.0)(student, torch.eye(3)[:2], torch.tensor([0, 1]))
    >>> loss.backward()
    >>> student.grad.shape
    torch.Size([2, 3])
    """

    class_weights: torch.Tensor | None

    def __init__(
        self,
        temperature: float = 4.0,
        alpha: float = 0.5,
        label_smoothing: float = 0.0,
        *,
        class_weights: torch.Tensor | None = None,
        ignore_index: int = -100,
        standardize: bool = False,
    ) -> None:
        super().__init__()
        if not 0 < temperature < float("inf"):
            raise ValueError(f"KDLoss: temperature must be finite and > 0, got {temperature}")
        if not 0 <= alpha <= 1:
            raise ValueError(f"KDLoss: alpha must be in [0, 1], got {alpha}")
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"KDLoss: label_smoothing must be in [0, 1), got {label_smoothing}")
        self.temperature = float(temperature)
        self.alpha = float(alpha)
        self.label_smoothing = float(label_smoothing)
        self.ignore_index = int(ignore_index)
        self.standardize = bool(standardize)
        weights = None if class_weights is None else class_weights.detach().float().contiguous()
        self.register_buffer("class_weights", weights)

    def forward(
        self,
        student: torch.Tensor,
        teacher: torch.Tensor,
        labels: torch.Tensor | None = None,
        teacher_indices: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Loss of a batch.

        Parameters
        ----------
        student : torch.Tensor, shape (..., classes)
            Logits.
        teacher : torch.Tensor, shape (..., classes) or (..., k)
            Logits of the teacher; no gradient flows into them.
        labels : torch.Tensor of integers, shape (...), optional
            Classes or `ignore_index`; without them the loss is ``T**2 * KL``, whatever alpha.
        teacher_indices : torch.Tensor of integers, shape (..., k), optional
            Classes of the teacher's saved top logits.

        Returns
        -------
        torch.Tensor, shape ()

        Raises
        ------
        ValueError
            If shapes do not match, a label is no class or a logit is NaN.
        """
        shape = student.shape
        # Written for few calls: this is most of the time of a small batch.
        rows_match = labels is None or labels.shape == shape[:-1]
        if teacher_indices is not None or teacher.shape != shape or not rows_match or not shape[1:]:
            _check_shapes(student, teacher, labels, teacher_indices)
        native = (
            student.is_cpu
            and teacher.is_cpu
            and student.dtype in NATIVE_DTYPES
            and teacher.dtype in NATIVE_DTYPES
        )
        if not native:
            return self._in_torch(student, teacher, labels, teacher_indices)
        if labels is not None and labels.dtype != torch.int64:
            labels = labels.long()
        if teacher_indices is not None and teacher_indices.dtype != torch.int64:
            teacher_indices = teacher_indices.long()
        weights = self._buffers["class_weights"]
        options = (
            self.temperature,
            self.alpha,
            self.label_smoothing,
            self.ignore_index,
            self.standardize,
        )
        if torch.compiler.is_compiling():
            loss: torch.Tensor = _kd_loss_operator(
                student, teacher.detach(), labels, teacher_indices, weights, *options
            )[0]
            return loss
        x, t = student.contiguous(), teacher.contiguous()
        y = None if labels is None else labels.contiguous()
        indices = None if teacher_indices is None else teacher_indices.contiguous()
        # The tensors stay alive until the call returns.
        return native_loss(x, _kd_loss_at, (*_arguments(x, t, y, indices, weights), *options))

    def extra_repr(self) -> str:
        return (
            f"temperature={self.temperature:g}, alpha={self.alpha:g}, "
            f"label_smoothing={self.label_smoothing:g}, ignore_index={self.ignore_index}, "
            f"standardize={self.standardize}"
        )

    def _in_torch(
        self,
        student: torch.Tensor,
        teacher: torch.Tensor,
        labels: torch.Tensor | None,
        teacher_indices: torch.Tensor | None,
    ) -> torch.Tensor:
        """Run the formula on devices and dtypes without a kernel."""
        z, t = student.flatten(0, -2), teacher.detach().flatten(0, -2)
        if z.dtype in (torch.float16, torch.bfloat16):
            z = z.float()
        t = t.to(z.dtype)
        temperature = self.temperature
        soft_z, soft_t = (_standardized(z), _standardized(t)) if self.standardize else (z, t)
        log_p = functional.log_softmax(soft_z / temperature, -1)
        log_q = functional.log_softmax(soft_t / temperature, -1)
        if teacher_indices is not None:
            log_p = log_p.gather(-1, teacher_indices.flatten(0, -2).long())
        kl = (log_q.exp() * (log_q - log_p)).sum(-1)
        if labels is None:
            return temperature**2 * kl.mean()
        y = labels.flatten().long()
        counts = y != self.ignore_index
        kl = counting_mean(kl, y, self.ignore_index)
        weights = self.class_weights
        hard = functional.cross_entropy(
            z,
            y,
            None if weights is None else weights.to(z),
            ignore_index=self.ignore_index,
            label_smoothing=self.label_smoothing,
        )
        hard = torch.where(counts.any(), hard, 0)
        return self.alpha * hard + (1 - self.alpha) * temperature**2 * kl


class KLLoss(KDLoss):
    """Kullback-Leibler loss alone: ``T**2 * KL(teacher || student)``.

    Parameters
    ----------
    temperature : float, default 4.0
        Softens both distributions. Finite and > 0.
    ignore_index : int, default -100
        Label of rows that do not count, where labels are given.
    standardize : bool, default False
        Compare ``(x - mean) / std`` of each row of logits.

    Examples
    --------
    >>> import torch
    >>> from tersor.torch import KLLoss
    >>> KLLoss()(torch.ones(2, 3), torch.ones(2, 3))
    tensor(0.)
    """

    def __init__(
        self, temperature: float = 4.0, *, ignore_index: int = -100, standardize: bool = False
    ) -> None:
        super().__init__(temperature, 0.0, ignore_index=ignore_index, standardize=standardize)


def _standardized(x: torch.Tensor) -> torch.Tensor:
    return (x - x.mean(-1, keepdim=True)) / (x.std(-1, correction=0, keepdim=True) + 1e-7)


def _check_shapes(
    student: torch.Tensor,
    teacher: torch.Tensor,
    labels: torch.Tensor | None,
    teacher_indices: torch.Tensor | None,
) -> None:
    shape = student.shape
    if student.dim() < 2:
        raise ValueError(
            f"kd_loss: student must have at least 2 dimensions, got shape {tuple(shape)}"
        )
    if teacher_indices is None:
        if teacher.shape != shape:
            raise ValueError(
                f"kd_loss: teacher must have shape {tuple(shape)}, got {tuple(teacher.shape)}"
            )
    elif teacher.shape[:-1] != shape[:-1] or teacher.shape != teacher_indices.shape:
        raise ValueError(
            f"kd_loss: teacher and teacher_indices must have shape {(*shape[:-1], 'k')}, "
            f"got {tuple(teacher.shape)} and {tuple(teacher_indices.shape)}"
        )
    if labels is not None and labels.shape != shape[:-1]:
        raise ValueError(
            f"kd_loss: labels must have shape {tuple(shape[:-1])}, got {tuple(labels.shape)}"
        )


def _arguments(
    student: torch.Tensor,
    teacher: torch.Tensor,
    labels: torch.Tensor | None,
    indices: torch.Tensor | None,
    weights: torch.Tensor | None,
) -> tuple[int, ...]:
    """First arguments of kd_loss_at: addresses and sizes of contiguous tensors."""
    classes = student.shape[-1]
    if weights is not None and weights.numel() != classes:
        raise ValueError(
            f"kd_loss: class_weights must have shape ({classes},), got {tuple(weights.shape)}"
        )
    return (
        student.data_ptr(),
        teacher.data_ptr(),
        student.numel() // max(classes, 1),
        classes,
        types_of(student, teacher),
        0 if indices is None else indices.data_ptr(),
        classes if indices is None else indices.shape[-1],
        0 if labels is None else labels.data_ptr(),
        0 if weights is None else weights.data_ptr(),
    )


@torch.library.custom_op("tersor::kd_loss", mutates_args=(), device_types="cpu")
def _kd_loss_operator(
    student: torch.Tensor,
    teacher: torch.Tensor,
    labels: torch.Tensor | None,
    indices: torch.Tensor | None,
    weights: torch.Tensor | None,
    temperature: float,
    alpha: float,
    label_smoothing: float,
    ignore_index: int,
    standardize: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Loss and gradient, for graphs of torch.compile and torch.export."""
    student, teacher = student.contiguous(), teacher.contiguous()
    gradient = empty_like(student)
    labels = None if labels is None else labels.contiguous()
    indices = None if indices is None else indices.contiguous()
    loss = _kd_loss_at(
        *_arguments(student, teacher, labels, indices, weights),
        temperature,
        alpha,
        label_smoothing,
        ignore_index,
        standardize,
        gradient.data_ptr(),
    )
    return torch.scalar_tensor(loss, dtype=torch.float32), gradient


@_kd_loss_operator.register_fake
def _(student: torch.Tensor, *_: object) -> tuple[torch.Tensor, torch.Tensor]:
    loss = student.new_empty((), dtype=torch.float32)
    return loss, student.new_empty(student.shape)


_kd_loss_operator.register_autograd(scale_gradient, setup_context=keep_gradient)

__all__ = ["KDLoss", "KLLoss"]
