"""Decoupled knowledge distillation. Native half: ``cpp/tersor/distillation/dkd.h``."""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike, NDArray

from .. import _core
from .arrays import address, as_float, as_integers, check_logits, gradient_array, types_of


def dkd_loss(
    student: ArrayLike,
    teacher: ArrayLike,
    labels: ArrayLike,
    *,
    temperature: float = 4.0,
    alpha: float = 1.0,
    beta: float = 8.0,
    ignore_index: int = -100,
    out: NDArray[Any] | None = None,
    inplace: bool = False,
) -> tuple[float, NDArray[Any]]:
    """Decoupled distillation: what the teacher knows of the label, and of all other classes.

    ``T**2 * (alpha * TCKD + beta * NCKD)``, mean over rows: TCKD compares the masses of the label
    and of the others, NCKD the distributions over the others. The usual cross-entropy is not in it;
    add ``kd_loss(..., alpha=1)``.

    Parameters
    ----------
    student, teacher : array-like of float32 or bfloat16, shape (rows, classes)
        Logits, at least 2 classes. C-contiguous arrays are read in place.
    labels : array-like of int64, shape (rows,)
        Classes, or `ignore_index`.
    temperature : float, default 4.0
        Finite and > 0.
    alpha, beta : float, default 1.0 and 8.0
        Weights of the two parts, >= 0.
    ignore_index : int, default -100
        Label of rows that do not count.
    out : ndarray, shape (rows, classes), optional
        C-contiguous array of the student's dtype for the gradient.
    inplace : bool, default False
        Write the gradient over the student's logits, which are lost, also after an error.

    Returns
    -------
    loss : float
    dstudent : ndarray, shape (rows, classes)
        Gradient of the loss with respect to `student`, in the student's dtype.

    Raises
    ------
    ValueError
        If shapes do not match, an option is out of range, a label is no class, or a logit is NaN
        or +inf.
    TypeError
        If an array has a wrong dtype.

    References
    ----------
    .. [1] Zhao et al., "Decoupled Knowledge Distillation", CVPR 2022, eq. (7).

    Examples
    --------
    >>> import numpy as np
    >>> from tersor.distillation import dkd_loss
    >>> student = np.array([[2.0, 0.0, 0.0]], np.float32)
    >>> loss, dstudent = dkd_loss(student, [[5.0, 1.0, 0.0]], [0])
    >>> round(loss, 3)
    1.741
    """
    z = as_float("dkd_loss", student, inplace)
    t = as_float("dkd_loss", teacher)
    y = as_integers("dkd_loss", "labels", labels)
    check_logits("dkd_loss", z, t, y)
    gradient = gradient_array("dkd_loss", z, out, inplace)
    loss: float = _core.distillation.dkd_loss_at(
        address(z),
        address(t),
        z.shape[0],
        z.shape[1],
        types_of(z, t),
        address(y),
        temperature,
        alpha,
        beta,
        ignore_index,
        address(gradient),
    )
    return loss, gradient


__all__ = ["dkd_loss"]
