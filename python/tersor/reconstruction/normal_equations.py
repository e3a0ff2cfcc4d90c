"""A layer's least squares. Native half: ``cpp/tersor/reconstruction/normal_equations.h``."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _core
from .moments import Moments


@dataclass(frozen=True)
class NormalEquations:
    """What makes ``mean |t - W x - b|^2`` small.

    With the best bias, the mean squared error is a constant plus
    ``trace((W - target) @ hessian @ (W - target).T)``.

    Attributes
    ----------
    hessian : ndarray of float64, shape (columns, columns)
        Covariance of the inputs, or the mean of ``x x^T`` where they are not centred.
    target : ndarray of float64, shape (outputs, columns)
        The best weights in full precision.
    """

    hessian: NDArray[np.float64]
    target: NDArray[np.float64]
    _native: _core.reconstruction.NormalEquations

    def best_bias(self, w: ArrayLike) -> NDArray[np.float64]:
        """Return ``mean(t) - w mean(x)``.

        Parameters
        ----------
        w : array-like of float32, shape (outputs, columns)

        Returns
        -------
        ndarray of float64, shape (outputs,)

        Raises
        ------
        ValueError
            If the shape does not fit.
        """
        return np.asarray(self._native.best_bias(np.asarray(w, np.float32, order="C")))

    def error(self, w: ArrayLike) -> float:
        """Return what weights `w` add to the mean squared error.

        Parameters
        ----------
        w : array-like, shape (outputs, columns)

        Returns
        -------
        float
        """
        off = np.asarray(w, np.float64) - self.target
        return float(np.einsum("oi,ij,oj->", off, self.hessian, off))


def normal_equations(
    moments: Moments,
    w: ArrayLike,
    *,
    group: int = 0,
    centred: bool = True,
    ridge: float = 1e-3,
) -> NormalEquations:
    """Set up the least-squares problem of a layer.

    Parameters
    ----------
    moments : Moments
        Of the layer's inputs; with targets, the best weights for them are found.
    w : array-like of float32, shape (outputs, columns)
        The weights that the layer has. Directions that the inputs do not show keep them; without
        targets, they are what the outputs should be made of.
    group : int, default 0
        Of the moments.
    centred : bool, default True
        Whether the layer's bias may change too.
    ridge : float, default 1e-3
        How strongly weights are kept, as a share of the Hessian's mean diagonal.

    Returns
    -------
    NormalEquations

    Raises
    ------
    ValueError
        If nothing was added to `moments`, or an argument does not fit.
    UnsupportedError
        If tersor was built without Eigen.

    Examples
    --------
    >>> import numpy as np
    >>> from tersor.reconstruction import Moments, normal_equations
    >>> x = np.random.default_rng(0).normal(size=(256, 3)).astype(np.float32)
    >>> moments = Moments(3, outputs=1)
    >>> moments.add(x, x @ [[1], [2], [3]] + 5)
    >>> problem = normal_equations(moments, np.zeros((1, 3)), ridge=1e-9)
    >>> problem.target.round(3), problem.best_bias(problem.target).round(3)
    (array([[1., 2., 3.]]), array([5.]))
    """
    weights = np.asarray(w, np.float32, order="C")
    native = _core.reconstruction.normal_equations(moments._native, group, weights, centred, ridge)
    return NormalEquations(native.hessian, native.target, native)


__all__ = ["NormalEquations", "normal_equations"]
