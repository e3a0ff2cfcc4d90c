"""Entropy-constrained rounding of a weight matrix.

Native half: ``cpp/tersor/reconstruction/rate_rounding.h``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _core


@dataclass(frozen=True)
class RatedMatrix:
    """Codes of a weight matrix and what they stand for.

    Attributes
    ----------
    codes : ndarray of uint8, shape (rows, columns)
    levels : ndarray of float64, shape (tables, k)
        Ascending. Rows share the tables evenly: row r has table ``r // ceil(rows / tables)``.
    scale : ndarray of float64, shape (rows,), or None
        Times which the levels are the values of a row; None is 1.
    error : float
        ``trace((w - q) @ hessian @ (w - q).T)`` of the values q.
    bits : float
        What an adaptive coder spends on the codes (:func:`code_bits`).
    """

    codes: NDArray[np.uint8]
    levels: NDArray[np.float64]
    scale: NDArray[np.float64] | None
    error: float
    bits: float

    def values(self) -> NDArray[np.float64]:
        """Return what the codes stand for, shape (rows, columns)."""
        rows, tables = len(self.codes), len(self.levels)
        table = np.arange(rows) // -(-rows // tables)
        values = self.levels[table[:, None], self.codes]
        return values if self.scale is None else values * self.scale[:, None]


def round_by_rate(
    w: ArrayLike,
    hessian: ArrayLike,
    levels: ArrayLike,
    *,
    price: float = 0.0,
    scale: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    one_step: bool = False,
    reorder: bool = True,
    damping: float = 0.01,
    passes: int = 2,
    sweeps: int = 10,
    refits: int = 0,
    threads: int = 0,
) -> RatedMatrix:
    """Round weights so that output error plus the price of their code length is small.

    Each weight takes in turn the level with the least error plus price, and what that costs is made
    good by the weights that are not rounded yet (GPTQ [1]_ on any set of levels); coordinate
    descent then improves code by code. A symbol's price is its code length in an adaptive coder
    with statistics of each row and of the matrix, taken from the codes of the pass before
    (rate-distortion quantization, as entropy-constrained coders of networks do it [2]_). With
    price 0 this is GPTQ on a codebook.

    Parameters
    ----------
    w : array-like, shape (rows, columns)
        Weights, one row per output; finite.
    hessian : array-like, shape (columns, columns) or (groups, columns, columns)
        Symmetric, positive semidefinite: `Moments.hessian` of the inputs, or a `NormalEquations`'.
        One for each of several equal parts of the rows: the groups of a convolution.
    levels : array-like, shape (k,) or (tables, k)
        What codes may stand for, ascending, at most 256: multiples of a step, or a codebook.
    price : float, default 0
        Of one bit, in units of the error.
    scale : array-like, shape (rows,), optional
        Of each row, times which the levels are its values; positive.
    mask : array-like of bool, shape (rows, columns), optional
        Weights that may be other than 0; 0 must be a level.
    one_step : bool, default False
        Refits change one factor of all levels instead of each: uniform levels stay uniform.
    reorder : bool, default True
        Round columns by descending diagonal of `hessian` instead of in their order.
    damping : float, default 0.01
        Added to the diagonal of `hessian`, as a share of its mean, in [0, 1].
    passes : int, default 2
        Of GPTQ, each with the code lengths that the one before gave.
    sweeps : int, default 10
        Most passes of coordinate descent.
    refits : int, default 0
        How often the levels become the least squares for the codes, followed by a descent.
    threads : int, default 0
        0 follows :func:`tersor.set_threads`. Results do not depend on it.

    Returns
    -------
    RatedMatrix

    Raises
    ------
    ValueError
        If a shape does not fit, a value is not finite, or an option is out of range.
    UnsupportedError
        If tersor was built without Eigen.

    References
    ----------
    .. [1] Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained
       Transformers", ICLR 2023.
    .. [2] Wiedemann et al., "DeepCABAC: A Universal Compression Algorithm for Deep Neural
       Networks", IEEE Journal of Selected Topics in Signal Processing 14 (4), 2020.

    Examples
    --------
    >>> import numpy as np
    >>> from tersor.reconstruction import round_by_rate
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(500, 8)) @ rng.normal(size=(8, 8))
    >>> w, hessian = rng.normal(size=(16, 8)), x.T @ x / 500
    >>> free = round_by_rate(w, hessian, np.arange(-4, 5) / 2)
    >>> dear = round_by_rate(w, hessian, np.arange(-4, 5) / 2, price=1.0)
    >>> dear.bits < free.bits and dear.error > free.error
    True
    """
    given = np.asarray(levels, np.float64, order="C")
    if given.ndim == 1:
        given = given[None]
    moments = np.asarray(hessian, np.float64, order="C")
    factors = None if scale is None else np.asarray(scale, np.float64).ravel()
    codes, fitted, error, bits = _core.reconstruction.round_by_rate(
        np.asarray(w, np.float64, order="C"),
        moments[None] if moments.ndim == 2 else moments,
        given,
        [] if factors is None else factors.tolist(),
        None if mask is None else np.asarray(mask, np.bool_, order="C"),
        price,
        one_step,
        reorder,
        damping,
        passes,
        sweeps,
        refits,
        threads,
    )
    return RatedMatrix(codes, fitted, factors, error, bits)


def code_bits(codes: ArrayLike, k: int) -> float:
    """Return what an adaptive coder spends on a matrix of codes, in bits.

    Each symbol costs ``-log2((own + 12 p) / (n + 12))``: own of the n symbols of its row so far
    were the same, and p is its share among the rows so far.

    Parameters
    ----------
    codes : array-like of uint8, shape (rows, columns)
    k : int
        Number of symbols, at most 256; codes are below.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If a code is not below `k`.

    Examples
    --------
    >>> from tersor.reconstruction import code_bits
    >>> code_bits([[0, 0, 0, 0, 0, 0, 0, 0]], 2) < 4  # a model that learns
    True
    """
    bits: float = _core.reconstruction.code_bits(np.asarray(codes, np.uint8, order="C"), k)
    return bits


__all__ = ["RatedMatrix", "code_bits", "round_by_rate"]
