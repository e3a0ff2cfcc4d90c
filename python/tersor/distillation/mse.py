"""Mean squared differences of logits and of features.

Native half: ``cpp/tersor/distillation/mse.h``.
"""

from __future__ import annotations

from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _core
from .arrays import address, as_float, gradient_array, types_of


def mse_logits_loss(
    student: ArrayLike,
    teacher: ArrayLike,
    *,
    out: NDArray[Any] | None = None,
    inplace: bool = False,
) -> tuple[float, NDArray[Any]]:
    """Mean of the squared differences of logits, over rows and classes.

    Parameters
    ----------
    student, teacher : array-like of float32 or bfloat16, shape (rows, classes)
        Logits. C-contiguous arrays are read in place.
    out : ndarray, shape (rows, classes), optional
        C-contiguous array of the student's dtype for the gradient.
    inplace : bool, default False
        Write the gradient over the student's logits, which are lost.

    Returns
    -------
    loss : float
    dstudent : ndarray, shape (rows, classes)
        ``2 * (student - teacher) / size``, in the student's dtype.

    Raises
    ------
    ValueError
        If shapes do not match or a logit is not finite.
    TypeError
        If an array has a wrong dtype.

    References
    ----------
    .. [1] Kim et al., "Comparing Kullback-Leibler Divergence and Mean Squared Error Loss in
       Knowledge Distillation", IJCAI 2021.

    Examples
    --------
    >>> from tersor.distillation import mse_logits_loss
    >>> loss, dstudent = mse_logits_loss([[1.0, 2.0]], [[0.0, 4.0]])
    >>> loss, dstudent.tolist()
    (2.5, [[1.0, -2.0]])
    """
    return _mean_squared("mse_logits_loss", student, teacher, out, inplace)


@overload
def feature_loss(
    student: ArrayLike,
    teacher: ArrayLike,
    *,
    projection: None = None,
    axis: int = 1,
    out: NDArray[Any] | None = None,
    inplace: bool = False,
) -> tuple[float, NDArray[Any]]: ...


@overload
def feature_loss(
    student: ArrayLike,
    teacher: ArrayLike,
    *,
    projection: ArrayLike,
    axis: int = 1,
) -> tuple[float, NDArray[Any], NDArray[np.float32]]: ...


def feature_loss(
    student: ArrayLike,
    teacher: ArrayLike,
    *,
    projection: ArrayLike | None = None,
    axis: int = 1,
    out: NDArray[Any] | None = None,
    inplace: bool = False,
) -> tuple[Any, ...]:
    """Mean of the squared differences of features: hints (FitNets) with an optional projection.

    Parameters
    ----------
    student, teacher : array-like of float32 or bfloat16
        Features of one layer, of equal shape but for the channels where there is a `projection`.
    projection : array-like of float32, shape (teacher channels, student channels), optional
        Linear map of the student's channels (a 1x1 convolution), applied along `axis` before the
        comparison. The products run in NumPy's BLAS.
    axis : int, default 1
        Axis of the channels.
    out : ndarray, optional
        C-contiguous array of the student's shape and dtype for the gradient; not with `projection`.
    inplace : bool, default False
        Write the gradient over the student's features; not with `projection`.

    Returns
    -------
    loss : float
        Mean over all elements of ``(projection @ student - teacher)**2``.
    dstudent : ndarray
        Gradient with respect to `student`, of its shape and dtype.
    dprojection : ndarray of float32, shape (teacher channels, student channels)
        Gradient with respect to `projection`, if there is one.

    Raises
    ------
    ValueError
        If shapes do not match or a feature is not finite.
    TypeError
        If an array has a wrong dtype.

    References
    ----------
    .. [1] Romero et al., "FitNets: Hints for Thin Deep Nets", ICLR 2015, eq. (3) without its 1/2.

    Examples
    --------
    >>> import numpy as np
    >>> from tersor.distillation import feature_loss
    >>> student, teacher = np.ones((4, 2, 8, 8)), np.zeros((4, 3, 8, 8))
    >>> loss, dstudent, dprojection = feature_loss(student, teacher, projection=np.ones((3, 2)))
    >>> loss, dstudent.shape, dprojection.shape
    (4.0, (4, 2, 8, 8), (3, 2))
    """
    if projection is None:
        return _mean_squared("feature_loss", student, teacher, out, inplace)
    if out is not None or inplace:
        raise ValueError("feature_loss: out and inplace must not be used with projection")
    x = as_float("feature_loss", student)
    weights = np.ascontiguousarray(projection, np.float32)
    if not -x.ndim <= axis < x.ndim:
        raise ValueError(f"feature_loss: axis must be in [{-x.ndim}, {x.ndim}), got {axis}")
    if weights.ndim != 2 or weights.shape[1] != x.shape[axis]:
        raise ValueError(
            f"feature_loss: projection must have shape (teacher channels, {x.shape[axis]}), "
            f"got {weights.shape}"
        )
    columns = np.moveaxis(x.astype(np.float32, copy=False), axis, 0)
    flat = np.ascontiguousarray(columns).reshape(columns.shape[0], -1)
    target = np.moveaxis(as_float("feature_loss", teacher), axis, 0)
    expected = (weights.shape[0], *columns.shape[1:])
    if target.shape != expected:
        raise ValueError(
            f"feature_loss: teacher must have {weights.shape[0]} channels and otherwise the "
            f"student's shape {x.shape}, got {np.shape(teacher)}"
        )
    loss, d = _mean_squared(
        "feature_loss", weights @ flat, target.reshape(weights.shape[0], -1), None, False
    )
    dstudent = np.moveaxis((weights.T @ d).reshape(columns.shape), 0, axis)
    return loss, np.ascontiguousarray(dstudent.astype(x.dtype, copy=False)), d @ flat.T


def _mean_squared(
    operation: str,
    student: ArrayLike,
    teacher: ArrayLike,
    out: NDArray[Any] | None,
    inplace: bool,
) -> tuple[float, NDArray[Any]]:
    x = as_float(operation, student, inplace)
    y = as_float(operation, teacher)
    if x.shape != y.shape:
        raise ValueError(f"{operation}: teacher must have shape {x.shape}, got {y.shape}")
    gradient = gradient_array(operation, x, out, inplace)
    loss: float = _core.distillation.mean_squared_difference_at(
        operation, address(x), address(y), x.size, types_of(x, y), address(gradient)
    )
    return loss, gradient


__all__ = ["feature_loss", "mse_logits_loss"]
