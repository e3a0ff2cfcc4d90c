"""How tensors reach the kernels of fake quantization: addresses of their memory.

Kernels: ``cpp/tersor/quantization/fake_quantize.h`` and ``lsq.h``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from .. import _core
from . import cuda_quantizer
from .cuda_quantizer import CudaQuantizer

_native = _core.quantization
_ROUNDED_ZERO_POINT = 3  # float zero points that count as the codes they round to
_MOST_CODE = 1 << 20
_FORMATS = {4: torch.channels_last, 5: torch.channels_last_3d}


@dataclass(frozen=True)
class NativeQuantizer:
    """A quantizer of tensors of one shape and order in memory.

    Attributes
    ----------
    layout : tuple of int
        outer, channels, inner, group of the native side.
    scale, zero_point : torch.Tensor of float32, shape (scales,)
    low, high : int
    format : torch.memory_format
        Of the tensors.
    """

    layout: tuple[int, int, int, int]
    scale: torch.Tensor
    zero_point: torch.Tensor
    low: int
    high: int
    format: torch.memory_format

    def round(self, x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """Round to the values of codes.

        Parameters
        ----------
        x : torch.Tensor of float32
        mask : torch.Tensor of uint8, shape (ceil(size / 8),), optional
            Gets one bit per element in memory: whether it was not clamped.

        Returns
        -------
        torch.Tensor of float32
        """
        y = torch.empty_like(x)
        to = 0 if mask is None else mask.data_ptr()
        _native.fake_quantize_at(x.data_ptr(), y.data_ptr(), to, *self._arguments())
        return y

    def gradients(
        self, gradient: torch.Tensor, x: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Gradients by input, scale and zero point (LSQ+).

        Parameters
        ----------
        gradient : torch.Tensor of float32
            By the result.
        x : torch.Tensor of float32

        Returns
        -------
        tuple of torch.Tensor
            The last two of shape (scales,).
        """
        gradient = gradient.contiguous(memory_format=self.format)
        d_x = torch.empty_like(gradient)
        d_scale, d_zero = torch.empty_like(self.scale), torch.empty_like(self.scale)
        count = x.numel() / max(self.scale.numel(), 1)
        _native.lsq_backward_at(
            gradient.data_ptr(),
            x.data_ptr(),
            d_x.data_ptr(),
            *self._arguments(),
            1 / math.sqrt(max(count * self.high, 1)),
            d_scale.data_ptr(),
            d_zero.data_ptr(),
        )
        return d_x, d_scale, d_zero

    def _arguments(self) -> tuple[tuple[int, int, int, int], int, int, int, int, int]:
        scale, zero_point = self.scale.data_ptr(), self.zero_point.data_ptr()
        return self.layout, scale, zero_point, _ROUNDED_ZERO_POINT, self.low, self.high


def native_quantizer(
    x: torch.Tensor, scale: torch.Tensor, zero_point: torch.Tensor, low: int, high: int
) -> NativeQuantizer | CudaQuantizer | None:
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
    NativeQuantizer, CudaQuantizer or None
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
        From :meth:`NativeQuantizer.round`.
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
