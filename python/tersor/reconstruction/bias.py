"""What is known of a layer's inputs without samples, from the BatchNorm in front of it.

Small vectors only, so there is no native half. With samples, `best_bias` of
:func:`tersor.reconstruction.normal_equations` is exact where this assumes normal distributions.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray


def clipped_normal_mean(
    mean: ArrayLike, std: ArrayLike, *, low: float = 0.0, high: float = math.inf
) -> NDArray[np.float64]:
    """Return the mean of normal values after clipping.

    Parameters
    ----------
    mean : array-like, shape (channels,)
        BatchNorm's beta.
    std : array-like, shape (channels,)
        BatchNorm's gamma, of any sign.
    low, high : float
        Of the activation: 0 and infinity for ReLU, 0 and 6 for ReLU6, both infinite for none.

    Returns
    -------
    ndarray of float64, shape (channels,)

    Raises
    ------
    ValueError
        If `low` is not below `high`, or a value is not finite.

    References
    ----------
    .. [1] Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction",
       ICCV 2019, appendix C.

    Examples
    --------
    >>> clipped_normal_mean([0.0], [1.0]).round(4)
    array([0.3989])
    """
    if not low < high:
        raise ValueError(f"clipped_normal_mean: low must be below high, got {low} and {high}")
    m, s = _finite(mean, "clipped_normal_mean: mean"), np.abs(_finite(std, _STD))
    m, s = np.broadcast_arrays(m, s)
    with np.errstate(divide="ignore", invalid="ignore"):
        a = np.where(s > 0, (low - m) / s, np.where(m < low, np.inf, -np.inf))
        b = np.where(s > 0, (high - m) / s, np.where(m > high, -np.inf, np.inf))
    inside = _cdf(b) - _cdf(a)
    total = m * inside + s * (_density(a) - _density(b))
    if math.isfinite(low):
        total = total + low * _cdf(a)
    if math.isfinite(high):
        total = total + high * (1 - _cdf(b))
    return np.asarray(total)


def analytic_bias_correction(
    w: ArrayLike, rounded: ArrayLike, input_mean: ArrayLike
) -> NDArray[np.float64]:
    """Return what to add to a bias so that rounding the weights keeps the mean output.

    Parameters
    ----------
    w, rounded : array-like, shape (outputs, inputs, ...)
        Weights of a dense layer or a convolution (``inputs`` per group) and what their codes stand
        for.
    input_mean : array-like, shape (inputs,)
        Mean of every input channel, as from `clipped_normal_mean`; the padding of a convolution is
        taken as inside the image. With groups, shape (outputs, inputs): of the channels that each
        output reads.

    Returns
    -------
    ndarray of float64, shape (outputs,)

    Raises
    ------
    ValueError
        If a shape does not fit or a value is not finite.

    References
    ----------
    .. [1] Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction",
       ICCV 2019, section 4.2.1.

    Examples
    --------
    >>> analytic_bias_correction([[1.0, 2.0]], [[1.0, 1.5]], [3.0, 4.0])
    array([2.])
    """
    exact = _finite(w, "analytic_bias_correction: w")
    codes = _finite(rounded, "analytic_bias_correction: rounded")
    mean = _finite(input_mean, "analytic_bias_correction: input_mean")
    if exact.ndim < 2 or codes.shape != exact.shape:
        raise ValueError(
            "analytic_bias_correction: rounded must have the shape of w, at least 2 dimensions, "
            f"got {codes.shape} and {exact.shape}"
        )
    if mean.shape not in (exact.shape[1:2], exact.shape[:2]):
        raise ValueError(
            f"analytic_bias_correction: input_mean must have shape {exact.shape[1:2]} or "
            f"{exact.shape[:2]}, got {mean.shape}"
        )
    lost = (exact - codes).reshape(*exact.shape[:2], -1).sum(axis=2)
    return np.asarray((lost * mean).sum(axis=1))


def absorbable_bias(
    mean: ArrayLike, std: ArrayLike, *, deviations: float = 3.0
) -> NDArray[np.float64]:
    """Return the part of every channel's bias that a ReLU lets through nearly always.

    Parameters
    ----------
    mean, std : array-like, shape (channels,)
        BatchNorm's beta and gamma.
    deviations : float, default 3
        Standard deviations that must stay above zero: 99.865 % of the values for 3.

    Returns
    -------
    ndarray of float64, shape (channels,)
        ``max(0, mean - deviations * |std|)``, for `absorb_bias`.

    Raises
    ------
    ValueError
        If a value is not finite.

    Examples
    --------
    >>> absorbable_bias([5.0, 1.0], [1.0, 1.0])
    array([2., 0.])
    """
    m, s = _finite(mean, "absorbable_bias: mean"), _finite(std, "absorbable_bias: std")
    return np.asarray(np.maximum(0.0, m - deviations * np.abs(s)))


def absorb_bias(
    bias: ArrayLike, next_weight: ArrayLike, next_bias: ArrayLike, part: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Move a part of a layer's bias through a ReLU into the bias of the next layer.

    The range of the activations between the two shrinks by that part. For ``r(x) = max(0, x)``,
    ``r(x - c) = r(x) - c`` wherever ``x >= c``. A convolution with padding changes at its borders.

    Parameters
    ----------
    bias : array-like, shape (channels,)
        Of the first layer.
    next_weight : array-like, shape (outputs, channels, ...)
        Of the second layer.
    next_bias : array-like, shape (outputs,)
    part : array-like, shape (channels,)
        What to move, as from `absorbable_bias`.

    Returns
    -------
    bias, next_bias : ndarray of float64
        ``bias - part`` and ``next_bias + sum over the kernel of next_weight @ part``.

    Raises
    ------
    ValueError
        If a shape does not fit or a value is not finite.

    References
    ----------
    .. [1] Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction",
       ICCV 2019, section 4.1.3.

    Examples
    --------
    >>> absorb_bias([5.0], [[2.0], [3.0]], [0.0, 1.0], [2.0])
    (array([3.]), array([4., 7.]))
    """
    first, c = _finite(bias, "absorb_bias: bias"), _finite(part, "absorb_bias: part")
    w = _finite(next_weight, "absorb_bias: next_weight")
    second = _finite(next_bias, "absorb_bias: next_bias")
    if first.ndim != 1 or c.shape != first.shape:
        raise ValueError(f"absorb_bias: part must have shape {first.shape}, got {c.shape}")
    if w.ndim < 2 or w.shape[1] != len(first) or second.shape != w.shape[:1]:
        raise ValueError(
            f"absorb_bias: next_weight must have shape ({len(second)}, {len(first)}, ...), "
            f"got {w.shape}"
        )
    kernel = w.reshape(*w.shape[:2], -1).sum(axis=2)
    return first - c, second + kernel @ c


_STD = "clipped_normal_mean: std"


def _finite(x: ArrayLike, what: str) -> NDArray[np.float64]:
    values = np.asarray(x, np.float64)
    if not np.isfinite(values).all():
        raise ValueError(f"{what} must be finite, got {values[~np.isfinite(values)][0]}")
    return values


def _cdf(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(0.5 * np.vectorize(math.erfc, otypes=[np.float64])(-x / math.sqrt(2)))


def _density(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.exp(-0.5 * np.square(x)) / math.sqrt(2 * math.pi))


__all__ = ["absorb_bias", "absorbable_bias", "analytic_bias_correction", "clipped_normal_mean"]
