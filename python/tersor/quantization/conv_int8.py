"""Exact int8 convolutions. Native half: ``cpp/tersor/quantization/conv_int8.h``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _core


class ResidualAdd(NamedTuple):
    """Parameters of a residual that is added to the result of a convolution.

    Attributes
    ----------
    scale, zero_point : float, int
        Of the residual's codes.
    output_scale, output_zero_point : float, int
        Of the sum's codes.
    lo, hi : int, default -128 and 127
        Smallest and largest code of the sum (its activation).

    Examples
    --------
    >>> from tersor.quantization import ResidualAdd
    >>> ResidualAdd(0.1, 3, 0.2, -128).hi
    127
    """

    scale: float
    zero_point: int
    output_scale: float
    output_zero_point: int
    lo: int = -128
    hi: int = 127


class ConvInt8:
    """A packed int8 convolution, channels last.

    The sum is exact on every instruction set::

        acc = bias + sum((x - zero_point) * weights)    # x outside of the image is zero_point
        y = requantize(acc, multiplier, output_zero_point, lo=lo, hi=hi)

    Parameters
    ----------
    input_shape : sequence of int, (N, H, W, C)
        Shape of the codes it will be called with.
    weights : array-like of int8, shape (O, C / groups, KH, KW)
        Symmetric codes.
    bias : array-like of int32, shape (O,), optional
        Added to the sum, at scale ``s_x * s_w``.
    zero_point : int, default 0
        Zero point of the input, in [-128, 127].
    multiplier : float or array-like of float64, shape () or (O,), default 1.0
        ``s_x * s_w / s_y``, in [0, 2**30).
    scale, output_zero_point : float, int, default 1.0 and 0
        Of the result; `scale` matters only with `add`.
    lo, hi : int, default -128 and 127
        Smallest and largest code of the result (its activation).
    strides, dilations : (int, int), default (1, 1)
        Vertical and horizontal.
    pads : (int, int, int, int), default (0, 0, 0, 0)
        Top, left, bottom, right, in pixels.
    groups : int, default 1
        Divides C and O.
    add : ResidualAdd, optional
        The result is rounded to codes and then added to a residual.
    arithmetic : {"fast", "exact"}
        Float32 or integer (TFLite Micro's) requantization.
    algorithm : {"automatic", "direct", "bytes", "winograd", "depthwise"}
        Only time depends on it.

    Raises
    ------
    ValueError
        If a parameter is out of range, shapes do not match, a sum could leave int32, or the
        algorithm is impossible.

    Examples
    --------
    >>> import numpy as np
    >>> from tersor.quantization import ConvInt8
    >>> conv = ConvInt8((1, 4, 4, 1), np.ones((1, 1, 3, 3), np.int8), multiplier=0.5)
    >>> conv(np.full((1, 4, 4, 1), 2, np.int8))[0, :, :, 0]
    array([[9, 9],
           [9, 9]], dtype=int8)
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        weights: ArrayLike,
        bias: ArrayLike | None = None,
        *,
        zero_point: int = 0,
        multiplier: ArrayLike = 1.0,
        scale: float = 1.0,
        output_zero_point: int = 0,
        lo: int = -128,
        hi: int = 127,
        strides: Sequence[int] = (1, 1),
        pads: Sequence[int] = (0, 0, 0, 0),
        dilations: Sequence[int] = (1, 1),
        groups: int = 1,
        add: ResidualAdd | None = None,
        arithmetic: str = "fast",
        algorithm: str = "automatic",
    ) -> None:
        codes = _codes("weights", weights)
        biases = None if bias is None else np.asarray(bias, np.int32, order="C")
        multipliers = np.asarray(multiplier, np.float64, order="C")
        if multipliers.ndim == 0 and codes.ndim > 0:
            multipliers = np.full(codes.shape[0], multipliers)
        self._native = _core.quantization.ConvInt8(
            [int(d) for d in input_shape], codes, biases, zero_point, multipliers, scale,
            output_zero_point, lo, hi, list(strides), list(pads), list(dilations), groups,
            None if add is None else list(add), arithmetic, algorithm,
        )  # fmt: skip

    def __call__(
        self,
        x: ArrayLike,
        residual: ArrayLike | None = None,
        *,
        out: NDArray[np.int8] | None = None,
    ) -> NDArray[np.int8]:
        """Convolve codes to codes.

        Parameters
        ----------
        x : array-like of int8, shape (N, H, W, C)
            Codes.
        residual : array-like of int8, shape (N, OH, OW, O), optional
            With `add` only.
        out : ndarray of int8, shape (N, OH, OW, O), optional
            C-contiguous array to write.

        Returns
        -------
        y : ndarray of int8, shape (N, OH, OW, O)
        """
        other = None if residual is None else _codes("residual", residual)
        return cast("NDArray[np.int8]", self._native.run(_codes("x", x), other, out))

    def accumulate(
        self, x: ArrayLike, *, out: NDArray[np.int32] | None = None
    ) -> NDArray[np.int32]:
        """Return the int32 sums, bias included, shape (N, OH, OW, O).

        Parameters
        ----------
        x : array-like of int8, shape (N, H, W, C)
            Codes.
        out : ndarray of int32, shape (N, OH, OW, O), optional
            C-contiguous array to write.

        Returns
        -------
        sums : ndarray of int32, shape (N, OH, OW, O)
        """
        return cast("NDArray[np.int32]", self._native.accumulate(_codes("x", x), out))

    @property
    def kernel(self) -> str:
        """Name of the kernel that runs."""
        return self._native.kernel

    @property
    def algorithm(self) -> str:
        """The algorithm that was chosen."""
        return self._native.algorithm

    @property
    def packed_bytes(self) -> int:
        """Bytes of packed weights and tables."""
        return self._native.packed_bytes


def _codes(name: str, values: ArrayLike) -> NDArray[np.int8]:
    """Int8 in C order; other integers convert if they fit."""
    array = np.asarray(values, order="C")
    if array.dtype == np.int8:
        return array
    codes = array.astype(np.int8)
    if not np.array_equal(codes, array):
        raise ValueError(f"conv_int8: {name} must hold int8 codes, got {array.dtype} out of range")
    return codes


__all__ = ["ConvInt8", "ResidualAdd"]
