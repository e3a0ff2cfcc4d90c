"""A layer whose input channels were removed. Built on ``cpp/tersor/reconstruction/pruning.h``."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .moments import Moments
from .normal_equations import normal_equations
from .pruning import prune_matrix


def refit_channels(
    moments: Moments, w: ArrayLike, kept: ArrayLike, *, bias: bool = True, ridge: float = 1e-3
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Fit what a layer keeps of its input channels to the outputs that it had.

    Parameters
    ----------
    moments : Moments
        Of the inputs (all channels) with the wanted outputs as targets, one group.
    w : array-like of float32, shape (outputs, channels, ...)
        The weight before; kernel positions follow the channels.
    kept : array-like of bool, shape (channels,)
        Channels that stay, as from :func:`tersor.pruning.channel_mask`.
    bias : bool, default True
        Whether the layer has a bias that may change.
    ridge : float, default 1e-3
        How strongly weights are kept, as a share of the Hessian's mean diagonal.

    Returns
    -------
    weight : ndarray of float32, shape (outputs, channels kept, ...)
    bias : ndarray of float32, shape (outputs,)
        Zeros without a bias.

    Raises
    ------
    ValueError
        If a shape does not fit, or nothing was added to `moments`.
    UnsupportedError
        If tersor was built without Eigen.

    References
    ----------
    .. [1] He et al., "Channel Pruning for Accelerating Very Deep Neural Networks", ICCV 2017.

    Examples
    --------
    >>> import numpy as np
    >>> from tersor.reconstruction import Moments, refit_channels
    >>> x = np.random.default_rng(0).normal(size=(512, 2)).astype(np.float32)
    >>> x = np.concatenate([x, x[:, :1] + 1], axis=1)  # the third channel repeats the first
    >>> moments = Moments(3, outputs=1)
    >>> moments.add(x, x @ [[1], [2], [3]])
    >>> weight, bias = refit_channels(moments, [[1, 2, 3]], [True, True, False])
    >>> weight.round(1), bias.round(1)
    (array([[4., 2.]], dtype=float32), array([3.], dtype=float32))
    """
    weight = np.asarray(w, np.float32)
    stays = np.asarray(kept, np.bool_)
    if weight.ndim < 2 or stays.shape != weight.shape[1:2]:
        raise ValueError(
            f"refit_channels: kept must have shape {weight.shape[1:2]}, got {stays.shape}"
        )
    rows = np.ascontiguousarray(weight.reshape(len(weight), -1))
    mask = np.repeat(stays, rows.shape[1] // max(1, len(stays)))
    problem = normal_equations(moments, rows, centred=bias, ridge=ridge)
    both = np.broadcast_to(mask, rows.shape)
    done = prune_matrix(problem.target, problem.hessian, mask=both, damping=ridge)
    shift = problem.best_bias(done.values) if bias else np.zeros(len(rows))
    shape = (len(weight), int(stays.sum()), *weight.shape[2:])
    return done.values[:, mask].reshape(shape), shift.astype(np.float32)


__all__ = ["refit_channels"]
