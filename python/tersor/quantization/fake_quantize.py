"""Fake quantization and its gradient. Native half: ``cpp/tersor/quantization/fake_quantize.h``."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _core
from .qparams import QParams


def fake_quantize(
    x: ArrayLike,
    q: QParams,
    *,
    out: NDArray[np.float32] | None = None,
    mask: NDArray[np.uint8] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Round values to those that codes stand for, and remember where the gradient passes.

    Parameters
    ----------
    x : array-like of float32, shape (...)
        NaN counts as the zero point and lets no gradient pass.
    q : QParams
        What the codes mean: per tensor, channel or group, integer or float zero points.
    out : ndarray of float32, shape (...), optional
        C-contiguous array to write; may be `x`.
    mask : ndarray of uint8, shape (ceil(size / 8),), optional
        Array to write the mask to.

    Returns
    -------
    y : ndarray of float32, shape (...)
        ``dequantize(quantize(x, q), q)``.
    mask : ndarray of uint8, shape (ceil(size / 8),)
        One bit per element in C order, least significant first: whether the element's code was not
        clamped. ``numpy.unpackbits(mask, bitorder="little", count=x.size)`` spreads it.

    Raises
    ------
    ValueError
        If the shape of `x` does not fit the number of scales, or an output has another shape.

    References
    ----------
    .. [1] Bengio et al., "Estimating or Propagating Gradients Through Stochastic Neurons for
       Conditional Computation", 2013 (the straight-through estimator).

    Examples
    --------
    >>> import numpy as np
    >>> from tersor.quantization import QParams, fake_quantize
    >>> y, mask = fake_quantize([0.3, 9.0, -0.1], QParams(scale=[0.5], zero_point=[0], bits=4))
    >>> y.tolist(), np.unpackbits(mask, bitorder="little", count=3).tolist()
    ([0.5, 3.5, 0.0], [1, 0, 1])
    """
    values = np.asarray(x, dtype=np.float32, order="C")
    return _core.quantization.fake_quantize(values, q, out, mask)


def fake_quantize_backward(
    dy: ArrayLike, mask: NDArray[np.uint8], *, out: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Let the gradient pass where `fake_quantize` did not clamp.

    Parameters
    ----------
    dy : array-like of float32, shape (...)
        Gradient of the loss by `y`.
    mask : ndarray of uint8, shape (ceil(size / 8),)
        From `fake_quantize`.
    out : ndarray of float32, shape (...), optional
        C-contiguous array to write; may be `dy`.

    Returns
    -------
    dx : ndarray of float32, shape (...)
        `dy` where the bit is set, otherwise 0; `out` if it was given.

    Raises
    ------
    ValueError
        If the mask does not fit the size of `dy`.

    Examples
    --------
    >>> from tersor.quantization import QParams, fake_quantize, fake_quantize_backward
    >>> y, mask = fake_quantize([0.3, 9.0, -0.1], QParams(scale=[0.5], zero_point=[0], bits=4))
    >>> fake_quantize_backward([1.0, 2.0, 3.0], mask)
    array([1., 0., 3.], dtype=float32)
    """
    gradient = np.asarray(dy, dtype=np.float32, order="C")
    return _core.quantization.fake_quantize_backward(
        gradient, np.asarray(mask, np.uint8, order="C"), out
    )


__all__ = ["fake_quantize", "fake_quantize_backward"]
