"""Products, means and averages of codes in inference, rounded as the session rounds them."""

from __future__ import annotations

from typing import Any

import keras  # type: ignore[import-untyped]
from keras import ops

from .quantized_layer import add_half_unit
from .quantizers import FakeQuantize, narrow, wide

# Below half a unit of an average of up to 250 codes, above float32's error.
_NEAR_TIE = 1e-3


class Operands:
    """Quantizers around an operator, which the model owns.

    Parameters
    ----------
    sources : list of FakeQuantize
    target : FakeQuantize
    """

    def __init__(self, sources: list[FakeQuantize], target: FakeQuantize) -> None:
        self.sources = sources
        self.target = target


class IntegerSums(keras.layers.Layer):  # type: ignore[misc]
    """Comes after a multiplication, a mean or an average pool; changes nothing in training.

    Parameters
    ----------
    kind : {"mul", "reduce_mean", "avg_pool"}
        Native operator.
    operands : Operands
    count : int
        Values of a mean.
    **options
        Of ``keras.layers.Layer``.
    """

    def __init__(self, kind: str, operands: Operands, count: int = 1, **options: Any) -> None:
        super().__init__(**options)
        self.kind = kind
        self.operands = operands
        self.count = count
        self.built = True

    def build(self, input_shape: Any) -> None:
        """Nothing depends on the shape."""

    def compute_output_spec(self, y: Any, training: bool | None = None) -> Any:
        """Return the type of the output, which is the input's."""
        return keras.KerasTensor(y.shape, y.dtype)

    def call(self, y: Any, training: bool | None = None) -> Any:
        """Round.

        Parameters
        ----------
        y : tensor
            The float operator's result.
        training : bool, optional

        Returns
        -------
        tensor
        """
        target = self.operands.target
        if training or not target.quantizing:
            return y
        scale_out, zero = target.parameters_of_codes()
        if self.kind == "avg_pool":  # half away from zero, of codes with their zero point
            code = narrow(y) / scale_out + zero
            return (_away_from_zero(code + _NEAR_TIE * ops.sign(code)) - zero) * scale_out
        unit = wide(ops.ones(())) / self.count
        for source in self.operands.sources:
            unit = unit * wide(source.parameters_of_codes()[0])
        sums = narrow(ops.round(wide(y) / unit))
        multiplier = unit / wide(scale_out)
        # As mean_requantizer of quantization/requantize.h: the largest power of two not above the
        # count goes into the shift. A product is the case of one value.
        exponent = ops.floor(ops.log2(multiplier * self.count)) - (self.count.bit_length() - 1)
        v = add_half_unit(sums * narrow(multiplier), exponent)
        code = ops.where(_often_ties(multiplier, exponent), _away_from_zero(v), ops.round(v))
        return ops.clip(code, target.low - zero, target.high - zero) * scale_out


def _away_from_zero(v: Any) -> Any:
    return ops.sign(v) * ops.floor(ops.abs(v) + 0.5)


def _often_ties(multiplier: Any, exponent: Any) -> Any:
    """Whether the session computes in integers: a multiplier of 1/2 or more, or of 11 bits."""
    mantissa = ops.floor(multiplier * 2.0 ** (30 - exponent) + 1e-6)
    simple = ops.equal(ops.floor(mantissa / 2.0**20) * 2.0**20, mantissa)
    return ops.logical_or(exponent >= -1, simple)


__all__ = ["IntegerSums", "Operands"]
