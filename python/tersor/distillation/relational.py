"""Relational knowledge distillation. Native half: ``cpp/tersor/distillation/relational.h``."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _core
from .arrays import address, gradient_array


def relational_loss(
    student: ArrayLike,
    teacher: ArrayLike,
    *,
    distance: float = 1.0,
    angle: float = 2.0,
    out: NDArray[np.float32] | None = None,
    inplace: bool = False,
) -> tuple[float, NDArray[np.float32]]:
    """Compare the geometry of two batches of embeddings: distances of pairs, angles of triples.

    Parameters
    ----------
    student, teacher : array-like of float32, shape (rows, dimensions)
        Embeddings of the same samples; dimensions may differ. Other dtypes are converted.
    distance : float, default 1.0
        Weight of the distances, each in units of the mean distance of its batch, >= 0.
    angle : float, default 2.0
        Weight of the cosines of all angles, >= 0; work grows with rows**3.
    out : ndarray of float32, shape (rows, dimensions), optional
        C-contiguous array for the gradient.
    inplace : bool, default False
        Write the gradient over the student's embeddings, which are lost.

    Returns
    -------
    loss : float
    dstudent : ndarray of float32, shape (rows, dimensions)
        Gradient of the loss with respect to `student`.

    Raises
    ------
    ValueError
        If shapes do not match, a weight is negative or a value is not finite.
    TypeError
        If an array has a wrong dtype.

    References
    ----------
    .. [1] Park et al., "Relational Knowledge Distillation", CVPR 2019, eq. (5)-(10), as means.

    Examples
    --------
    >>> import numpy as np
    >>> from tersor.distillation import relational_loss
    >>> x = np.random.default_rng(0).normal(size=(8, 5))
    >>> loss, _ = relational_loss(x, 2 * x + 1)  # neither scale nor offset matters
    >>> loss < 1e-12
    True
    """
    if inplace and not (isinstance(student, np.ndarray) and student.dtype == np.float32):
        raise TypeError("relational_loss: student must be an ndarray of float32 with inplace")
    x = np.asarray(student, np.float32, order="C")
    y = np.asarray(teacher, np.float32, order="C")
    if inplace and not (x is student and x.flags.writeable):
        raise TypeError("relational_loss: student must be C-contiguous and writeable with inplace")
    if x.ndim != 2 or y.ndim != 2 or len(x) != len(y):
        raise ValueError(
            "relational_loss: student and teacher must have shape (rows, dimensions) with equal "
            f"rows, got {x.shape} and {y.shape}"
        )
    gradient = gradient_array("relational_loss", x, out, inplace)
    loss: float = _core.distillation.relational_loss_at(
        address(x), address(y), len(x), x.shape[1], y.shape[1], distance, angle, address(gradient)
    )
    return loss, gradient


__all__ = ["relational_loss"]
