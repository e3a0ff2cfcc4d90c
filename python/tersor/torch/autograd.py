"""How a native loss enters autograd: data pointers in, the gradient computed with the loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from .. import _core

_scale = _core.distillation.scale_gradient_at
NATIVE_DTYPES = (torch.float32, torch.bfloat16)
# Larger gradients live in tersor's recycled memory: a fresh block of 64 MB costs more in page
# faults than the loss.
_RECYCLE_BYTES = 1 << 20

# Arguments, then the address of the gradient, or 0 for the loss alone -> loss.
NativeLoss = Callable[..., float]
_keeps_graph: Callable[[], bool] = getattr(
    torch._C._autograd, "_get_current_graph_task_keep_graph", lambda: True
)


def empty_like(x: torch.Tensor) -> torch.Tensor:
    """Uninitialised tensor of the shape and dtype of `x`, contiguous like it, on the CPU."""
    if x.numel() * x.element_size() < _RECYCLE_BYTES:
        return torch.empty_like(x)
    code = np.dtype(np.uint16 if x.dtype == torch.bfloat16 else np.float32)
    block = torch.from_numpy(_core.distillation.empty(code, tuple(x.shape)))
    return block.view(x.dtype) if x.dtype == torch.bfloat16 else block


class _NativeLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, student: torch.Tensor, native: NativeLoss, arguments: tuple[Any, ...]
    ) -> torch.Tensor:
        gradient = empty_like(student)
        loss = native(*arguments, gradient.data_ptr())
        ctx.gradient = gradient
        return torch.scalar_tensor(loss, dtype=torch.float32, device="cpu")

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
            ctx.gradient = None  # nobody else holds it: autograd may take it without a copy
        _scale(
            gradient.data_ptr(),
            gradient.dtype is torch.bfloat16,
            gradient.numel(),
            grad_output.data_ptr(),
        )
        return gradient, None, None


def native_loss(
    student: torch.Tensor, native: NativeLoss, arguments: tuple[Any, ...]
) -> torch.Tensor:
    """Run ``native(*arguments, gradient address or 0) -> loss`` as a differentiable scalar.

    Parameters
    ----------
    student : torch.Tensor
        Contiguous, on the CPU.
    native : callable
        Called once, before this returns. A gradient address of 0 asks for the loss alone.
    arguments : tuple
        The first arguments of `native`.

    Returns
    -------
    torch.Tensor of float32, shape ()
    """
    if student.requires_grad and torch.is_grad_enabled():
        return _NativeLoss.apply(student, native, arguments)  # type: ignore[no-any-return,no-untyped-call]
    return torch.scalar_tensor(native(*arguments, 0), dtype=torch.float32, device="cpu")


__all__ = ["NATIVE_DTYPES", "empty_like", "native_loss"]
