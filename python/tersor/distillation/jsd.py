"""Generalised Jensen-Shannon divergence. Native half: ``cpp/tersor/distillation/jsd.h``."""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike, NDArray

from .. import _core
from .arrays import address, as_float, as_integers, check_logits, gradient_array, types_of


def jsd_loss(
    student: ArrayLike,
    teacher: ArrayLike,
    labels: ArrayLike | None = None,
    *,
    beta: float = 0.5,
    temperature: float = 1.0,
    ignore_index: int = -100,
    out: NDArray[Any] | None = None,
    inplace: bool = False,
) -> tuple[float, NDArray[Any]]:
    """Generalised Jensen-Shannon divergence between teacher and student.

    ``T**2 * (beta * KL(q || m) + (1 - beta) * KL(p || m))`` with ``m = beta * q + (1 - beta) * p``,
    student ``p`` and teacher ``q``, mean over rows. `beta` = 0 is ``T**2 * KL(q || p)`` and `beta`
    = 1 is ``T**2 * KL(p || q)``, the limits after division by ``beta`` and ``1 - beta``.

    Parameters
    ----------
    student, teacher : array-like of float32 or bfloat16, shape (rows, classes)
        Logits. C-contiguous arrays are read in place.
    labels : array-like of int64, shape (rows,), optional
        Only to leave out rows: those with `ignore_index`.
    beta : float, default 0.5
        In [0, 1].
    temperature : float, default 1.0
        Finite and > 0.
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
        If shapes do not match, an option is out of range, or a logit is NaN or +inf.
    TypeError
        If an array has a wrong dtype.

    References
    ----------
    .. [1] Agarwal et al., "On-Policy Distillation of Language Models", ICLR 2024, eq. (1).

    Examples
    --------
    >>> import numpy as np
    >>> from tersor.distillation import jsd_loss
    >>> student = np.array([[2.0, 0.0, 0.0]], np.float32)
    >>> loss, dstudent = jsd_loss(student, [[0.0, 2.0, 0.0]])
    >>> round(loss, 4)
    0.2929
    """
    z = as_float("jsd_loss", student, inplace)
    t = as_float("jsd_loss", teacher)
    y = None if labels is None else as_integers("jsd_loss", "labels", labels)
    check_logits("jsd_loss", z, t, y)
    gradient = gradient_array("jsd_loss", z, out, inplace)
    loss: float = _core.distillation.jsd_loss_at(
        address(z),
        address(t),
        z.shape[0],
        z.shape[1],
        types_of(z, t),
        address(y),
        temperature,
        beta,
        ignore_index,
        address(gradient),
    )
    return loss, gradient


__all__ = ["jsd_loss"]
