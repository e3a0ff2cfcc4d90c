"""Quantizers as Keras layers, on any backend."""

from __future__ import annotations

from typing import Any

import keras  # type: ignore[import-untyped]
import numpy as np
from keras import ops
from numpy.typing import NDArray

from .. import _core
from ..quantization import choose_qparams

LEAST_SCALE = 2.0**-126  # the smallest normal float, as in quantization/qparams.cpp


def wide(x: Any) -> Any:
    """Float64 where the backend has it, for multipliers and sums that must not round."""
    return x if keras.backend.backend() == "jax" else ops.cast(x, "float64")


def narrow(x: Any) -> Any:
    """Float32."""
    return ops.cast(x, "float32")


def straight_through(x: Any, rounded: Any, inside: Any = None) -> Any:
    """Return the values of `rounded` with the gradient of `x`, where `inside`."""
    smooth = x if inside is None else ops.where(inside, x, ops.stop_gradient(x))
    return ops.stop_gradient(rounded) + (smooth - ops.stop_gradient(smooth))


def fake_quantize(x: Any, scale: Any, zero_point: Any, low: float, high: float) -> Any:
    """Round to the values that codes have; straight-through gradient.

    Parameters
    ----------
    x : tensor of float32
    scale, zero_point : tensor of float32
        Broadcast against `x`.
    low, high : float
        Smallest and largest code.

    Returns
    -------
    tensor of float32
    """
    codes = ops.round(x / scale) + zero_point
    rounded = (ops.clip(codes, low, high) - zero_point) * scale
    inside = ops.logical_and(codes >= low, codes <= high)
    return straight_through(x, rounded, inside)


@keras.saving.register_keras_serializable(package="tersor")
class FakeQuantize(keras.layers.Layer):  # type: ignore[misc]
    """Asymmetric int8 quantizer of an edge, one scale for the tensor.

    Parameters
    ----------
    fixed : tuple of (scale, zero point), optional
        Given by the operator before the edge.
    momentum : float, default 0.05
        Share of a new batch in the range; 1 / batches seen while that is larger.
    **options
        Of ``keras.layers.Layer``.
    """

    low, high = -128, 127

    def __init__(
        self, fixed: tuple[float, int] | None = None, momentum: float = 0.05, **options: Any
    ) -> None:
        super().__init__(**options)
        if not 0 < momentum <= 1:
            raise ValueError(f"FakeQuantize: momentum must be in (0, 1], got {momentum}")
        self.fixed = None if fixed is None else (float(fixed[0]), int(fixed[1]))
        self.momentum = float(momentum)
        self.observing = True
        self.quantizing = True
        if self.fixed is None:
            self.lo, self.hi, self.batches = (
                self.add_weight(
                    shape=(), initializer="zeros", trainable=False, name=name, dtype="float32"
                )
                for name in ("lo", "hi", "batches")
            )
        self.built = True

    def build(self, input_shape: Any) -> None:
        """Nothing depends on the shape."""

    def call(self, x: Any, training: bool | None = None) -> Any:
        """Observe and round.

        Parameters
        ----------
        x : tensor
        training : bool, optional

        Returns
        -------
        tensor
        """
        if training and self.observing and self.fixed is None:
            self._observe(ops.stop_gradient(narrow(x)))
        if not self.quantizing:
            return x
        scale, zero = self.parameters_of_codes()
        if keras.backend.backend() == "torch" and _has_values(x):
            from . import torch_backend

            if torch_backend.can_round(x):
                return torch_backend.fake_quantize(x, float(scale), int(zero))
        return ops.cast(fake_quantize(narrow(x), scale, zero, self.low, self.high), x.dtype)

    def _observe(self, values: Any) -> None:
        lo, hi = ops.min(values), ops.max(values)
        # One overflow must not stay in the average.
        finite = ops.logical_and(ops.isfinite(lo), ops.isfinite(hi))
        share = ops.maximum(1 / (self.batches + 1), self.momentum)
        self.batches.assign_add(narrow(finite))
        for held, seen in ((self.lo, lo), (self.hi, hi)):
            held.assign(ops.where(finite, held + share * (seen - held), held.value))

    def parameters_of_codes(self) -> tuple[Any, Any]:
        """Return scale and zero point, both float32 of shape ()."""
        if self.fixed is not None:
            return ops.convert_to_tensor(self.fixed[0], "float32"), ops.convert_to_tensor(
                float(self.fixed[1]), "float32"
            )
        lo = wide(ops.minimum(ops.stop_gradient(self.lo.value), 0.0))
        hi = wide(ops.maximum(ops.stop_gradient(self.hi.value), 0.0))
        scale = narrow(ops.maximum((hi - lo) / (self.high - self.low), LEAST_SCALE))
        scale = ops.where(hi > lo, scale, ops.ones_like(scale))
        zero = ops.round(self.low - lo / wide(scale))
        return scale, narrow(ops.clip(zero, self.low, self.high))

    def qparams(self) -> Any:
        """Return the parameters as :class:`tersor.quantization.QParams`.

        Raises
        ------
        RuntimeError
            If no batch was seen yet.
        """
        if self.fixed is None and float(ops.convert_to_numpy(self.batches.value)) == 0:
            raise RuntimeError(
                "FakeQuantize: a range is needed: run batches through the model in training first"
            )
        scale, zero = (ops.convert_to_numpy(v) for v in self.parameters_of_codes())
        return _core.quantization.QParams(scale=[float(scale)], zero_point=[int(zero)])

    def compute_output_spec(self, x: Any, training: bool | None = None) -> Any:
        """Return the type of the output, which is the input's."""
        return keras.KerasTensor(x.shape, x.dtype)

    def get_config(self) -> dict[str, Any]:
        """Return the settings."""
        return {**super().get_config(), "fixed": self.fixed, "momentum": self.momentum}


class WeightRounding:
    """How a weight is rounded: symmetric and narrow, a scale per output channel or one.

    Parameters
    ----------
    bits : int
    channels : int or None
        Number of scales; None for one.
    axes : tuple of int
        Of the weight that a scale spans, for a scale per channel.
    learned : bool, default False
        The optimizer moves the scales (LSQ); else the largest weights decide.
    """

    def __init__(
        self, bits: int, channels: int | None, axes: tuple[int, ...], *, learned: bool = False
    ) -> None:
        self.bits = bits
        self.channels = channels
        self.axes = axes
        self.learned = learned
        self.high = float(2 ** (bits - 1) - 1)

    def scale_of(self, w: Any, least: Any) -> Any:
        """Return the scales in a shape that broadcasts against the weight."""
        axes = None if self.channels is None else self.axes
        largest = ops.max(ops.abs(ops.stop_gradient(w)), axis=axes, keepdims=True)
        scale = _without_zeros(wide(largest) / self.high)
        return ops.maximum(scale, least)

    def best_scale(self, w: NDArray[Any]) -> NDArray[np.float32]:
        """Return the scales of least squared error, in a shape that broadcasts against `w`."""
        w = np.asarray(w, np.float32)
        kept = tuple(axis for axis in range(w.ndim) if axis not in self.axes)
        q = choose_qparams(
            w, bits=self.bits, axis=None if self.channels is None else kept, method="mse"
        )
        shape = [n if self.channels and axis in kept else 1 for axis, n in enumerate(w.shape)]
        return np.asarray(q.scale, np.float32).reshape(shape)


def learned_rounding(w: Any, scale: Any, high: float) -> Any:
    """Round a weight, with gradients for the weight and its scales (LSQ).

    Parameters
    ----------
    w : tensor of float32
    scale : tensor of float32
        Broadcasts against `w`; > 0.
    high : float
        Largest code; the lowest is its negative.

    Returns
    -------
    tensor of float32

    References
    ----------
    Esser et al., "Learned Step Size Quantization", ICLR 2020.
    """
    steps = w / scale
    limited = ops.stop_gradient(ops.clip(steps, -high, high))
    inside = ops.abs(ops.stop_gradient(steps)) < high
    smooth = ops.where(inside, steps, limited)
    return (smooth + (ops.round(limited) - ops.stop_gradient(smooth))) * scale


def _without_zeros(scale: Any) -> Any:
    """float32, zeros replaced by the lower median of the others (1 where all are zero)."""
    flat = ops.reshape(scale, (-1,))
    positive = flat > 0
    largest = 1e38
    ordered = ops.sort(ops.where(positive, flat, ops.full_like(flat, largest)))
    count = ops.sum(ops.cast(positive, "int32"))
    median = ops.take(ordered, ops.maximum((count - 1) // 2, 0))
    median = ops.where(median >= largest, ops.ones_like(median), median)
    return narrow(ops.where(scale > 0, ops.maximum(scale, LEAST_SCALE), median))


def _has_values(x: Any) -> bool:
    """Whether a tensor of the torch backend is there, not just its shape."""
    return not isinstance(x, keras.KerasTensor) and x.device.type == "cpu"


def as_array(x: Any) -> Any:
    """Return a tensor or variable as a NumPy array."""
    return np.asarray(ops.convert_to_numpy(getattr(x, "value", x)))


__all__ = [
    "FakeQuantize",
    "WeightRounding",
    "as_array",
    "fake_quantize",
    "learned_rounding",
    "narrow",
    "straight_through",
    "wide",
]
