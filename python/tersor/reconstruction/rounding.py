"""Second-order rounding. Native half: ``cpp/tersor/reconstruction/rounding.h``."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _core


@dataclass(frozen=True)
class RoundedMatrix:
    """Codes and scales of a weight matrix.

    Attributes
    ----------
    codes : ndarray of int8, shape (rows, columns)
    scale : ndarray of float32, shape (rows, groups), or (1, 1) where one holds for all
    bits : int
    narrow : bool
        Whether the lowest code is left out.
    group_size : int or None
    error : float
        ``trace((w - q) @ hessian @ (w - q).T)`` of the values q that the codes stand for.
    nearest_error : float
        The same of rounding each weight to the nearest code, with scales of least squared error.
    zero_point : ndarray of float32, shape (rows, groups), or None
        Where they were asked for.
    """

    codes: NDArray[np.int8]
    scale: NDArray[np.float32]
    bits: int
    narrow: bool
    group_size: int | None
    error: float
    nearest_error: float
    zero_point: NDArray[np.float32] | None = None

    def values(self) -> NDArray[np.float32]:
        """Return what the codes stand for, shape (rows, columns)."""
        codes = self.codes.astype(np.float32)
        if self.zero_point is not None:
            codes = codes - self._per_column(self.zero_point)
        return np.asarray(self._per_column(self.scale) * codes)

    def _per_column(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        if self.group_size is None:
            return x
        return np.repeat(x, self.group_size, axis=1)[:, : self.codes.shape[1]]


def round_matrix(
    w: ArrayLike,
    hessian: ArrayLike,
    bits: int = 4,
    *,
    group_size: int | None = None,
    narrow: bool = False,
    one_scale: bool = False,
    float_zero_point: bool = False,
    least_scale: ArrayLike | None = None,
    scale_dtype: str = "float16",
    reorder: bool = True,
    damping: float = 0.01,
    candidates: int = 32,
    sweeps: int = 10,
    threads: int = 0,
) -> RoundedMatrix:
    """Round weights so that the output of their layer changes least (GPTQ).

    Each weight is rounded in turn, and what that costs is made good by the weights that are not
    rounded yet [1]_. The scale of a group is the one that loses least when the group is rounded so.
    Coordinate descent then improves code by code and scale by scale until no single one can.

    Parameters
    ----------
    w : array-like, shape (rows, columns)
        Weights, one row per output; finite. A convolution's weight is ``w.reshape(len(w), -1)``.
    hessian : array-like, shape (columns, columns)
        Symmetric, positive semidefinite: `Moments.hessian` of the inputs, or a `NormalEquations`'.
        Its scale does not matter to the codes.
    bits : int, default 4
        Width of a code, in [2, 8].
    group_size : int, optional
        A scale per row and this many columns, the last group may be short; one per row otherwise.
    narrow : bool, default False
        Codes from ``-(2**(bits-1) - 1)`` on instead of ``-2**(bits-1)``, as int8 kernels want them.
    one_scale : bool, default False
        One scale for the whole matrix.
    float_zero_point : bool, default False
        Zero points beside the scales, as floats: codes stand for ``scale * (code - zero_point)``.
        Not with `narrow` or `one_scale`.
    least_scale : array-like, shape (rows,), optional
        Scales are at least so large, where something else needs it, such as a wide bias.
    scale_dtype : {"float16", "float32"}
        What scales and zero points are rounded to.
    reorder : bool, default True
        Round groups, and columns inside a group, by descending diagonal of `hessian` instead of
        in their order.
    damping : float, default 0.01
        Added to the diagonal of `hessian`, as a share of its mean, in [0, 1].
    candidates : int, default 32
        Scales tried per group.
    sweeps : int, default 10
        Most passes of coordinate descent; 0 for GPTQ alone.
    threads : int, default 0
        0 follows :func:`tersor.set_threads`. Results do not depend on it.

    Returns
    -------
    RoundedMatrix

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

    Examples
    --------
    >>> import numpy as np
    >>> from tersor.reconstruction import round_matrix
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(500, 8)) @ rng.normal(size=(8, 8))
    >>> done = round_matrix(rng.normal(size=(4, 8)), x.T @ x / 500, bits=3)
    >>> bool(done.error < done.nearest_error)
    True
    """
    if scale_dtype not in ("float16", "float32"):
        raise ValueError(
            f"round_matrix: scale_dtype must be float16 or float32, got {scale_dtype!r}"
        )
    if group_size is not None and group_size < 1:
        raise ValueError(f"round_matrix: group_size must be at least 1, got {group_size}")
    codes, scale, zero_point, error, nearest = _core.reconstruction.round_matrix(
        np.asarray(w, np.float64, order="C"),
        np.asarray(hessian, np.float64, order="C"),
        bits,
        narrow,
        group_size or 0,
        one_scale,
        scale_dtype == "float16",
        float_zero_point,
        reorder,
        damping,
        candidates,
        sweeps,
        threads,
        least_scales(least_scale),
    )
    return RoundedMatrix(codes, scale, bits, narrow, group_size, error, nearest, zero_point)


def least_scales(given: ArrayLike | None) -> list[float]:
    """Return least scales as the native half takes them.

    Parameters
    ----------
    given : array-like or None

    Returns
    -------
    list of float
        Empty for None.
    """
    values: list[float] = [] if given is None else np.asarray(given, np.float64).ravel().tolist()
    return values


__all__ = ["RoundedMatrix", "least_scales", "round_matrix"]
