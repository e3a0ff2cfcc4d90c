"""Convolutions and dense layers of an int8 network in Keras, as they train and as they will run."""

from __future__ import annotations

from typing import Any

import keras  # type: ignore[import-untyped]
from keras import ops

from ..pruning.network_masks import is_pruned
from .quantizers import (
    FakeQuantize,
    WeightRounding,
    as_array,
    learned_rounding,
    narrow,
    straight_through,
    wide,
)

_LEAST_FACTOR = 1e-12
_EXACT_IN_FLOAT = 1 << 24  # integers below are float32 values, and so are their sums
_TIES = 0.5


class Ends:
    """Quantizers before and after a layer, which the model owns.

    Parameters
    ----------
    source, target : FakeQuantize
    """

    def __init__(self, source: FakeQuantize, target: FakeQuantize) -> None:
        self.source = source
        self.target = target


class QuantizedLayer(keras.layers.Layer):  # type: ignore[misc]
    """Conv2D, DepthwiseConv2D or Dense with rounded weights, and the BatchNormalization after it.

    In inference it computes the session's integers for the edge that `ends.target` rounds.

    Parameters
    ----------
    inner : keras.layers.Layer
        Without an activation.
    rounding : WeightRounding
    ends : Ends
    norm : keras.layers.BatchNormalization, optional
    activation : {"none", "relu", "relu6"}
        That follows the layer.
    **options
        Of ``keras.layers.Layer``.
    """

    def __init__(
        self,
        inner: Any,
        rounding: WeightRounding,
        ends: Ends,
        norm: Any = None,
        activation: str = "none",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.inner = inner
        self.norm = norm
        self.rounding = rounding
        self.ends = ends
        self.activation = activation
        self.norm_frozen = False
        self.kept: Any = None  # of pruned weights, which stay 0

    def build(self, input_shape: Any) -> None:
        """Build both layers."""
        if not self.inner.built:
            self.inner.build(input_shape)
        if self.norm is not None and not self.norm.built:
            self.norm.build(self.inner.compute_output_shape(input_shape))
        if self.rounding.learned:
            shape = self.rounding.best_scale(as_array(self._kernel())).shape
            # The scale is start * exp(log_scale): a step of any optimizer is a share of it.
            self.log_scale = self._state("log_scale", shape, trainable=True)
            self.start = self._state("start", shape)
            self.is_started = self._state("is_started", ())
        self.built = True

    def _state(self, name: str, shape: tuple[int, ...], *, trainable: bool = False) -> Any:
        return self.add_weight(
            shape=shape, initializer="zeros", trainable=trainable, name=name, dtype="float32"
        )

    def hold_zeros(self) -> None:
        """Keep the zeros of a kernel that was pruned, from now on."""
        kernel = as_array(self.inner.kernel)
        self.kept = kernel != 0 if is_pruned(kernel) else None

    def start_scales(self, *, for_good: bool = True) -> None:
        """Let learned scales begin where the squared error of the weight is least.

        Parameters
        ----------
        for_good : bool, default True
            They do not begin anew after this.
        """
        if not self.rounding.learned or float(as_array(self.is_started)):
            return
        per_channel = self.rounding.channels is not None
        kernel = self._kernel() if per_channel else self.folded()[0]
        self.start.assign(self.rounding.best_scale(as_array(kernel)))
        self.log_scale.assign(ops.zeros_like(self.log_scale.value))
        self.is_started.assign(float(for_good))

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the layer's output shape."""
        return self.inner.compute_output_shape(input_shape)

    def compute_output_spec(self, x: Any, training: bool | None = None) -> Any:
        """Return the type of the output."""
        return keras.KerasTensor(self.inner.compute_output_shape(x.shape), x.dtype)

    def call(self, x: Any, training: bool | None = None) -> Any:
        """Run the layer.

        Parameters
        ----------
        x : tensor
        training : bool, optional

        Returns
        -------
        tensor
            Float; rounded in inference.
        """
        kernel, bias = self._kernel(), self._bias()
        if not self.ends.target.quantizing:
            y = self._linear(x, kernel, bias)
            if self.rounding.learned:  # every variable has a gradient
                y = y + ops.cast(0 * ops.sum(self.log_scale.value), y.dtype)
            return y if self.norm is None else self.norm(y, training=training)
        if training and self.norm is not None and not self.norm_frozen:
            return self._train_norm(x, kernel, bias)
        kernel, bias = self.folded(kernel, bias)
        if training:
            scale, steps = self._steps(kernel, bias)
            kernel = self._rounded(kernel, scale)
            if bias is not None:
                bias = straight_through(bias, ops.round(bias / steps) * steps)
            return self._linear(x, kernel, bias)
        return self._infer(x, kernel, bias)

    def folded(self, kernel: Any = None, bias: Any = None) -> tuple[Any, Any]:
        """Return kernel and bias with the normalisation of the moving statistics inside."""
        kernel = self._kernel() if kernel is None else kernel
        bias = self._bias() if bias is None else bias
        if self.norm is None:
            return kernel, bias
        factor = self._factor()
        shift = -self.norm.moving_mean.value * factor
        if self.norm.center:
            shift = shift + self.norm.beta.value
        return kernel * self._along(factor), shift if bias is None else bias * factor + shift

    def integers(self, kernel: Any, bias: Any) -> tuple[Any, Any, Any]:
        """Return codes of the kernel, scales and codes of the bias as arrays."""
        scale, _ = self._steps(kernel, bias)
        codes = as_array(self._codes(kernel, scale))
        if bias is None:
            return codes, as_array(scale).reshape(-1), None
        return codes, as_array(scale).reshape(-1), as_array(self._bias_codes(bias, scale))

    def _train_norm(self, x: Any, kernel: Any, bias: Any) -> Any:
        # Rounded as it will be deployed, then divided by the folded factor again: the result meets
        # the statistics of the batch.
        factor = ops.stop_gradient(self._factor())
        small = ops.abs(factor) < _LEAST_FACTOR
        factor = self._along(ops.where(small, ops.full_like(factor, _LEAST_FACTOR), factor))
        scale, _ = self._steps(kernel * factor, self.folded(kernel, bias)[1])
        y = self._linear(x, self._rounded(kernel * factor, scale) / factor, bias)
        return self.norm(y, training=True)

    def _infer(self, x: Any, kernel: Any, bias: Any) -> Any:
        scale, _ = self._steps(kernel, bias)
        codes = self._codes(kernel, scale)
        scale_in = self.ends.source.parameters_of_codes()[0]
        scale_out, zero_out = self.ends.target.parameters_of_codes()
        sums = wide(self._accumulate(ops.round(narrow(x) / scale_in), codes))
        if bias is not None:
            sums = sums + self._bias_codes(bias, scale)
        multiplier = self._flat(wide(scale_in) * wide(scale) / wide(scale_out))
        v = narrow(sums) * narrow(multiplier)
        v = add_half_unit(v, ops.floor(ops.log2(multiplier)))
        low, high = self.ends.target.low - zero_out, self.ends.target.high - zero_out
        if self.activation != "none":
            low = ops.maximum(low, 0.0)
        if self.activation == "relu6":
            high = ops.minimum(high, ops.floor(6 / scale_out + _TIES))
        return ops.round(ops.clip(v, low, high)) * scale_out

    def _accumulate(self, x: Any, codes: Any) -> Any:
        """Sum products of integers, exactly."""
        taps = 1
        for size in codes.shape[:-1]:
            taps *= int(size)
        if taps * 255 * self.rounding.high < _EXACT_IN_FLOAT:
            return self._linear(x, codes, None)
        high = ops.floor(x / 16)
        both = [wide(self._linear(part, codes, None)) for part in (high, x - 16 * high)]
        return both[0] * 16 + both[1]

    def _steps(self, kernel: Any, bias: Any) -> tuple[Any, Any]:
        """Scales of the kernel, and of the bias: (scales,) or ()."""
        scale_in = self.ends.source.parameters_of_codes()[0]
        least = 2.0**-125 / scale_in
        if bias is not None:
            needed = narrow(wide(ops.abs(ops.stop_gradient(bias))) / (wide(scale_in) * 2.0**30))
            needed = needed * (1 + 2.0**-22)
            needed = ops.max(needed) if self.rounding.channels is None else self._along(needed)
            least = ops.maximum(least, needed)
        if self.rounding.learned:
            scale = ops.maximum(self._learned_scale(), least)
        else:
            scale = ops.stop_gradient(self.rounding.scale_of(kernel, least))
        return scale, self._flat(ops.stop_gradient(scale) * scale_in)

    def _learned_scale(self) -> Any:
        scale = self.start.value * ops.exp(self.log_scale.value)
        if self.norm is None or self.rounding.channels is None:
            return scale
        # Of the kernel itself: the folded one keeps its codes while the moving variance changes.
        return scale * self._along(ops.maximum(ops.abs(self._factor()), _LEAST_FACTOR))

    def _rounded(self, kernel: Any, scale: Any) -> Any:
        if self.rounding.learned:
            return learned_rounding(kernel, scale, self.rounding.high)
        return straight_through(kernel, self._codes(kernel, scale) * scale)

    def _codes(self, kernel: Any, scale: Any) -> Any:
        return ops.stop_gradient(
            ops.clip(ops.round(kernel / scale), -self.rounding.high, self.rounding.high)
        )

    def _bias_codes(self, bias: Any, scale: Any) -> Any:
        scale_in = self.ends.source.parameters_of_codes()[0]
        return ops.round(wide(bias) / self._flat(wide(scale_in) * wide(scale)))

    def _flat(self, scale: Any) -> Any:
        """One value per output channel, or a scalar."""
        return ops.reshape(scale, () if self.rounding.channels is None else (-1,))

    def _kernel(self) -> Any:
        kernel = self.inner.kernel.value
        return kernel if self.kept is None else kernel * ops.cast(self.kept, kernel.dtype)

    def _bias(self) -> Any:
        return self.inner.bias.value if self.inner.use_bias else None

    def _factor(self) -> Any:
        variance = wide(self.norm.moving_variance.value)
        factor = narrow(1 / ops.sqrt(variance + self.norm.epsilon))
        return self.norm.gamma.value * factor if self.norm.scale else factor

    def _along(self, values: Any) -> Any:
        """Shape one value per output channel so that it broadcasts against the kernel."""
        shape = self._kernel().shape
        if _is_depthwise(self.inner):
            return ops.reshape(values, (1, 1, *shape[2:]))
        return ops.reshape(values, (1,) * (len(shape) - 1) + (-1,))

    def _linear(self, x: Any, kernel: Any, bias: Any) -> Any:
        inner = self.inner
        if isinstance(inner, keras.layers.Dense):
            y = ops.matmul(x, ops.cast(kernel, x.dtype))
        else:
            function = ops.depthwise_conv if _is_depthwise(inner) else ops.conv
            y = function(
                x,
                ops.cast(kernel, x.dtype),
                strides=list(inner.strides),
                padding=inner.padding,
                data_format=inner.data_format,
                dilation_rate=inner.dilation_rate,
            )
        return y if bias is None else y + ops.cast(bias, y.dtype)


def add_half_unit(v: Any, exponent: Any) -> Any:
    """Add ``copysign(h, v)``, h = 2^exponent, about half a unit of the accumulator.

    Parameters
    ----------
    v : tensor of float32
        Accumulators times a multiplier m.
    exponent : tensor
        ``floor(log2(m))``; from -1 on nothing is added.

    Returns
    -------
    tensor of float32
    """
    offset = narrow(ops.where(exponent < -1, 2.0**exponent, ops.zeros_like(exponent)))
    return v + ops.where(v < 0, -offset, offset)


def _is_depthwise(layer: Any) -> bool:
    return isinstance(layer, keras.layers.DepthwiseConv2D)


__all__ = ["Ends", "QuantizedLayer", "add_half_unit"]
