"""How tensors reach the kernels of fake quantization: addresses of their memory.

Kernels: ``cpp/tersor/quantization/fake_quantize.h`` and ``lsq.h``.
"""

from __future__ import annotations

import math

import torch

from .. import _core
from . import cuda_quantizer
from .cuda_quantizer import CudaQuantizer
from .tensor_quantizer import TensorQuantizer

_native = _core.quantization
_ROUNDED_ZERO_POINT = 3  # float zero points that count as the codes they round to
_MOST_CODE = 1 << 20
_FORMATS = {4: torch.channels_last, 5: torch.channels_last_3d}


class NativeQuantizer(TensorQuantizer):
    """A quantizer of tensors of the CPU."""

    def _round(self, x: torch.Tensor, y: torch.Tensor, mask: int) -> None:
        _native.fake_quantize_at(x.data_ptr(), y.data_ptr(), mask, *self._arguments())

    def _gradients(
        self,
        gradient: torch.Tensor,
        x: torch.Tensor,
        d_x: torch.Tensor,
        factor: float,
        d_scale: torch.Tensor,
        d_zero: torch.Tensor,
    ) -> None:
        _native.lsq_backward_at(
            gradient.data_ptr(), x.data_ptr(), d_x.data_ptr(), *self._arguments(), factor,
            d_scale.data_ptr(), d_zero.data_ptr(),
        )  # fmt: skip

    def _arguments(self) -> tuple[tuple[int, int, int, int], int, int, int, int, int]:
        scale, zero_point = self.scale.data_ptr(), self.zero_point.data_ptr()
        return self.layout, scale, zero_point, _ROUNDED_ZERO_POINT, self.low, self.high


def native_quantizer(
    x: torch.Tensor, scale: torch.Tensor, zero_point: torch.Tensor, low: int, high: int
) -> TensorQuantizer | None:
    """Return the quantizer of a tensor, or None where the kernels cannot take it.

    Parameters
    ----------
    x : torch.Tensor
        The kernels take float32 on the CPU and on CUDA devices, without gaps in memory.
    scale, zero_point : torch.Tensor
        Broadcast against `x`, along one axis at most.
    low, high : int

    Returns
    -------
    TensorQuantizer or None
    """
    on_cuda = cuda_quantizer.takes(x)
    if not (x.is_cpu or on_cuda) or x.dtype != torch.float32 or scale.dtype != torch.float32:
        return None
    order = torch.contiguous_format
    if not x.is_contiguous():
        order = _FORMATS.get(x.dim(), order)
        if order is torch.contiguous_format or not x.is_contiguous(memory_format=order):
            return None
    count = scale.numel()
    layout = _layout(x, scale, order)
    if layout is None or high >= _MOST_CODE or zero_point.numel() not in (1, count):
        return None
    zeros = zero_point.detach().float().reshape(-1).expand(count).contiguous()
    scales = scale.detach().reshape(-1).contiguous()
    if on_cuda:
        scales, zeros = scales.to(x.device), zeros.to(x.device)
        return CudaQuantizer(layout, scales, zeros, low, high, order)
    return NativeQuantizer(layout, scales, zeros, low, high, order)


def _layout(
    x: torch.Tensor, scale: torch.Tensor, order: torch.memory_format
) -> tuple[int, int, int, int] | None:
    count = scale.numel()
    if count == 1:
        return 1, 1, x.numel(), 0
    axes = [d for d, size in enumerate(scale.shape) if size != 1]
    if len(axes) != 1 or scale.dim() != x.dim() or x.shape[axes[0]] != count:
        return None
    axis = axes[0]
    if order is not torch.contiguous_format and axis:  # the first axis is the outermost in each
        return None
    return math.prod(x.shape[:axis]), count, math.prod(x.shape[axis + 1 :]), 0


def pass_gradient(
    gradient: torch.Tensor, mask: torch.Tensor, order: torch.memory_format
) -> torch.Tensor:
    """Let the gradient pass where the bit of the mask is set.

    Parameters
    ----------
    gradient : torch.Tensor of float32
    mask : torch.Tensor of uint8
        From :meth:`TensorQuantizer.round`.
    order : torch.memory_format
        Of the tensor that was rounded.

    Returns
    -------
    torch.Tensor of float32
    """
    if cuda_quantizer.takes(gradient.float()):
        return cuda_quantizer.pass_gradient(gradient, mask, order)
    gradient = gradient.float().contiguous(memory_format=order)
    out = torch.empty_like(gradient)
    _native.fake_quantize_backward_at(
        gradient.data_ptr(), mask.data_ptr(), out.data_ptr(), gradient.numel()
    )
    return out


__all__ = ["NativeQuantizer", "native_quantizer", "pass_gradient"]
