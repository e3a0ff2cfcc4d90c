"""How much each weight matters. Native half: ``cpp/tersor/pruning/scores.h``.

The magnitude is the score that the masks take by default, so it has no function here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _core


def lamp_scores(w: ArrayLike) -> NDArray[np.float32]:
    """Return layer-adaptive magnitudes, which can be compared between layers.

    The square of a weight over the sum of squares of all weights of its tensor that are not
    smaller: what the layer loses, as a share of what it still has [1]_. With `global_masks`, they
    choose the sparsity of every layer.

    Parameters
    ----------
    w : array-like of float32, any shape
        Finite. Of equal magnitudes, the one with the higher index counts as the smaller one.

    Returns
    -------
    ndarray of float32, the shape of `w`
        In [0, 1]; the largest weight scores 1.

    Raises
    ------
    ValueError
        If a value is not finite.

    References
    ----------
    .. [1] Lee et al., "Layer-adaptive Sparsity for the Magnitude-based Pruning", ICLR 2021.

    Examples
    --------
    >>> lamp_scores([1.0, -2.0, 0.0])
    array([0.2, 1. , 0. ], dtype=float32)
    """
    return _core.pruning.lamp_scores(np.asarray(w, np.float32, order="C"))


def taylor_scores(w: ArrayLike, gradient: ArrayLike) -> NDArray[np.float32]:
    """Return ``|w * gradient|``: how far the loss moves, to first order, without the weight.

    Parameters
    ----------
    w, gradient : array-like of float32, one shape
        The gradient may be a mean over batches.

    Returns
    -------
    ndarray of float32, the shape of `w`

    Raises
    ------
    ValueError
        If the shapes differ.

    References
    ----------
    .. [1] Molchanov et al., "Importance Estimation for Neural Network Pruning", CVPR 2019.

    Examples
    --------
    >>> taylor_scores([1.0, -2.0], [3.0, 1.0])
    array([3., 2.], dtype=float32)
    """
    values, slopes = _pair("taylor_scores", w, gradient)
    return np.asarray(np.abs(values * slopes))


def movement_scores(w: ArrayLike, gradient: ArrayLike) -> NDArray[np.float32]:
    """Return ``-w * gradient``: positive where training moves the weight away from zero.

    Parameters
    ----------
    w, gradient : array-like of float32, one shape
        Of one step; the score of movement pruning is the sum over the steps [1]_.

    Returns
    -------
    ndarray of float32, the shape of `w`
        Of any sign, so for `mask_from_scores`, not for the masks by magnitude.

    Raises
    ------
    ValueError
        If the shapes differ.

    References
    ----------
    .. [1] Sanh et al., "Movement Pruning: Adaptive Sparsity by Fine-Tuning", NeurIPS 2020.

    Examples
    --------
    >>> movement_scores([1.0, -2.0], [3.0, 1.0])
    array([-3.,  2.], dtype=float32)
    """
    values, slopes = _pair("movement_scores", w, gradient)
    return np.asarray(-values * slopes)


def weight_activation_scores(w: ArrayLike, input_norm: ArrayLike) -> NDArray[np.float32]:
    """Return ``|w| * input_norm``, the score of Wanda.

    Parameters
    ----------
    w : array-like of float32, shape (outputs, inputs, ...)
    input_norm : array-like of float32
        Root of the mean square of every input: shape (inputs,), or (inputs, ...) with one value for
        each weight of an output, as ``np.sqrt(np.diag(Moments.hessian[0]))`` gives.

    Returns
    -------
    ndarray of float32, the shape of `w`
        Compared row by row in the paper: ``mask_from_scores(..., per_row=True)``.

    Raises
    ------
    ValueError
        If the shapes do not fit or a norm is negative.

    References
    ----------
    .. [1] Sun et al., "A Simple and Effective Pruning Approach for Large Language Models",
       ICLR 2024.

    Examples
    --------
    >>> weight_activation_scores([[1.0, -2.0]], [3.0, 1.0])
    array([[3., 2.]], dtype=float32)
    """
    values = np.asarray(w, np.float32)
    norm = np.asarray(input_norm, np.float32)
    if values.ndim < 2 or norm.shape not in (values.shape[1:2], values.shape[1:]):
        raise ValueError(
            f"weight_activation_scores: input_norm must have shape {values.shape[1:2]} or "
            f"{values.shape[1:]}, got {norm.shape}"
        )
    if (norm < 0).any():
        raise ValueError(
            f"weight_activation_scores: input_norm must be >= 0, got {float(norm.min())}"
        )
    each = norm if norm.ndim == values.ndim - 1 else norm.reshape(-1, *[1] * (values.ndim - 2))
    return np.asarray(np.abs(values) * each)


def random_scores(shape: Sequence[int], seed: int = 0) -> NDArray[np.float32]:
    """Return uniform numbers in [0, 1): the baseline that every criterion must beat.

    Parameters
    ----------
    shape : sequence of int
    seed : int, default 0
        In [0, 2**64).

    Returns
    -------
    ndarray of float32
        The same for a seed on every machine and any number of threads.

    Raises
    ------
    ValueError
        If a size or the seed is out of range.

    Examples
    --------
    >>> bool((random_scores((3, 4), seed=1) == random_scores((3, 4), seed=1)).all())
    True
    """
    if not 0 <= seed < 1 << 64:
        raise ValueError(f"random_scores: seed must be in [0, 2**64), got {seed}")
    if any(n < 0 for n in shape):
        raise ValueError(f"random_scores: shape must have sizes >= 0, got {tuple(shape)}")
    return _core.pruning.random_scores(list(shape), seed)


def _pair(
    operation: str, w: ArrayLike, gradient: ArrayLike
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    values, slopes = np.asarray(w, np.float32), np.asarray(gradient, np.float32)
    if values.shape != slopes.shape:
        raise ValueError(
            f"{operation}: gradient must have shape {values.shape}, got {slopes.shape}"
        )
    return values, slopes


__all__ = [
    "lamp_scores",
    "movement_scores",
    "random_scores",
    "taylor_scores",
    "weight_activation_scores",
]
