"""How losses of CUDA tensors reach the kernels: ``cpp/tersor/distillation/cuda.h``.

Nothing waits for the device: the loss is a tensor there, and so is the factor of its gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from ..cuda import distillation
from ..cuda.native import is_available

_DTYPES = (torch.float32, torch.bfloat16)
_keeps_graph: Callable[[], bool] = getattr(
    torch._C._autograd, "_get_current_graph_task_keep_graph", lambda: True
)

# A function of tersor.cuda.distillation, applied to contiguous tensors -> loss, gradient.
CudaLoss = Callable[[torch.Tensor], "tuple[torch.Tensor, torch.Tensor]"]


def takes(student: torch.Tensor, *others: torch.Tensor | None) -> bool:
    """Whether CUDA kernels take these logits and integers.

    Parameters
    ----------
    student : torch.Tensor
    *others : torch.Tensor, optional
        Teacher, labels and the like.

    Returns
    -------
    bool
    """
    if not student.is_cuda or student.dtype not in _DTYPES:
        return False
    for x in others:
        if x is None:
            continue
        if x.device != student.device or (x.is_floating_point() and x.dtype not in _DTYPES):
            return False
        if x.is_complex() or x.dtype == torch.bool:
            return False
    return is_available()


class _Loss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, student: torch.Tensor, run: CudaLoss) -> torch.Tensor:
        loss, ctx.gradient = run(student.detach())
        return loss

    @staticmethod
    def backward(ctx: Any, grad_output: torch.Tensor) -> Any:
        gradient: torch.Tensor | None = ctx.gradient
        if gradient is None:
            raise RuntimeError(
                "the loss was differentiated already: pass retain_graph=True the first time"
            )
        if torch.is_grad_enabled():
            raise RuntimeError("tersor's losses have no second derivative (create_graph=True)")
        if _keeps_graph():
            gradient = gradient.clone()
        else:
            ctx.gradient = None
        distillation.scale_gradient(gradient, grad_output.float().contiguous())
        return gradient, None


def cuda_loss(student: torch.Tensor, run: CudaLoss) -> torch.Tensor:
    """Run a kernel as a differentiable scalar.

    Parameters
    ----------
    student : torch.Tensor
        Contiguous.
    run : callable
        Called once, before this returns.

    Returns
    -------
    torch.Tensor of float32, shape ()
    """
    if student.requires_grad and torch.is_grad_enabled():
        return _Loss.apply(student, run)  # type: ignore[no-any-return,no-untyped-call]
    return run(student.detach())[0]


def named_loss(
    name: str,
    student: torch.Tensor,
    teacher: torch.Tensor,
    labels: torch.Tensor | None,
    numbers: Sequence[float],
) -> torch.Tensor:
    """Run the kernel of a loss module.

    Parameters
    ----------
    name : str
        Of the module's class attribute.
    student, teacher : torch.Tensor of float32 or bfloat16
    labels : torch.Tensor of integers, optional
    numbers : sequence of float
        The module's options, as its CPU kernel takes them.

    Returns
    -------
    torch.Tensor of float32, shape ()
    """
    rows = name in ("dkd", "jsd")
    shape = student.shape
    t = teacher.contiguous()
    y = None if labels is None else labels.long().contiguous()
    if rows:
        t = t.reshape(-1, shape[-1])
        y = None if y is None else y.reshape(-1)

    def run(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        z = x.reshape(-1, shape[-1]) if rows else x
        loss, gradient = _call(name, z, t, y, numbers)
        return loss, gradient.reshape(shape)

    return cuda_loss(student.contiguous(), run)


def _call(
    name: str,
    z: torch.Tensor,
    t: torch.Tensor,
    y: torch.Tensor | None,
    numbers: Sequence[float],
) -> Any:
    if name == "dkd":
        temperature, alpha, beta, ignored = numbers
        return distillation.dkd_loss(
            z, t, y, temperature=temperature, alpha=alpha, beta=beta, ignore_index=int(ignored)
        )
    if name == "jsd":
        beta, temperature, ignored = numbers
        return distillation.jsd_loss(
            z, t, y, temperature=temperature, beta=beta, ignore_index=int(ignored)
        )
    if name == "attention":
        return distillation.attention_loss(z, t, channels_last=bool(numbers[0]))
    if name == "relational":
        return distillation.relational_loss(z, t, distance=numbers[0], angle=numbers[1])
    return distillation.feature_loss(z, t)


__all__ = ["cuda_loss", "named_loss", "takes"]
