"""Dense layers that quantize their input. See ``cpp/tersor/quantization/dense_dynamic.h``."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _core


class DenseDynamic:
    """A dense layer with int8 weights and float input and output, computed in int8.

    Each row of the input gets a scale and a zero point of its own in the call, from its smallest
    and largest value; sums are exact in int32::

        y = act((codes(x) - z) @ weights.T * (s * scale) + bias)

    Parameters
    ----------
    weights : array-like of int8, shape (outputs, inputs)
        Symmetric codes; at most 65,793 inputs.
    scale : float or array-like of float32, shape () or (outputs,)
    bias : array-like of float32, shape (outputs,), optional
    low, high : float, default -inf and inf
        Bounds of the result (its activation); NaN stays.
    algorithm : {"automatic", "pairs", "bytes"}
        Products of 16-bit pairs, or of bytes, which is the choice where the CPU has VNNI; only time
        depends on it.

    Raises
    ------
    ValueError
        If shapes do not fit, there are too many inputs, or the algorithm is unknown.
    TypeError
        If the weights are not int8.

    Examples
    --------
    >>> import numpy as np
    >>> from tersor.quantization import DenseDynamic
    >>> dense = DenseDynamic(np.int8([[1, 2], [3, 4]]), 0.5)
    >>> dense(np.float32([[0, 255]]))
    array([[255., 510.]], dtype=float32)
    """

    def __init__(
        self,
        weights: ArrayLike,
        scale: ArrayLike,
        bias: ArrayLike | None = None,
        *,
        low: float = -np.inf,
        high: float = np.inf,
        algorithm: str = "automatic",
    ) -> None:
        codes = np.asarray(weights)
        if codes.dtype != np.int8:
            raise TypeError(f"DenseDynamic: weights must be int8, got {codes.dtype}")
        scales = np.asarray(scale, np.float32)
        if scales.ndim == 0 and codes.ndim == 2:
            scales = np.full(codes.shape[0], scales)
        self._native = _core.quantization.DenseDynamic(
            np.ascontiguousarray(codes),
            np.ascontiguousarray(scales),
            None if bias is None else np.ascontiguousarray(bias, np.float32),
            low,
            high,
            algorithm,
        )

    def __call__(self, x: ArrayLike, *, out: NDArray[np.float32] | None = None) -> NDArray[Any]:
        """Apply the layer.

        Parameters
        ----------
        x : array-like of float32, shape (rows, inputs)
            A row with NaN or an infinity gives NaN.
        out : ndarray of float32, shape (rows, outputs), optional
            C-contiguous; written and returned instead of a new array.

        Returns
        -------
        ndarray of float32, shape (rows, outputs)
            The same bits on every instruction set, for any number of rows and threads.
        """
        values = np.asarray(x, dtype=np.float32, order="C")
        return cast("NDArray[Any]", self._native.run(values, out))

    @property
    def kernel(self) -> str:
        """Such as "dense_dynamic conv_int8_direct simd_avx2"."""
        return str(self._native.kernel)

    @property
    def packed_bytes(self) -> int:
        """Bytes of the packed weights, scales and bias."""
        return int(self._native.packed_bytes)


__all__ = ["DenseDynamic"]
