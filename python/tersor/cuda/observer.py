"""Observers of values in device memory. Native half: ``cpp/tersor/quantization/cuda.h``.

They are the observers of :mod:`tersor.quantization`, which find extremes and counts on the device;
both kinds merge with each other. `observe` waits for the device.
"""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

from ..quantization import observer as cpu
from .device_array import Operand, on_device, operand
from .native import native

_FLOATS = (np.float32, ml_dtypes.bfloat16)


def _values(name: str, x: Any) -> Operand:
    return operand(f"{name}: x", x, *_FLOATS)


class MinMaxObserver(cpu.MinMaxObserver):
    """Keep the smallest and largest value; exact, merges in any order.

    Parameters
    ----------
    axis : int, optional
        Non-negative axis of the channels, each with its own range.
    """

    def __init__(self, axis: int | None = None) -> None:
        super().__init__(axis)
        self._axis = -1 if axis is None else axis

    def observe(self, x: Any) -> MinMaxObserver:
        """Take in a device array; ValueError on NaN or infinity, nothing for an empty one."""
        a = _values("MinMaxObserver", x)
        if a.size == 0:
            return self
        axis = self._axis
        if axis >= len(a.shape):
            raise ValueError(f"MinMaxObserver: axis must be below {len(a.shape)}, got {axis}")
        layout = (1, 1, a.size, 0)
        if axis >= 0:
            outer, inner = a.shape[:axis], a.shape[axis + 1 :]
            layout = (int(np.prod(outer)), a.shape[axis], int(np.prod(inner)), 0)
        with on_device(a.device):
            native().observe_min_max(self._native, a.address, a.is_bfloat16, layout, a.stream)
        return self


class MovingAverageObserver(cpu.MovingAverageObserver):
    """Follow the range of batches: ``lo += momentum * (min(batch) - lo)``, `hi` likewise.

    Parameters
    ----------
    momentum : float, default 0.01
        In (0, 1]. The first batch sets both ends.
    """

    def observe(self, x: Any) -> MovingAverageObserver:
        """Take in a device array; ValueError on NaN or infinity, nothing for an empty one."""
        a = _values("MovingAverageObserver", x)
        if a.size:
            with on_device(a.device):
                native().observe_average(
                    self._native, a.address, a.is_bfloat16, (1, 1, a.size, 0), a.stream
                )
        return self


class HistogramObserver(cpu.HistogramObserver):
    """Count values in at most 2,048 bins and search the best range over them.

    Parameters
    ----------
    method, percentile
        As for :class:`tersor.quantization.HistogramObserver`.
    """

    def observe(self, x: Any) -> HistogramObserver:
        """Take in a device array; ValueError on NaN or infinity, nothing for an empty one."""
        a = _values("HistogramObserver", x)
        if a.size:
            with on_device(a.device):
                native().observe_histogram(self._native, a.address, a.is_bfloat16, a.size, a.stream)
        return self


__all__ = ["HistogramObserver", "MinMaxObserver", "MovingAverageObserver"]
