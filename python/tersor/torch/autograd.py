"""How a native loss enters autograd: data pointers in, the gradient computed with the loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

NATIVE_DTYPES = (torch.float32, torch.bfloat16)
# Larger gradients live in tersor's recycled memory: a fresh block of 64 MB costs more in page
# faults than the loss.
_RECYCLE_BYTES = 1 << 20

NativeLoss = Callable[[int, int], float]
_keeps_graph: Callable[[], bool] = getattr(
    torch._C._autograd, "_get_current_graph_task_keep_graph", lambda: True
)


def empty_like(x: torch.Tensor) -> torch.Tensor:
    """Uninitialised contiguous tensor of the shape and dtype of `x`, on the CPU."""
    if x.numel() * x.element_size() < _RECYCLE_BYTES:
        return torch.empty(x.shape, dtype=x.dtype)
    from .. import _core

    code = np.dtype(np.uint16 if x.dtype == torch.bfloat16 else np.float32)
    block = torch.from_numpy(_core.distillation.empty(code, tuple(x.shape)))
    return block.view(x.dtype) if x.dtype == torch.bfloat16 else block


class _NativeLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, student: torch.Tensor, native: NativeLoss) -> torch.Tensor:
        gradient = empty_like(student)
        loss = native(student.data_ptr(), gradient.data_ptr())
        ctx.gradient = gradient
        return torch.scalar_tensor(loss, dtype=torch.float32)

    @staticmethod
    def backward(ctx: Any, grad_output: torch.Tensor) -> Any:
        gradient: torch.Tensor | None = ctx.gradient
        if gradient is None:
            raise RuntimeError(
                "the loss was differentiated already: pass retain_graph=True the first time"
            )
        if torch.is_grad_enabled():
            raise RuntimeError("tersor's losses have no second derivative (create_graph=True)")
        scale = grad_output.item()
        if _keeps_graph():
            return (gradient.clone() if scale == 1 else gradient * scale), None
        ctx.gradient = None  # nobody else holds it: autograd may take it without a copy
        return (gradient if scale == 1 else gradient.mul_(scale)), None


def native_loss(student: torch.Tensor, native: NativeLoss) -> torch.Tensor:
    """Run ``native(student pointer, gradient pointer or 0) -> loss`` as a differentiable scalar.

    Parameters
    ----------
    student : torch.Tensor
        Contiguous, on the CPU.
    native : callable
        Called once, before this returns. A gradient pointer of 0 asks for the loss alone.

    Returns
    -------
    torch.Tensor of float32, shape ()
    """
    if student.requires_grad and torch.is_grad_enabled():
        return _NativeLoss.apply(student, native)  # type: ignore[no-any-return,no-untyped-call]
    return torch.scalar_tensor(native(student.data_ptr(), 0), dtype=torch.float32)


__all__ = ["NATIVE_DTYPES", "empty_like", "native_loss"]
