"""Whether two samples come from one distribution: Kolmogorov-Smirnov and population stability."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Bins of equal shares of the reference.
_BINS = 10
# What practice calls a major shift (N. Siddiqi, Credit Risk Scorecards, 2006).
MAJOR_PSI = 0.25


@dataclass(frozen=True)
class FeatureDrift:
    """How far a feature is from its reference.

    Attributes
    ----------
    name : str
    ks, psi : float
        Largest distance of the distribution functions, in [0, 1], and population stability index.
    p_value : float
        Chance of at least this distance where nothing changed: the smaller one of both tests,
        doubled.
    """

    name: str
    ks: float
    psi: float
    p_value: float


def ks_distance(reference: ArrayLike, values: ArrayLike) -> tuple[float, float]:
    """Return the two-sample Kolmogorov-Smirnov distance and its p-value.

    Parameters
    ----------
    reference, values : array-like of float, shape (n,)
        Finite, at least one value each. Ties make the p-value too large, never too small.

    Returns
    -------
    (float, float)
        D = max |F(v) - G(v)|, and the asymptotic chance of at least D.

    References
    ----------
    M. A. Stephens: Use of the Kolmogorov-Smirnov, Cramer-von Mises and related statistics without
    extensive tables. J. Royal Statistical Society B 32, 1970 (the correction for small samples).

    Examples
    --------
    >>> ks_distance([1, 2, 3, 4], [1, 2, 3, 4])
    (0.0, 1.0)
    """
    a, b = (np.sort(np.asarray(v, np.float64)) for v in (reference, values))
    if len(a) == 0 or len(b) == 0:
        raise ValueError("ks_distance: both samples must have values, got none")
    both = np.concatenate([a, b])
    gap = np.searchsorted(a, both, "right") / len(a) - np.searchsorted(b, both, "right") / len(b)
    distance = float(np.abs(gap).max())
    size = math.sqrt(len(a) * len(b) / (len(a) + len(b)))
    scaled = (size + 0.12 + 0.11 / size) * distance
    if scaled < 0.3:  # the series below is 1 to nine digits there
        return distance, 1.0
    k = np.arange(1, 51)
    terms = (-1.0) ** (k - 1) * np.exp(-2.0 * (k * scaled) ** 2)
    return distance, float(min(1.0, max(0.0, 2 * terms.sum())))


def population_stability(
    reference: ArrayLike, values: ArrayLike, *, categories: bool = False
) -> tuple[float, float]:
    """Return the population stability index and its p-value.

    PSI = sum over bins of (v - r) ln(v / r), r and v being the shares of reference and values in
    it. Bins hold equal shares of the reference, or one category each; half a sample is added to
    each bin, so that empty ones stay finite. Where nothing changed, PSI / (1/n + 1/m) is about
    chi-square distributed with bins - 1 degrees of freedom.

    Parameters
    ----------
    reference, values : array-like of float, shape (n,)
    categories : bool
        The values are categories.

    Returns
    -------
    (float, float)

    References
    ----------
    B. Yurdakul, J. Naranjo: Statistical properties of the population stability index. Journal of
    Risk Model Validation 14(4), 2020.

    Examples
    --------
    >>> population_stability(np.arange(100), np.arange(100))
    (0.0, 1.0)
    """
    a, b = (np.asarray(v, np.float64) for v in (reference, values))
    if len(a) == 0 or len(b) == 0:
        raise ValueError("population_stability: both samples must have values, got none")
    if categories:
        kinds = np.unique(np.concatenate([a, b]))
        counts = [np.array([(v == kind).sum() for kind in kinds]) for v in (a, b)]
    else:
        edges = np.unique(np.quantile(a, np.linspace(0, 1, _BINS + 1)[1:-1]))
        # A value that many samples share ends its bin, so that no bin is empty by construction.
        counts = [np.bincount(np.searchsorted(edges, v), minlength=len(edges) + 1) for v in (a, b)]
    r, v = ((c + 0.5) / (c.sum() + 0.5 * len(c)) for c in counts)
    index = float(((v - r) * np.log(v / r)).sum())
    return index, _chi_square_tail(index / (1 / len(a) + 1 / len(b)), len(r) - 1)


def feature_drift(
    name: str, reference: NDArray[np.float64], values: NDArray[np.float64]
) -> FeatureDrift:
    """Compare a feature with its reference by both tests.

    Parameters
    ----------
    name : str
        "class" is a category, which has no order: only PSI counts.
    reference, values : ndarray of float64, shape (n,)

    Returns
    -------
    FeatureDrift
    """
    if name == "class":
        index, p = population_stability(reference, values, categories=True)
        return FeatureDrift(name, 0.0, index, p)
    distance, p_ks = ks_distance(reference, values)
    index, p_psi = population_stability(reference, values)
    # PSI sees small differences in large samples; they count from a major shift on.
    p_psi = p_psi if index >= MAJOR_PSI else 1.0
    return FeatureDrift(name, distance, index, min(1.0, 2 * min(p_ks, p_psi)))


def _chi_square_tail(x: float, degrees: int) -> float:
    """P(chi-square > x): the finite sums for even and odd degrees of freedom."""
    if degrees < 1 or x <= 0:
        return 1.0
    half = x / 2
    if degrees % 2 == 0:
        term = total = math.exp(-half)
        for i in range(1, degrees // 2):
            term *= half / i
            total += term
        return min(1.0, total)
    total = math.erfc(math.sqrt(half))
    term = math.exp(-half) * math.sqrt(half) / math.gamma(1.5)
    for i in range(1, (degrees + 1) // 2):
        total += term
        term *= half / (i + 0.5)
    return min(1.0, total)


__all__ = ["MAJOR_PSI", "FeatureDrift", "feature_drift", "ks_distance", "population_stability"]
