"""Dense layers on low-bit weights. Native half: ``cpp/tersor/quantization/dense_codes.h``."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _core
from .qparams import QParams


class DenseCodes:
    """A dense layer whose weight stays codes, for few rows of float input.

    ::

        y = act(x @ w.T + bias),  w = scale * (codes - zero_point)

    Such a layer waits for its weights: 4-bit codes are an eighth of the bytes of floats, and are
    decoded in registers.

    Parameters
    ----------
    codes : array-like of int8 or uint8, shape (outputs, inputs)
        Codes of up to 4 bits are kept in 4, others in 8.
    qparams : QParams
        Per tensor, per output (``axis=0``) or per group (``axis=1`` and a `group_size` of 8, 16,
        32, 64 or a multiple of 128; more than 4 bits: a multiple of 16).
    bias : array-like of float32, shape (outputs,), optional
    low, high : float, default -inf and inf
        Bounds of the result (its activation); NaN stays.

    Raises
    ------
    ValueError
        If shapes do not fit, a code is out of range, or the groups are not supported.
    TypeError
        If the codes are not integers of 8 bits.

    Examples
    --------
    >>> import numpy as np
    >>> from tersor.quantization import DenseCodes, QParams
    >>> q = QParams(scale=[0.5, 2.0], zero_point=[0, 0], bits=4, axis=0)
    >>> DenseCodes(np.int8([[1, 2], [3, 4]]), q)(np.float32([[1, 1]]))
    array([[ 1.5, 14. ]], dtype=float32)
    """

    def __init__(
        self,
        codes: ArrayLike,
        qparams: QParams,
        bias: ArrayLike | None = None,
        *,
        low: float = -np.inf,
        high: float = np.inf,
    ) -> None:
        values = np.asarray(codes)
        if values.dtype not in (np.int8, np.uint8):
            raise TypeError(f"DenseCodes: codes must be int8 or uint8, got {values.dtype}")
        if values.ndim != 2:
            raise ValueError(f"DenseCodes: codes must have 2 dimensions, got {values.ndim}")
        if qparams.codebook is not None:
            raise ValueError("DenseCodes: qparams must be without a codebook, got one")
        outputs, inputs = values.shape
        group = _group_of(qparams, inputs)
        shift = 0 if qparams.signed else 1 << (qparams.bits - 1)
        signed = (values.astype(np.int16) - shift).astype(np.int8)
        floats = qparams.zero_point_float
        zero = (qparams.zero_point if floats is None else floats).astype(np.float32) - shift
        count = outputs * (-(-inputs // group) if group else 1)
        scale = np.ascontiguousarray(np.broadcast_to(qparams.scale, count), np.float32)
        zeros = np.ascontiguousarray(np.broadcast_to(zero, count), np.float32)
        self._native = _core.quantization.DenseCodes(
            np.ascontiguousarray(signed),
            scale,
            zeros if zeros.any() else None,
            None if bias is None else np.ascontiguousarray(bias, np.float32),
            qparams.bits,
            group,
            low,
            high,
        )

    def __call__(self, x: ArrayLike, *, out: NDArray[np.float32] | None = None) -> NDArray[Any]:
        """Apply the layer.

        Parameters
        ----------
        x : array-like of float32, shape (rows, inputs)
            Magnitudes in {0} and [2**-100, 2**100]; infinities may become NaN.
        out : ndarray of float32, shape (rows, outputs), optional
            C-contiguous; written and returned instead of a new array.

        Returns
        -------
        ndarray of float32, shape (rows, outputs)
            The same for any number of rows and threads.
        """
        values = np.asarray(x, dtype=np.float32, order="C")
        return cast("NDArray[Any]", self._native.run(values, out))

    @property
    def kernel(self) -> str:
        """Such as "dense_int4 simd_avx2"."""
        return str(self._native.kernel)

    @property
    def packed_bytes(self) -> int:
        """Bytes of the packed weights, scales and bias."""
        return int(self._native.packed_bytes)


def _group_of(q: QParams, inputs: int) -> int:
    """Inputs that share a scale, 0 for all."""
    if q.axis is None or (q.axis == 0 and not q.group_size):
        return 0
    if q.axis != 1 or not q.group_size:
        raise ValueError(
            "DenseCodes: qparams must be per tensor, per output or in groups along axis 1, got "
            f"axis {q.axis} and group_size {q.group_size}"
        )
    return 0 if q.group_size >= inputs else int(q.group_size)


__all__ = ["DenseCodes"]
