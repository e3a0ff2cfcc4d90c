"""What quantizers of tensors in memory share, wherever the memory is."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class TensorQuantizer(ABC):
    """A quantizer of tensors of one shape and order in memory.

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
        self._round(x, y, 0 if mask is None else mask.data_ptr())
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
        factor = 1 / math.sqrt(max(count * self.high, 1))
        self._gradients(gradient, x, d_x, factor, d_scale, d_zero)
        return d_x, d_scale, d_zero

    @abstractmethod
    def _round(self, x: torch.Tensor, y: torch.Tensor, mask: int) -> None:
        """Fill y; `mask` is an address or 0."""

    @abstractmethod
    def _gradients(
        self,
        gradient: torch.Tensor,
        x: torch.Tensor,
        d_x: torch.Tensor,
        factor: float,
        d_scale: torch.Tensor,
        d_zero: torch.Tensor,
    ) -> None:
        """Fill the last three; those of scale and zero point are multiplied by `factor`."""


__all__ = ["TensorQuantizer"]
