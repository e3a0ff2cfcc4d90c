"""Arrays that a caller gives for results."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray


def check_output_array(operation: str, out: Any, shape: tuple[int, ...], dtype: DTypeLike) -> None:
    """Refuse an `out` argument whose memory cannot be written as it is.

    Parameters
    ----------
    operation : str
        What messages begin with.
    out : object
        What the caller gave.
    shape : tuple of int
        That it must have.
    dtype : dtype-like
        That it must have.

    Raises
    ------
    TypeError
        If it is no array of `dtype`.
    ValueError
        If its shape differs, or it is not C-contiguous and writeable.
    """
    if not isinstance(out, np.ndarray) or out.dtype != dtype:
        raise TypeError(f"{operation}: out must be an ndarray of {np.dtype(dtype)}")
    if out.shape != shape or not (out.flags.c_contiguous and out.flags.writeable):
        raise ValueError(
            f"{operation}: out must be C-contiguous, writeable and of shape {shape}, "
            f"got shape {out.shape}"
        )


def check_apart(
    operation: str, name: str, x: NDArray[Any], out: NDArray[Any], *, in_place: bool = False
) -> None:
    """Refuse an `out` argument that shares memory with an input.

    Parameters
    ----------
    operation : str
        What messages begin with.
    name : str
        Of the input.
    x, out : ndarray
        C-contiguous.
    in_place : bool, default False
        Whether the very same bytes are fine.

    Raises
    ------
    ValueError
        If they share bytes.
    """
    if not np.may_share_memory(x, out):
        return
    same = x.__array_interface__["data"] == out.__array_interface__["data"]
    if not (in_place and same and x.nbytes == out.nbytes):
        unless = f" unless it is {name} itself" if in_place else ""
        raise ValueError(
            f"{operation}: out must not overlap {name} in memory{unless}, "
            "got arrays that share bytes"
        )


__all__ = ["check_apart", "check_output_array"]
