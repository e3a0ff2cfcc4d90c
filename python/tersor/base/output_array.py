"""Arrays that a caller gives for results."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike


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


__all__ = ["check_output_array"]
