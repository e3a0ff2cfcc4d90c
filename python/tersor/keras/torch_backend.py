"""How native losses and fake quantization enter the autograd of Keras's torch backend.

On memory that NumPy shares with the tensors; kernels: ``cpp/tersor/distillation`` and
``cpp/tersor/quantization/fake_quantize.h``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from .. import _core

Native = Callable[[Any], tuple[float, Any]]


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, student: torch.Tensor, native: Native) -> torch.Tensor:
        loss, gradient = native(student.detach().contiguous().numpy())
        ctx.gradient = torch.from_numpy(np.ascontiguousarray(gradient))
        return torch.scalar_tensor(loss, dtype=student.dtype)

    @staticmethod
    def backward(ctx: Any, grad_output: torch.Tensor) -> Any:
        return ctx.gradient * grad_output, None


class _Rounded(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, q: Any) -> torch.Tensor:
        array = x.detach().contiguous().numpy()
        y, ctx.mask = _core.quantization.fake_quantize(array, q, None, None)
        return torch.from_numpy(y)

    @staticmethod
    def backward(ctx: Any, grad_output: torch.Tensor) -> Any:
        gradient = grad_output.contiguous().numpy()
        dx = _core.quantization.fake_quantize_backward(gradient, ctx.mask, None)
        return torch.from_numpy(dx), None


def can_round(x: torch.Tensor) -> bool:
    """Whether the kernels take this tensor: float32 on the CPU, not while a graph is captured."""
    return x.dtype == torch.float32 and x.is_cpu and not torch.compiler.is_compiling()


def fake_quantize(x: torch.Tensor, scale: float, zero_point: int) -> torch.Tensor:
    """Round an edge's values to those of int8 codes; straight-through gradient."""
    q = _core.quantization.QParams(scale=[scale], zero_point=[zero_point])
    return _Rounded.apply(x, q)  # type: ignore[no-any-return,no-untyped-call]


def can_run(student: Any, teacher: Any) -> bool:
    """Whether the kernels take these tensors: float32 on the CPU, not while a graph is captured."""
    return (
        student.dtype == teacher.dtype == torch.float32
        and student.device.type == "cpu"
        and teacher.device.type == "cpu"
        and not torch.compiler.is_compiling()
    )


def check_whole(operation: str, labels: Any) -> None:
    """Refuse labels with a fraction where values can be read without waiting for a device."""
    if labels.device.type != "cpu" or torch.compiler.is_compiling():
        return
    wrong = labels != labels.floor()
    if bool(wrong.any()):
        raise ValueError(
            f"{operation}: labels must be whole numbers, got {labels[wrong][0].item():g}"
        )


def as_numpy(x: Any) -> Any:
    """Return a tensor's memory as an array; None stays."""
    return None if x is None else x.detach().contiguous().numpy()


def run(student: torch.Tensor, native: Native) -> torch.Tensor:
    """Run ``native(array) -> (loss, gradient)`` as a differentiable scalar."""
    return _Fused.apply(student, native)  # type: ignore[no-any-return,no-untyped-call]


__all__ = ["as_numpy", "can_round", "can_run", "check_whole", "fake_quantize", "run"]
