"""Attention transfer. Native half: ``cpp/tersor/distillation/attention.h``."""

from __future__ import annotations

from math import prod
from typing import Any

from numpy.typing import ArrayLike, NDArray

from .. import _core
from .arrays import address, as_float, gradient_array, types_of


def attention_loss(
    student: ArrayLike,
    teacher: ArrayLike,
    *,
    channels_last: bool = False,
    out: NDArray[Any] | None = None,
    inplace: bool = False,
) -> tuple[float, NDArray[Any]]:
    """Attention transfer: compare where two layers are active, whatever their channels.

    The attention map of a sample is the sum of squares over the channels, normalised to length 1
    over the positions. The loss is the mean over samples and positions of the squared differences
    of the maps.

    Parameters
    ----------
    student, teacher : array-like of float32 or bfloat16, shape (samples, channels, ...)
        Features with equal samples and positions; channels may differ.
    channels_last : bool, default False
        The arrays have shape (samples, ..., channels).
    out : ndarray, optional
        C-contiguous array of the student's shape and dtype for the gradient.
    inplace : bool, default False
        Write the gradient over the student's features, which are lost, also after an error.

    Returns
    -------
    loss : float
    dstudent : ndarray
        Gradient of the loss with respect to `student`, of its shape and dtype.

    Raises
    ------
    ValueError
        If shapes do not match or a feature is not finite.
    TypeError
        If an array has a wrong dtype.

    References
    ----------
    .. [1] Zagoruyko and Komodakis, "Paying More Attention to Attention", ICLR 2017, eq. (2), as a
       mean.

    Examples
    --------
    >>> import numpy as np
    >>> from tersor.distillation import attention_loss
    >>> student, teacher = np.ones((2, 4, 8, 8)), np.ones((2, 16, 8, 8))
    >>> attention_loss(student, teacher)[0]
    0.0
    """
    x = as_float("attention_loss", student, inplace)
    y = as_float("attention_loss", teacher)
    if x.ndim < 3 or y.ndim != x.ndim:
        raise ValueError(
            "attention_loss: student and teacher must have samples, channels and positions, "
            f"got shapes {x.shape} and {y.shape}"
        )
    axis = x.ndim - 1 if channels_last else 1
    x_positions, y_positions = (s[:axis] + s[axis + 1 :] for s in (x.shape, y.shape))
    if x_positions != y_positions:
        raise ValueError(
            "attention_loss: teacher must have the student's samples and positions, "
            f"got {y.shape} for {x.shape}"
        )
    gradient = gradient_array("attention_loss", x, out, inplace)
    loss: float = _core.distillation.attention_loss_at(
        address(x),
        address(y),
        x.shape[0],
        x.shape[axis],
        y.shape[axis],
        prod(x_positions[1:]),
        channels_last,
        types_of(x, y),
        address(gradient),
    )
    return loss, gradient


__all__ = ["attention_loss"]
