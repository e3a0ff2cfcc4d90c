"""How CUDA tensors reach the kernels of fake quantization: ``cpp/tersor/quantization/cuda.h``."""

from __future__ import annotations

import torch

from ..cuda.device_array import on_device
from ..cuda.native import is_available, native
from .tensor_quantizer import TensorQuantizer


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


class CudaQuantizer(TensorQuantizer):
    """A quantizer of CUDA tensors, on the current stream of torch."""

    def _round(self, x: torch.Tensor, y: torch.Tensor, mask: int) -> None:
        with on_device(x.device.index or 0):
            native().fake_quantize(
                x.data_ptr(), y.data_ptr(), False, mask, self.layout, self._quantizer(), _stream(x)
            )

    def _gradients(
        self,
        gradient: torch.Tensor,
        x: torch.Tensor,
        d_x: torch.Tensor,
        factor: float,
        d_scale: torch.Tensor,
        d_zero: torch.Tensor,
    ) -> None:
        with on_device(x.device.index or 0):
            native().lsq_backward(
                gradient.data_ptr(), x.data_ptr(), d_x.data_ptr(), False, self.layout,
                self._quantizer(), factor, d_scale.data_ptr(), d_zero.data_ptr(), _stream(x),
            )  # fmt: skip

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
        From :meth:`TensorQuantizer.round`.
    order : torch.memory_format
        Of the tensor that was rounded.

    Returns
    -------
    torch.Tensor of float32
    """
    gradient = gradient.float().contiguous(memory_format=order)
    out = torch.empty_like(gradient)
    with on_device(gradient.device.index or 0):
        native().fake_quantize_backward(
            gradient.data_ptr(), out.data_ptr(), False, mask.data_ptr(), gradient.numel(),
            _stream(gradient),
        )  # fmt: skip
    return out


__all__ = ["CudaQuantizer", "pass_gradient", "takes"]
