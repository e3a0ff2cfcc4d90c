"""How CUDA tensors reach the kernels of fake quantization: ``cpp/tersor/quantization/cuda.h``."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from ..cuda.native import is_available, native


def takes(x: torch.Tensor) -> bool:
    """Whether CUDA kernels take this tensor.

    Parameters
    ----------
    x : torch.Tensor

    Returns
    -------
    bool
    """
    return x.is_cuda and x.dtype == torch.float32 and is_available()


def _stream(x: torch.Tensor) -> int:
    return int(torch.cuda.current_stream(x.device).cuda_stream) if x.is_cuda else 0


@dataclass(frozen=True)
class CudaQuantizer:
    """What :class:`tersor.torch.native_quantizer.NativeQuantizer` is on the CPU.

    Attributes
    ----------
    layout : tuple of int
        outer, channels, inner, group of the native side.
    scale, zero_point : torch.Tensor of float32, shape (scales,)
        On the device of the tensors.
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
        with torch.cuda.device(x.device):
            native().fake_quantize(
                x.data_ptr(), y.data_ptr(), False, to, self.layout, self._quantizer(), _stream(x)
            )
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
        with torch.cuda.device(x.device):
            native().lsq_backward(
                gradient.data_ptr(), x.data_ptr(), d_x.data_ptr(), False, self.layout,
                self._quantizer(), 1 / math.sqrt(max(count * self.high, 1)), d_scale.data_ptr(),
                d_zero.data_ptr(), _stream(x),
            )  # fmt: skip
        return d_x, d_scale, d_zero

    def _quantizer(self) -> tuple[int, int, int, float, float, bool, bool, int, int]:
        scale, zero = self.scale.data_ptr(), self.zero_point.data_ptr()
        return scale, 0, zero, 1.0, 0.0, True, True, self.low, self.high


def pass_gradient(
    gradient: torch.Tensor, mask: torch.Tensor, order: torch.memory_format
) -> torch.Tensor:
    """Let the gradient pass where the bit of the mask is set.

    Parameters
    ----------
    gradient : torch.Tensor
    mask : torch.Tensor of uint8
        From :meth:`CudaQuantizer.round`.
    order : torch.memory_format
        Of the tensor that was rounded.

    Returns
    -------
    torch.Tensor of float32
    """
    gradient = gradient.float().contiguous(memory_format=order)
    out = torch.empty_like(gradient)
    with torch.cuda.device(gradient.device):
        native().fake_quantize_backward(
            gradient.data_ptr(), out.data_ptr(), False, mask.data_ptr(), gradient.numel(),
            _stream(gradient),
        )  # fmt: skip
    return out


__all__ = ["CudaQuantizer", "pass_gradient", "takes"]
