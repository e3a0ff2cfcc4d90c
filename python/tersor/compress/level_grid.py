"""Weights of a layer on any set of levels: codebooks, and uniform grids priced by code length."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..codebook import kmeans
from ..reconstruction import RatedMatrix, round_by_rate

# Steps tried, as shares of the one that is best at high rates; at 2 bits and fewer it is smaller.
_STEPS = (0.45, 0.55, 0.68, 0.82, 1.0)
_MOST_CODE = 127
_SCALE_REFITS = 4
# A scale per output costs 16 bits each: worth it where it takes so much of the error away.
_WORTH_SCALES = 0.8


@dataclass(frozen=True)
class LevelGrid:
    """What the weights of a layer may become.

    Attributes
    ----------
    values : int
        Of the codebook, 1 to 256; 0: the multiples of one step, at most 255 of them.
    price : float
        Of one bit, as a share of the variance of the layer's output.
    integer : bool
        Whether the codebook holds int8 codes; each output has a scale then.
    bias_step : float
        As of a :class:`~tersor.compress.repair.WeightGrid`.
    """

    values: int = 16
    price: float = 0.0
    integer: bool = False
    bias_step: float = 0.0


@dataclass(frozen=True)
class LevelCodes:
    """Codes of a layer's weight as rows.

    Attributes
    ----------
    codes : ndarray of uint8 or int8, shape (groups, outputs, columns)
    qparams : dict
        Arguments of ``QParams`` but for `axis`, which is that of the outputs where there are
        several scales.
    values : ndarray of float32, the shape of `codes`
    error : float
        What the rounding adds to the mean squared output.
    bits : float
        What an adaptive coder spends on the codes.
    """

    codes: NDArray[Any]
    qparams: dict[str, Any]
    values: NDArray[np.float32]
    error: float
    bits: float


def round_to_levels(
    target: NDArray[np.float64],
    hessian: NDArray[np.float64],
    grid: LevelGrid,
    power: float,
    *,
    kept: NDArray[np.bool_] | None = None,
    least: NDArray[np.float64] | None = None,
    quick: bool = False,
    threads: int = 0,
) -> LevelCodes:
    """Round the weights of a layer so that its output changes least for the bits.

    Parameters
    ----------
    target : ndarray, shape (groups, outputs, columns)
        The best weights in full precision.
    hessian : ndarray, shape (groups, columns, columns)
    grid : LevelGrid
    power : float
        Variance of the output, in units of the error.
    kept : ndarray of bool, the shape of `target`, optional
        Weights that may be other than 0.
    least : ndarray, shape (groups, outputs), optional
        That scales of integer codebooks must have.
    quick : bool, default False
        One step instead of several, fewer passes: to tell what a price comes to.
    threads : int, default 0

    Returns
    -------
    LevelCodes
    """
    w = target.reshape(-1, target.shape[-1])
    mask = None if kept is None or kept.all() else kept.reshape(w.shape)
    problem = _Problem(w, hessian, mask, grid.price * power, threads)
    if grid.integer:
        done = _int8_codebook(problem, grid.values, 0.0 if least is None else least.ravel())
    else:
        done = _codebook(problem, grid.values) if grid.values else _uniform(problem, quick)
    return LevelCodes(
        done.codes.reshape(target.shape),
        done.qparams,
        done.values.reshape(target.shape),
        done.error,
        done.bits,
    )


@dataclass(frozen=True)
class _Problem:
    w: NDArray[np.float64]
    hessian: NDArray[np.float64]
    mask: NDArray[np.bool_] | None
    price: float
    threads: int

    def round(self, levels: NDArray[Any], **options: Any) -> RatedMatrix:
        return round_by_rate(
            self.w,
            self.hessian,
            levels,
            mask=self.mask,
            price=self.price,
            threads=self.threads,
            **options,
        )

    def best_scale(
        self, rows: NDArray[np.float64], before: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """The factor of each row that comes nearest to w; `before` where it is not positive."""
        parts = rows.reshape(len(self.hessian), -1, rows.shape[1])
        seen = (parts @ self.hessian).reshape(rows.shape)
        power = (seen * rows).sum(1)
        factor = (seen * self.w).sum(1) / np.where(power > 0, power, 1)
        return np.where((power > 0) & (factor > 0), factor, before)

    def diagonal(self) -> NDArray[np.float64]:
        """Weight of each squared error, the shape of w."""
        diagonals = np.einsum("gii->gi", self.hessian)
        return np.repeat(diagonals, len(self.w) // len(diagonals), axis=0)


def _codebook(problem: _Problem, k: int) -> LevelCodes:
    one = _with_codebook(problem, k, None)
    rms = _row_sizes(problem)
    if len(problem.w) < 2 or rms is None:
        return one
    scale = rms.astype(np.float16).astype(np.float64)
    if not (np.isfinite(scale).all() and (scale >= 2.0**-14).all()):
        scale = rms.astype(np.float32).astype(np.float64)
    several = _with_codebook(problem, k, scale)
    return several if several.error < _WORTH_SCALES * one.error else one


def _row_sizes(problem: _Problem) -> NDArray[np.float64] | None:
    """Root mean square of each row; of rows of nearly 0, that of the others. None: all are 0."""
    rms = np.sqrt(np.square(problem.w).mean(axis=1))
    if not rms.any():
        return None
    rms[rms < rms.max() * 2.0**-12] = np.median(rms[rms > 0])
    return np.asarray(rms, np.float64)


def _int8_codebook(problem: _Problem, k: int, least: Any) -> LevelCodes:
    """A table of int8 codes, the largest of them +-127, and a scale per row."""
    size = _row_sizes(problem)
    size = np.ones(len(problem.w)) if size is None else size
    levels = _fitted_levels(problem, k, size).levels[0]
    most = float(np.abs(levels).max())
    table = np.unique(np.rint(levels * (_MOST_CODE / most))) if most else np.zeros(1)
    scale = np.maximum(size * (most / _MOST_CODE if most else 1.0), least)
    scale = np.maximum(scale, 2.0**-126).astype(np.float32).astype(np.float64)
    done = problem.round(table, scale=scale)
    for _ in range(_SCALE_REFITS):
        fitted = np.maximum(problem.best_scale(table[done.codes], scale), least)
        again = problem.round(table, scale=fitted.astype(np.float32).astype(np.float64))
        if again.error >= done.error:
            break
        done, scale = again, fitted.astype(np.float32).astype(np.float64)
    real = (table[done.codes] * scale[:, None]).astype(np.float32)
    qparams = {"scale": scale.tolist(), "zero_point": [0] * len(scale), "codebook": table}
    return LevelCodes(done.codes, qparams, real, done.error, done.bits)


def _with_codebook(problem: _Problem, k: int, scale: NDArray[np.float64] | None) -> LevelCodes:
    done = _fitted_levels(problem, k, scale)
    factor = np.ones((len(problem.w), 1)) if scale is None else scale[:, None]
    table = _stored(done.levels[0])
    real = (table[done.codes] * factor).astype(np.float32)
    scales = [1.0] if scale is None else scale.tolist()
    qparams = {"scale": scales, "zero_point": [0] * len(scales), "codebook": table}
    return LevelCodes(done.codes, qparams, real, done.error, done.bits)


def _fitted_levels(problem: _Problem, k: int, scale: NDArray[np.float64] | None) -> RatedMatrix:
    factor = np.ones((len(problem.w), 1)) if scale is None else scale[:, None]
    values, weights = problem.w / factor, problem.diagonal() * factor**2
    weights = np.maximum(weights, 1e-6 * max(float(weights.max()), 1e-300))
    weights /= weights.max()
    chosen = np.ones(values.shape, bool) if problem.mask is None else problem.mask
    count = k if problem.mask is None else k - 1
    levels = np.zeros(0)
    if count and chosen.any():
        found = kmeans(
            values[chosen].astype(np.float32), count, weights=weights[chosen].astype(np.float32)
        )
        levels = np.unique(found.centroids.astype(np.float64).ravel())
    if problem.mask is not None:
        levels = np.union1d(levels, [0.0])
    levels = levels if levels.size else np.zeros(1)
    return problem.round(levels, scale=scale, refits=4)


def _stored(levels: NDArray[np.float64]) -> NDArray[np.float32]:
    """Levels as files hold them: float16 where that has enough digits."""
    sizes = np.abs(levels[levels != 0])
    fine = sizes.size == 0 or (sizes.min() >= 2.0**-14 and sizes.max() <= 2.0**14)
    return levels.astype(np.float16 if fine else np.float32).astype(np.float32)


def _uniform(problem: _Problem, quick: bool) -> LevelCodes:
    scale = _group_scales(problem)
    factor = np.ones(len(problem.w)) if scale is None else scale
    most = float(np.abs(problem.w / factor[:, None]).max())
    if most == 0:
        most = 1.0
    base = _high_rate_step(problem, factor)
    steps = [max(base * share, most / (_MOST_CODE - 0.5)) for share in _STEPS]

    def tried(step: float, **options: Any) -> RatedMatrix:
        count = min(_MOST_CODE, math.ceil(most / step) + 1)
        levels = np.arange(-count, count + 1) * step
        return problem.round(levels, scale=scale, one_step=True, **options)

    if quick:
        return _signed(tried(steps[3], passes=1, sweeps=2), scale)
    costs = []
    for step in steps:
        done = tried(step, passes=1, sweeps=1)
        costs.append(done.error + problem.price * done.bits)
    best = steps[int(np.argmin(costs))]
    return _signed(tried(best, passes=2, sweeps=10, refits=1), scale)


def _signed(done: RatedMatrix, scale: NDArray[np.float64] | None) -> LevelCodes:
    """Codes around 0, of as many bits as the largest needs."""
    levels = done.levels[0]
    middle = len(levels) // 2
    codes = (done.codes.astype(np.int16) - middle).astype(np.int8)
    largest = int(np.abs(codes.astype(np.int16)).max(initial=0))
    step = np.float32(levels[-1] / middle)
    factor = np.ones(1, np.float32) if scale is None else scale.astype(np.float32)
    scales = (step * factor).astype(np.float32)
    qparams = {
        "scale": scales.tolist(),
        "zero_point": [0] * len(scales),
        "bits": max(2, largest.bit_length() + 1),
        "narrow": True,
    }
    return LevelCodes(codes, qparams, codes * scales[:, None], done.error, done.bits)


def _high_rate_step(problem: _Problem, factor: NDArray[np.float64]) -> float:
    """The step at which one more bit takes away as much error as it costs.

    An error of ``d step^2 / 12`` a weight, which a bit divides by 4, has the slope
    ``2 log(2) d step^2 / 12`` a bit; d is the variance that GPTQ leaves a weight.
    """
    left, groups = 0.0, len(problem.hessian)
    for g, h in enumerate(problem.hessian):
        order = np.argsort(-np.diag(h))
        damped = h[np.ix_(order, order)] + 0.01 * np.mean(np.diag(h)) * np.eye(len(h))
        own = float(np.mean(_conditional_variances(damped)))
        rows = slice(g * len(problem.w) // groups, (g + 1) * len(problem.w) // groups)
        left += own * float(np.mean(factor[rows] ** 2)) / groups
    step = math.sqrt(6 * problem.price / math.log(2) / left)
    # Sixteenths of an octave: the last bits of a factorization may differ between machines.
    return float(2 ** (round(16 * math.log2(step)) / 16)) if step > 0 else 0.0


def _conditional_variances(h: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each variable given those after it: squares of the diagonal of a triangular root."""
    try:
        return np.square(np.diag(np.linalg.cholesky(h[::-1, ::-1])))
    except np.linalg.LinAlgError:  # inputs that are always 0
        return np.maximum(np.diag(h), 1e-30)


def _group_scales(problem: _Problem) -> NDArray[np.float64] | None:
    """Steps of the groups in proportion to what their inputs let pass, in powers of two.

    None where there is one group. Powers of two are few symbols to store.
    """
    groups = len(problem.hessian)
    if groups == 1:
        return None
    power = np.maximum(np.einsum("gii->g", problem.hessian), 0)
    if not power.any():
        return None
    power[power == 0] = np.median(power[power > 0])
    wanted = -0.5 * np.log2(power / np.exp(np.mean(np.log(power))))
    return np.repeat(np.exp2(np.rint(wanted)), len(problem.w) // groups)


__all__ = ["LevelCodes", "LevelGrid", "round_to_levels"]
