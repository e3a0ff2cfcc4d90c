"""Distillation losses in device memory. Native half: ``cpp/tersor/distillation/cuda.h``.

The functions of :mod:`tersor.distillation` with the same arguments and formulas. Nothing waits for
the device: the loss is a device array of shape (), and what the CPU raises as an error (NaN or +inf
among the logits of a row that counts, a label that is no class) makes it NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import ml_dtypes
import numpy as np

from .device_array import Operand, on_device, operand, same_device
from .native import native

_FLOATS = (np.float32, ml_dtypes.bfloat16)


def kd_loss(
    student: Any,
    teacher: Any,
    labels: Any = None,
    *,
    temperature: float = 4.0,
    alpha: float = 0.5,
    label_smoothing: float = 0.0,
    class_weights: Any = None,
    ignore_index: int = -100,
    standardize: bool = False,
    teacher_indices: Any = None,
    inplace: bool = False,
) -> tuple[Any, Any]:
    """Combined distillation loss and its gradient, with one buffer of the logits' size.

    Parameters
    ----------
    student : device array of float32 or bfloat16, shape (rows, classes)
        Logits.
    teacher : device array of float32 or bfloat16, shape (rows, classes) or (rows, k)
        Logits of the teacher; with `teacher_indices` its k largest ones.
    labels : device array of int64, shape (rows,), optional
        Classes, or `ignore_index`. Without labels the loss is ``T**2 * KL``, whatever `alpha`.
    temperature, alpha, label_smoothing, ignore_index, standardize
        As for :func:`tersor.distillation.kd_loss`.
    class_weights : device array of float32, shape (classes,), optional
        Weights of the cross-entropy.
    teacher_indices : device array of int64, shape (rows, k), optional
        Classes of the teacher's logits, distinct in a row.
    inplace : bool, default False
        Write the gradient over the student's logits, which are lost.

    Returns
    -------
    loss : device array of float32, shape ()
    dstudent : device array, shape (rows, classes)
        Of the student's dtype.

    Raises
    ------
    ValueError
        If shapes or devices do not match, or an option is out of range.
    TypeError
        If an argument is no device array of its dtypes.
    """
    op = "kd_loss"
    z, t, y = _logits(op, student, teacher, labels)
    indices = _integers(op, "teacher_indices", teacher_indices, z)
    weights = None
    if class_weights is not None:
        weights = operand(f"{op}: class_weights", class_weights, np.float32)
        same_device(op, z, class_weights=weights)
        if weights.shape != z.shape[1:]:
            raise ValueError(
                f"{op}: class_weights must have shape {z.shape[1:]}, got {weights.shape}"
            )
    _check_rows(op, z, t, indices)

    def run(loss: int, gradient: int) -> None:
        native().kd_loss(
            _at(z, t, y, indices), 0 if weights is None else weights.address, temperature, alpha,
            label_smoothing, ignore_index, standardize, loss, gradient, z.stream,
        )  # fmt: skip

    return _finish(z, student, inplace, run)


def kl_loss(
    student: Any,
    teacher: Any,
    *,
    temperature: float = 4.0,
    standardize: bool = False,
    teacher_indices: Any = None,
    inplace: bool = False,
) -> tuple[Any, Any]:
    """Kullback-Leibler loss alone: ``T**2 * KL(teacher || student)``, mean over rows.

    Parameters
    ----------
    student, teacher, temperature, standardize, teacher_indices, inplace
        As in `kd_loss`.

    Returns
    -------
    loss : device array of float32, shape ()
    dstudent : device array, shape (rows, classes)

    Raises
    ------
    ValueError, TypeError
        As `kd_loss`.
    """
    return kd_loss(
        student,
        teacher,
        temperature=temperature,
        standardize=standardize,
        teacher_indices=teacher_indices,
        inplace=inplace,
    )


def dkd_loss(
    student: Any,
    teacher: Any,
    labels: Any,
    *,
    temperature: float = 4.0,
    alpha: float = 1.0,
    beta: float = 8.0,
    ignore_index: int = -100,
    inplace: bool = False,
) -> tuple[Any, Any]:
    """Decoupled distillation, as :func:`tersor.distillation.dkd_loss`.

    Parameters
    ----------
    student, teacher : device array of float32 or bfloat16, shape (rows, classes)
    labels : device array of int64, shape (rows,)
    temperature, alpha, beta, ignore_index
        As on the CPU.
    inplace : bool, default False
        Write the gradient over the student's logits.

    Returns
    -------
    loss : device array of float32, shape ()
    dstudent : device array, shape (rows, classes)

    Raises
    ------
    ValueError, TypeError
        As `kd_loss`.
    """
    op = "dkd_loss"
    z, t, y = _logits(op, student, teacher, labels)
    if y is None:
        raise TypeError(f"{op}: labels must be a device array of int64, got None")
    _check_rows(op, z, t, None)

    def run(loss: int, gradient: int) -> None:
        native().dkd_loss(
            _at(z, t, y, None), temperature, alpha, beta, ignore_index, loss, gradient, z.stream
        )

    return _finish(z, student, inplace, run)


def jsd_loss(
    student: Any,
    teacher: Any,
    labels: Any = None,
    *,
    temperature: float = 1.0,
    beta: float = 0.5,
    ignore_index: int = -100,
    inplace: bool = False,
) -> tuple[Any, Any]:
    """Generalised Jensen-Shannon divergence, as :func:`tersor.distillation.jsd_loss`.

    Parameters
    ----------
    student, teacher : device array of float32 or bfloat16, shape (rows, classes)
    labels : device array of int64, shape (rows,), optional
        Only to leave out rows with `ignore_index`.
    temperature, beta, ignore_index
        As on the CPU.
    inplace : bool, default False
        Write the gradient over the student's logits.

    Returns
    -------
    loss : device array of float32, shape ()
    dstudent : device array, shape (rows, classes)

    Raises
    ------
    ValueError, TypeError
        As `kd_loss`.
    """
    op = "jsd_loss"
    z, t, y = _logits(op, student, teacher, labels)
    _check_rows(op, z, t, None)

    def run(loss: int, gradient: int) -> None:
        native().jsd_loss(
            _at(z, t, y, None), temperature, beta, ignore_index, loss, gradient, z.stream
        )

    return _finish(z, student, inplace, run)


def feature_loss(student: Any, teacher: Any, *, inplace: bool = False) -> tuple[Any, Any]:
    """Mean squared difference of features, as :func:`tersor.distillation.feature_loss`.

    Parameters
    ----------
    student, teacher : device array of float32 or bfloat16, shape (...)
    inplace : bool, default False
        Write the gradient over the student's features.

    Returns
    -------
    loss : device array of float32, shape ()
    dstudent : device array, shape (...)

    Raises
    ------
    ValueError, TypeError
        As `kd_loss`.
    """
    return _squared_difference("feature_loss", student, teacher, inplace)


def mse_logits_loss(student: Any, teacher: Any, *, inplace: bool = False) -> tuple[Any, Any]:
    """Mean squared difference of logits, as :func:`tersor.distillation.mse_logits_loss`.

    Parameters
    ----------
    student, teacher : device array of float32 or bfloat16, shape (rows, classes)
    inplace : bool, default False
        Write the gradient over the student's logits.

    Returns
    -------
    loss : device array of float32, shape ()
    dstudent : device array, shape (rows, classes)

    Raises
    ------
    ValueError, TypeError
        As `kd_loss`.
    """
    return _squared_difference("mse_logits_loss", student, teacher, inplace)


def attention_loss(
    student: Any, teacher: Any, *, channels_last: bool = False, inplace: bool = False
) -> tuple[Any, Any]:
    """Attention transfer, as :func:`tersor.distillation.attention_loss`.

    Parameters
    ----------
    student, teacher : device array of float32 or bfloat16, shape (samples, channels, ...)
        Equal samples and positions; channels may differ.
    channels_last : bool, default False
        The arrays have shape (samples, ..., channels).
    inplace : bool, default False
        Write the gradient over the student's features.

    Returns
    -------
    loss : device array of float32, shape ()
    dstudent : device array

    Raises
    ------
    ValueError, TypeError
        As `kd_loss`.
    """
    op = "attention_loss"
    x, y = _pair(op, student, teacher)
    axis = len(x.shape) - 1 if channels_last else 1
    if len(x.shape) < 3 or len(x.shape) != len(y.shape):
        raise ValueError(
            f"{op}: student and teacher must have samples, channels and positions, "
            f"got shapes {x.shape} and {y.shape}"
        )
    places = [a.shape[:axis] + a.shape[axis + 1 :] for a in (x, y)]
    if places[0] != places[1]:
        raise ValueError(
            f"{op}: teacher must have the student's samples and positions, "
            f"got {y.shape} for {x.shape}"
        )
    sizes = (x.shape[0], x.shape[axis], y.shape[axis], prod(places[0][1:]))

    def run(loss: int, gradient: int) -> None:
        native().attention_loss(
            x.address, x.is_bfloat16, y.address, y.is_bfloat16, sizes, channels_last, loss,
            gradient, x.stream,
        )  # fmt: skip

    return _finish(x, student, inplace, run)


def relational_loss(
    student: Any,
    teacher: Any,
    *,
    distance: float = 1.0,
    angle: float = 2.0,
    inplace: bool = False,
) -> tuple[Any, Any]:
    """Relational distillation, as :func:`tersor.distillation.relational_loss`.

    Parameters
    ----------
    student, teacher : device array of float32, shape (rows, dimensions)
        Dimensions may differ.
    distance, angle : float
        Weights, as on the CPU.
    inplace : bool, default False
        Write the gradient over the student's embeddings.

    Returns
    -------
    loss : device array of float32, shape ()
    dstudent : device array, shape (rows, dimensions)

    Raises
    ------
    ValueError, TypeError
        As `kd_loss`.
    """
    op = "relational_loss"
    x = operand(f"{op}: student", student, np.float32)
    y = operand(f"{op}: teacher", teacher, np.float32)
    same_device(op, x, teacher=y)
    if len(x.shape) != 2 or len(y.shape) != 2 or x.shape[0] != y.shape[0]:
        raise ValueError(
            f"{op}: student and teacher must have 2 dimensions and equal rows, "
            f"got shapes {x.shape} and {y.shape}"
        )

    def run(loss: int, gradient: int) -> None:
        native().relational_loss(
            x.address, y.address, (*x.shape, y.shape[1]), distance, angle, loss, gradient, x.stream
        )

    return _finish(x, student, inplace, run)


def scale_gradient(gradient: Any, factor: Any) -> None:
    """Multiply a gradient by a number in device memory, in place and without waiting for it.

    Parameters
    ----------
    gradient : device array of float32 or bfloat16, shape (...)
    factor : device array of float32, one element

    Raises
    ------
    ValueError, TypeError
        As `kd_loss`.
    """
    g = operand("scale_gradient: gradient", gradient, *_FLOATS)
    f = operand("scale_gradient: factor", factor, np.float32)
    same_device("scale_gradient", g, factor=f)
    if f.size != 1:
        raise ValueError(f"scale_gradient: factor must have 1 element, got {f.size}")
    with on_device(g.device):
        native().scale_gradient(g.address, g.is_bfloat16, g.size, f.address, g.stream)


def _squared_difference(op: str, student: Any, teacher: Any, inplace: bool) -> tuple[Any, Any]:
    x, y = _pair(op, student, teacher)
    if x.shape != y.shape:
        raise ValueError(f"{op}: teacher must have shape {x.shape}, got {y.shape}")

    def run(loss: int, gradient: int) -> None:
        native().mean_squared_difference(
            x.address, x.is_bfloat16, y.address, y.is_bfloat16, x.size, loss, gradient, x.stream
        )

    return _finish(x, student, inplace, run)


def _pair(op: str, student: Any, teacher: Any) -> tuple[Operand, Operand]:
    x = operand(f"{op}: student", student, *_FLOATS)
    y = operand(f"{op}: teacher", teacher, *_FLOATS)
    same_device(op, x, teacher=y)
    return x, y


def _integers(op: str, name: str, x: Any, student: Operand) -> Operand | None:
    if x is None:
        return None
    out = operand(f"{op}: {name}", x, np.int64)
    same_device(op, student, **{name: out})
    return out


def _logits(
    op: str, student: Any, teacher: Any, labels: Any
) -> tuple[Operand, Operand, Operand | None]:
    z, t = _pair(op, student, teacher)
    if len(z.shape) != 2:
        raise ValueError(f"{op}: student must have 2 dimensions, got shape {z.shape}")
    y = _integers(op, "labels", labels, z)
    if y is not None and y.shape != z.shape[:1]:
        raise ValueError(f"{op}: labels must have shape {z.shape[:1]}, got {y.shape}")
    return z, t, y


def _check_rows(op: str, z: Operand, t: Operand, indices: Operand | None) -> None:
    if indices is None:
        if t.shape != z.shape:
            raise ValueError(f"{op}: teacher must have shape {z.shape}, got {t.shape}")
    elif len(t.shape) != 2 or t.shape[0] != z.shape[0] or indices.shape != t.shape:
        raise ValueError(
            f"{op}: teacher and teacher_indices must have shape ({z.shape[0]}, k), "
            f"got {t.shape} and {indices.shape}"
        )
    elif t.shape[1] > z.shape[1]:
        raise ValueError(
            f"{op}: teacher_indices must be at most {z.shape[1]} in a row, got {t.shape[1]}"
        )


def _at(z: Operand, t: Operand, labels: Operand | None, indices: Operand | None) -> tuple[int, ...]:
    return (
        z.address,
        t.address,
        0 if indices is None else indices.address,
        0 if labels is None else labels.address,
        *z.shape,
        t.shape[1],
        int(z.is_bfloat16),
        int(t.is_bfloat16),
    )


def _finish(
    z: Operand, student: Any, inplace: bool, run: Callable[[int, int], None]
) -> tuple[Any, Any]:
    with on_device(z.device):
        loss, loss_address = z.empty((), np.float32)
        if inplace:
            gradient, address = student, z.address
        else:
            gradient, address = z.empty(z.shape, z.dtype)
        run(loss_address, address)
    return loss, gradient


__all__ = [
    "attention_loss",
    "dkd_loss",
    "feature_loss",
    "jsd_loss",
    "kd_loss",
    "kl_loss",
    "mse_logits_loss",
    "relational_loss",
    "scale_gradient",
]
