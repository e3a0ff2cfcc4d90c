"""Arrays at the doors of this room: what is taken as it is, what is converted, where results go.

Native half: ``cpp/tersor/distillation/logits.h``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _core
from ..base.output_array import check_output_array


def as_float(operation: str, x: ArrayLike, keep: bool = False) -> NDArray[Any]:
    """Take float32 and bfloat16 arrays as they are and convert anything else to float32.

    Parameters
    ----------
    operation : str
        Named in errors.
    x : array-like
    keep : bool
        The gradient goes to the memory of `x`: an array that would be converted is an error.

    Returns
    -------
    ndarray of float32 or bfloat16, C-contiguous
    """
    if type(x) is np.ndarray and x.flags.c_contiguous and x.dtype.char == "f" and x.dtype.isnative:
        return x
    array = np.asarray(x)
    good = array.dtype.isnative and array.dtype.name in ("float32", "bfloat16")
    if keep and not (array is x and good and array.flags.c_contiguous and array.flags.writeable):
        raise TypeError(
            f"{operation}: student must be a writeable C-contiguous ndarray of float32 or bfloat16 "
            f"with inplace, got {type(x).__name__} of {array.dtype}"
        )
    return np.ascontiguousarray(array if good else array.astype(np.float32))


def as_integers(operation: str, name: str, x: ArrayLike) -> NDArray[np.int64]:
    """Take int64 arrays as they are and convert other integers."""
    if type(x) is np.ndarray and x.dtype == np.int64 and x.flags.c_contiguous:
        return x
    array = np.asarray(x)
    if array.size and not np.issubdtype(array.dtype, np.integer):
        raise TypeError(f"{operation}: {name} must be integers, got {array.dtype}")
    if array.size and array.dtype.kind == "u" and array.max() > np.iinfo(np.int64).max:
        raise ValueError(f"{operation}: {name} must be below 2**63, got {array.max()}")
    return np.ascontiguousarray(array, np.int64)


def gradient_array(
    operation: str, student: NDArray[Any], out: NDArray[Any] | None, inplace: bool
) -> NDArray[Any]:
    """Choose the array of the gradient: a new one, `out` after checks, or the student's own."""
    if inplace:
        if out is not None:
            raise ValueError(f"{operation}: out must be None with inplace, got an array")
        return student
    if out is None:
        empty: NDArray[Any] = _core.distillation.empty(student.dtype, student.shape)
        return empty
    check_output_array(operation, out, student.shape, student.dtype)
    return out


def address(x: NDArray[Any] | None) -> int:
    """Address of the first element; 0 for None."""
    return 0 if x is None else int(x.__array_interface__["data"][0])


def types_of(student: NDArray[Any], teacher: NDArray[Any]) -> int:
    """Bit 0: the student is bfloat16; bit 1: the teacher is."""
    return (student.dtype != np.float32) + 2 * (teacher.dtype != np.float32)


def check_logits(
    operation: str, student: NDArray[Any], teacher: NDArray[Any], labels: NDArray[Any] | None
) -> None:
    """Two matrices of one shape, and a label for each row."""
    if student.ndim != 2:
        raise ValueError(f"{operation}: student must have 2 dimensions, got shape {student.shape}")
    if teacher.shape != student.shape:
        raise ValueError(
            f"{operation}: teacher must have shape {student.shape}, got {teacher.shape}"
        )
    if labels is not None and labels.shape != student.shape[:1]:
        raise ValueError(
            f"{operation}: labels must have shape {student.shape[:1]}, got {labels.shape}"
        )


__all__ = [
    "address",
    "as_float",
    "as_integers",
    "check_logits",
    "gradient_array",
    "types_of",
]
