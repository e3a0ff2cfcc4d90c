"""Second-order pruning. Native half: ``cpp/tersor/reconstruction/pruning.h``."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _core
from .rounding import RoundedMatrix, least_scales


@dataclass(frozen=True)
class PrunedMatrix:
    """Mask and weights of a pruned matrix.

    Attributes
    ----------
    mask : ndarray of bool, shape (rows, columns)
        True where kept.
    values : ndarray of float32, shape (rows, columns)
        Exactly 0 where dropped.
    error : float
        ``trace((w - values) @ hessian @ (w - values).T)``.
    masked_error : float
        The same of the mask without an update of the weights.
    rounded : RoundedMatrix or None
        Codes and scales that `values` stand for; code 0 where dropped.
    """

    mask: NDArray[np.bool_]
    values: NDArray[np.float32]
    error: float
    masked_error: float
    rounded: RoundedMatrix | None = None


def prune_matrix(
    w: ArrayLike,
    hessian: ArrayLike,
    sparsity: float = 0.5,
    *,
    n_m: tuple[int, int] | None = None,
    block: tuple[int, int] = (1, 1),
    per_row: bool = False,
    mask: ArrayLike | None = None,
    bits: int | None = None,
    group_size: int | None = None,
    narrow: bool = False,
    one_scale: bool = False,
    scale_dtype: str = "float16",
    least_scale: ArrayLike | None = None,
    damping: float = 1e-3,
    swaps: int = 100,
    threads: int = 0,
) -> PrunedMatrix:
    """Drop weights so that the output of their layer changes least.

    Weights go one after another, or block after block, by Optimal Brain Surgeon [1]_, exactly for
    every row [2]_: each time the one that costs least when all others make it good. Kept and
    dropped weights then change places while that helps, and the kept ones are refitted by least
    squares. With `bits`, they are rounded as by `round_matrix`, where only kept weights make
    rounding good.

    Parameters
    ----------
    w : array-like, shape (rows, columns)
        Weights, one row per output; finite.
    hessian : array-like, shape (columns, columns)
        Symmetric, positive semidefinite: `Moments.hessian` of the inputs, or a `NormalEquations`'.
    sparsity : float, default 0.5
        Share of weights, or of blocks, to drop from the whole matrix, in [0, 1].
    n_m : (int, int), optional
        Instead: of every m consecutive weights (or blocks) of a row, n stay.
    block : (int, int), default (1, 1)
        Rows and columns that go together; short at the ends. ``(rows, kh * kw)`` are the input
        channels of a convolution.
    per_row : bool, default False
        The same number from every row (of blocks) instead of the cheapest of all.
    mask : array-like of bool, shape (rows, columns), optional
        Keep exactly these and only refit; `sparsity`, `n_m` and `block` then mean nothing.
    bits : int, optional
        Width of codes for the kept weights, in [2, 8].
    group_size, narrow, one_scale, scale_dtype, least_scale
        Of the codes, as for `round_matrix`. Groups count dropped weights too.
    damping : float, default 1e-3
        Added to the diagonal of `hessian`, as a share of its mean, in [0, 1].
    swaps : int, default 100
        Most exchanges per row, for single weights; 0 leaves the greedy choice.
    threads : int, default 0
        0 follows :func:`tersor.set_threads`. Results do not depend on it.

    Returns
    -------
    PrunedMatrix

    Raises
    ------
    ValueError
        If a shape does not fit, a value is not finite, or an option is out of range.
    UnsupportedError
        If tersor was built without Eigen.

    References
    ----------
    .. [1] Hassibi and Stork, "Second Order Derivatives for Network Pruning: Optimal Brain Surgeon",
       NeurIPS 1992.
    .. [2] Frantar and Alistarh, "Optimal Brain Compression: A Framework for Accurate Post-Training
       Quantization and Pruning", NeurIPS 2022.

    Examples
    --------
    >>> import numpy as np
    >>> from tersor.reconstruction import prune_matrix
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(500, 8)) @ rng.normal(size=(8, 8))
    >>> done = prune_matrix(rng.normal(size=(4, 8)), x.T @ x / 500, 0.5)
    >>> int(done.mask.sum()), bool(done.error < done.masked_error)
    (16, True)
    """
    if scale_dtype not in ("float16", "float32"):
        raise ValueError(
            f"prune_matrix: scale_dtype must be float16 or float32, got {scale_dtype!r}"
        )
    if group_size is not None and group_size < 1:
        raise ValueError(f"prune_matrix: group_size must be at least 1, got {group_size}")
    options = _options("prune_matrix", sparsity, n_m, block, per_row, damping, swaps, threads)
    rounding = None
    if bits is not None:
        rounding = _core.reconstruction.RoundingOptions(
            bits,
            narrow,
            group_size or 0,
            one_scale,
            scale_dtype == "float16",
            threads,
            least_scales(least_scale),
        )
    kept, values, error, masked_error, codes, scale = _core.reconstruction.prune_matrix(
        np.asarray(w, np.float64, order="C"),
        np.asarray(hessian, np.float64, order="C"),
        options,
        rounding,
        None if mask is None else np.asarray(mask, np.bool_, order="C"),
    )
    rounded = None
    if bits is not None:
        rounded = RoundedMatrix(codes, scale, bits, narrow, group_size, error, masked_error)
    return PrunedMatrix(kept, values, error, masked_error, rounded)


def removal_curve(
    w: ArrayLike,
    hessian: ArrayLike,
    *,
    n_m: tuple[int, int] | None = None,
    block: tuple[int, int] = (1, 1),
    damping: float = 1e-3,
    threads: int = 0,
) -> NDArray[np.float64]:
    """Return what the output of a layer loses as its weights go, one after another.

    Parameters
    ----------
    w, hessian, n_m, block, damping, threads
        As for `prune_matrix`.

    Returns
    -------
    ndarray of float64, shape (weights or blocks + 1,)
        Element k: the error after the k removals that cost least, with the others refitted; 0 for
        none. With `n_m`, up to the removals that it asks for.

    Raises
    ------
    ValueError, UnsupportedError
        As `prune_matrix`.

    Examples
    --------
    >>> import numpy as np
    >>> removal_curve([[3.0, 1.0, 2.0]], np.eye(3), damping=0).round(6)
    array([ 0.,  1.,  5., 14.])
    """
    options = _options("removal_curve", 0.0, n_m, block, False, damping, 0, threads)
    return np.asarray(
        _core.reconstruction.removal_curve(
            np.asarray(w, np.float64, order="C"),
            np.asarray(hessian, np.float64, order="C"),
            options,
        )
    )


def _options(
    operation: str,
    sparsity: float,
    n_m: tuple[int, int] | None,
    block: tuple[int, int],
    per_row: bool,
    damping: float,
    swaps: int,
    threads: int,
) -> _core.reconstruction.PruningOptions:
    n, m = n_m or (0, 0)
    if n_m is not None and not (m >= 1 and 0 <= n <= m):
        raise ValueError(f"{operation}: n_m must be 0 <= n <= m with m >= 1, got {n_m}")
    rows, columns = block
    if rows < 1 or columns < 1:
        raise ValueError(f"{operation}: block must be at least (1, 1), got {tuple(block)}")
    return _core.reconstruction.PruningOptions(
        sparsity, per_row, n, m, rows, columns, damping, swaps, threads
    )


__all__ = ["PrunedMatrix", "prune_matrix", "removal_curve"]
