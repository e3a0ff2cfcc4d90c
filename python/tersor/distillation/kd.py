"""Knowledge distillation from logits. Native half: ``cpp/tersor/distillation/kd.h``."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _core
from .arrays import as_float, as_integers

_KD = _core.distillation.kd_loss


def kd_loss(
    student: ArrayLike,
    teacher: ArrayLike,
    labels: ArrayLike | None = None,
    *,
    temperature: float = 4.0,
    alpha: float = 0.5,
    label_smoothing: float = 0.0,
    class_weights: ArrayLike | None = None,
    ignore_index: int = -100,
    standardize: bool = False,
    teacher_indices: ArrayLike | None = None,
    out: NDArray[Any] | None = None,
    inplace: bool = False,
) -> tuple[float, NDArray[Any]]:
    """Combined distillation loss and its gradient, in one pass over the logits.

    ``alpha * CE(student, labels) + (1 - alpha) * T**2 * KL(softmax(teacher / T) || softmax(student
    / T))`` with ``T = temperature``, as a mean over rows. Rows whose label is `ignore_index` leave
    both terms and the divisor. If no row is left, loss and gradient are 0.

    Parameters
    ----------
    student : array-like of float32 or bfloat16, shape (rows, classes)
        Logits. C-contiguous arrays are read in place; other dtypes are converted to float32. -inf
        is a class of probability 0.
    teacher : array-like of float32 or bfloat16, shape (rows, classes) or (rows, k)
        Logits of the teacher; with `teacher_indices` its k largest ones.
    labels : array-like of int64, shape (rows,), optional
        Classes, or `ignore_index`. Without labels the loss is ``T**2 * KL``, whatever `alpha`.
    temperature : float, default 4.0
        Softens both distributions of the KL term. Finite and > 0. Above 32 rows are computed in
        float64, more slowly; below, float32 leaves the loss an error of up to 3e-7 * T**2.
    alpha : float, default 0.5
        Share of the cross-entropy, in [0, 1].
    label_smoothing : float, default 0.0
        Share of the label's probability spread over all classes, in [0, 1).
    class_weights : array-like of float32, shape (classes,), optional
        Weights of the cross-entropy, >= 0; it is then a mean weighted by those of the labels, as in
        PyTorch.
    ignore_index : int, default -100
        Label of rows that do not count.
    standardize : bool, default False
        Let the KL term see ``(x - mean) / std`` of each row of logits [2]_. Not with
        `teacher_indices`.
    teacher_indices : array-like of int64, shape (rows, k), optional
        Classes of the teacher's saved logits, distinct in a row. Its distribution is the softmax
        over these classes, 0 elsewhere.
    out : ndarray, shape (rows, classes), optional
        C-contiguous array of the student's dtype for the gradient.
    inplace : bool, default False
        Write the gradient over the student's logits, which are lost, also after an error.

    Returns
    -------
    loss : float
    dstudent : ndarray, shape (rows, classes)
        Gradient of the loss with respect to `student`, in the student's dtype: float32 or bfloat16.

    Raises
    ------
    ValueError
        If shapes do not match, an option is out of range, a label or index is no class, or a logit
        of a row that counts is NaN or +inf.
    TypeError
        If `out` has another dtype, or `student` with `inplace` is no array of float32 or bfloat16.

    References
    ----------
    .. [1] Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015.
    .. [2] Sun et al., "Logit Standardization in Knowledge Distillation", CVPR 2024.

    Examples
    --------
    >>> import numpy as np
    >>> from tersor.distillation import kd_loss
    >>> student = np.array([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0]], np.float32)
    >>> teacher = np.array([[5.0, 1.0, 0.0], [0.0, 4.0, 3.0]], np.float32)
    >>> loss, dstudent = kd_loss(student, teacher, [0, 1], temperature=2.0, alpha=0.5)
    >>> round(loss, 4), dstudent.shape
    (0.463, (2, 3))
    """
    student = as_float("kd_loss", student, inplace)
    teacher = as_float("kd_loss", teacher)
    if labels is not None:
        labels = as_integers("kd_loss", "labels", labels)
    if teacher_indices is not None:
        teacher_indices = as_integers("kd_loss", "teacher_indices", teacher_indices)
    if class_weights is not None:
        class_weights = np.ascontiguousarray(class_weights, np.float32)
    return cast(
        "tuple[float, NDArray[Any]]",
        _KD(
            student,
            teacher,
            labels,
            teacher_indices,
            class_weights,
            temperature,
            alpha,
            label_smoothing,
            ignore_index,
            standardize,
            out,
            inplace,
        ),
    )


def kl_loss(
    student: ArrayLike,
    teacher: ArrayLike,
    *,
    temperature: float = 4.0,
    standardize: bool = False,
    teacher_indices: ArrayLike | None = None,
    out: NDArray[Any] | None = None,
    inplace: bool = False,
) -> tuple[float, NDArray[Any]]:
    """Kullback-Leibler loss alone: ``T**2 * KL(teacher || student)``, mean over rows.

    Parameters
    ----------
    student, teacher, temperature, standardize, teacher_indices, out, inplace
        As in `kd_loss`.

    Returns
    -------
    loss : float
    dstudent : ndarray, shape (rows, classes)
        Gradient of the loss with respect to `student`, in the student's dtype.

    Raises
    ------
    ValueError, TypeError
        As `kd_loss`.

    Examples
    --------
    >>> import numpy as np
    >>> from tersor.distillation import kl_loss
    >>> x = np.array([[2.0, 0.0, 0.0]], np.float32)
    >>> loss, dstudent = kl_loss(x, x)
    >>> abs(loss) < 1e-6, dstudent.shape
    (True, (1, 3))
    """
    return kd_loss(
        student,
        teacher,
        temperature=temperature,
        standardize=standardize,
        teacher_indices=teacher_indices,
        out=out,
        inplace=inplace,
    )


__all__ = ["kd_loss", "kl_loss"]
