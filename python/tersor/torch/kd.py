"""Distillation from logits as modules. Kernels: ``cpp/tersor/distillation/kd.h``."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional

from .. import _core
from ..cuda import distillation as cuda_distillation
from . import cuda_loss
from .autograd import NATIVE_DTYPES, empty_like, native_loss
from .formula_checks import check_logits
from .loss import (
    adapted,
    counting_mean,
    divergence,
    keep_gradient,
    scale_gradient,
    softened,
    surroundings,
    types_of,
)

_kd_loss_at: Callable[..., float] = _core.distillation.kd_loss_at


class KDLoss(torch.nn.Module):
    """Combined distillation loss: ``alpha * CE + (1 - alpha) * T**2 * KL(teacher || student)``.

    Float32 and bfloat16 tensors on the CPU go to tersor's kernels without a copy, which compute the
    gradient together with the loss; float16 ones as float32. CUDA tensors go to its CUDA kernels
    where tersor was built with them; a NaN among the logits then makes the loss NaN instead of an
    error. Float64, other devices and transformations of ``torch.func`` take the same formula in
    PyTorch operations. The second derivative exists only there.

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
            Classes of the teacher's saved top logits, distinct in a row.

        Returns
        -------
        torch.Tensor, shape ()

        Raises
        ------
        ValueError
            If shapes do not match, a label is no class, a logit is NaN or +inf, or the tensors are
            on several devices.
        TypeError
            If logits are not floating-point numbers, or labels are not integers.
        """
        shape = student.shape
        # Written for few calls: this is most of the time of a small batch.
        rows_match = labels is None or labels.shape == shape[:-1]
        if teacher_indices is not None or teacher.shape != shape or not rows_match or not shape[1:]:
            _check_shapes(student, teacher, labels, teacher_indices)
            if self.standardize and teacher_indices is not None:
                raise ValueError(
                    "kd_loss: standardize must be False with teacher_indices, got True"
                )
        if (
            cuda_loss.takes(student, teacher, labels, teacher_indices)
            and surroundings(student, teacher, labels) == "eager"
        ):
            return self._on_cuda(student, teacher.detach(), labels, teacher_indices)
        native = (
            student.is_cpu
            and teacher.is_cpu
            and student.dtype in NATIVE_DTYPES
            and teacher.dtype in NATIVE_DTYPES
            and (labels is None or (labels.is_cpu and labels.dtype == torch.int64))
            and (teacher_indices is None or teacher_indices.is_cpu)
        )
        if not native or teacher_indices is not None:
            student, teacher, native = adapted(
                "kd_loss",
                student,
                teacher,
                NATIVE_DTYPES,
                labels=labels,
                teacher_indices=teacher_indices,
            )
            labels = None if labels is None else labels.long()
            teacher_indices = None if teacher_indices is None else teacher_indices.long()
        weights = self._buffers["class_weights"]
        if weights is not None:
            weights = self._adapted_weights(weights, student, native)
        caller = surroundings(student, teacher, labels)
        if not native or caller == "transform":
            if caller == "eager":
                check_logits(
                    "kd_loss",
                    student,
                    teacher,
                    labels,
                    self.ignore_index,
                    indices=teacher_indices,
                    weights=weights,
                    divide=self.alpha > 0,
                    finite=self.standardize,
                )
            return self._in_torch(student, teacher, labels, teacher_indices, weights)
        options = (
            self.temperature,
            self.alpha,
            self.label_smoothing,
            self.ignore_index,
            self.standardize,
        )
        if caller == "graph":
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

    def _adapted_weights(
        self, weights: torch.Tensor, student: torch.Tensor, native: bool
    ) -> torch.Tensor:
        """Weights as the arithmetic wants them: ``module.double()`` and the like changed them."""
        classes = student.shape[-1]
        if weights.shape != (classes,):
            raise ValueError(
                f"kd_loss: class_weights must have shape ({classes},), got {tuple(weights.shape)}"
            )
        dtype = torch.float32 if native else student.dtype
        if weights.dtype == dtype and weights.device == student.device:
            return weights.contiguous()
        return weights.to(student.device, dtype).contiguous()

    def _on_cuda(
        self,
        student: torch.Tensor,
        teacher: torch.Tensor,
        labels: torch.Tensor | None,
        teacher_indices: torch.Tensor | None,
    ) -> torch.Tensor:
        """Run the kernels of the device."""
        shape = student.shape
        t = teacher.reshape(-1, teacher.shape[-1])
        y = None if labels is None else labels.long().reshape(-1)
        indices = None if teacher_indices is None else teacher_indices.long().reshape(t.shape)
        weights = self._buffers["class_weights"]
        if weights is not None:
            weights = self._adapted_weights(weights, student, True)

        def run(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            loss, gradient = cuda_distillation.kd_loss(
                x.reshape(-1, shape[-1]),
                t.contiguous(),
                None if y is None else y.contiguous(),
                temperature=self.temperature,
                alpha=self.alpha,
                label_smoothing=self.label_smoothing,
                class_weights=weights,
                ignore_index=self.ignore_index,
                standardize=self.standardize,
                teacher_indices=None if indices is None else indices.contiguous(),
            )
            return loss, gradient.reshape(shape)

        return cuda_loss.cuda_loss(student.contiguous(), run)

    def _in_torch(
        self,
        student: torch.Tensor,
        teacher: torch.Tensor,
        labels: torch.Tensor | None,
        teacher_indices: torch.Tensor | None,
        weights: torch.Tensor | None,
    ) -> torch.Tensor:
        """Run the formula on devices and dtypes without a kernel."""
        temperature, ignored = self.temperature, self.ignore_index
        z = softened(student, labels, ignored, 1.0)
        t = softened(teacher.detach(), labels, ignored, 1.0)
        soft_z, soft_t = (_standardized(z), _standardized(t)) if self.standardize else (z, t)
        log_p = functional.log_softmax(soft_z / temperature, -1)
        log_q = functional.log_softmax(soft_t / temperature, -1)
        if teacher_indices is not None:
            log_p = log_p.gather(-1, teacher_indices.flatten(0, -2))
        alpha = 0.0 if labels is None else self.alpha
        loss = z.new_zeros(())
        if alpha < 1:
            kl = counting_mean(divergence(log_q, log_p), labels, ignored)
            loss = loss + (1 - alpha) * temperature**2 * kl
        if labels is not None and alpha > 0:
            loss = loss + alpha * self._cross_entropy(z, labels.flatten(), weights)
        return loss

    def _cross_entropy(
        self, z: torch.Tensor, y: torch.Tensor, weights: torch.Tensor | None
    ) -> torch.Tensor:
        """Weighted mean over the rows that count, where a weight of 0 hides an infinite term."""
        classes, smoothing = z.shape[1], self.label_smoothing
        counts = y != self.ignore_index
        y = torch.where(counts, y, 0)
        w = z.new_ones(classes) if weights is None else weights
        log_p = functional.log_softmax(z, -1)
        label_weights = torch.where(counts, w[y], 0)
        at_label = log_p.gather(1, y.unsqueeze(1)).squeeze(1)
        rows = (1 - smoothing) * label_weights * torch.where(label_weights > 0, at_label, 0)
        if smoothing > 0:
            spread = (w * torch.where(w > 0, log_p, 0)).sum(1)
            rows = rows + smoothing / classes * torch.where(counts, spread, 0)
        total = label_weights.sum()
        return -rows.sum() / torch.where(total > 0, total, 1)


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
    elif teacher.shape[-1] == 0 or teacher.shape[-1] > shape[-1]:
        raise ValueError(
            f"kd_loss: teacher_indices must be 1 to {shape[-1]} in a row, got {teacher.shape[-1]}"
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
    return torch.scalar_tensor(loss, dtype=torch.float32, device="cpu"), gradient


@_kd_loss_operator.register_fake
def _(student: torch.Tensor, *_: object) -> tuple[torch.Tensor, torch.Tensor]:
    loss = student.new_empty((), dtype=torch.float32)
    return loss, student.new_empty(student.shape)


_kd_loss_operator.register_autograd(scale_gradient, setup_context=keep_gradient)

__all__ = ["KDLoss", "KLLoss"]
