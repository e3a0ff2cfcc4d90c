"""Rounding of layers that were pruned before."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..reconstruction import NormalEquations, RoundedMatrix, prune_matrix


def round_kept(
    problem: NormalEquations,
    kept: NDArray[np.bool_],
    grid: Any,
    least: NDArray[np.float64],
    threads: int,
) -> RoundedMatrix:
    """Round the kept weights by what samples show; the others stay exactly 0.

    Parameters
    ----------
    problem : NormalEquations
        Of the layer, or of one of its groups.
    kept : ndarray of bool, shape (outputs, columns)
    grid : WeightGrid
    least : ndarray, shape (outputs,)
        That scales must have.
    threads : int

    Returns
    -------
    RoundedMatrix
    """
    done = prune_matrix(
        problem.target,
        problem.hessian,
        mask=kept,
        bits=grid.bits,
        group_size=grid.group_size or None,
        narrow=grid.narrow,
        one_scale=grid.one_scale,
        scale_dtype="float16" if grid.half_scales else "float32",
        least_scale=least,
        threads=threads,
    )
    assert done.rounded is not None
    return done.rounded


__all__ = ["round_kept"]
