"""Codebooks of short vectors. Native half: ``cpp/tersor/codebook/product.h``."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _core

DIMENSIONS = (2, 4, 8)


@dataclass(frozen=True, eq=False)
class ProductCodebook:
    """A tensor as vectors of a table: what :func:`product_kmeans` returns.

    Parameters
    ----------
    centroids : ndarray of float32, shape (k, dim)
    indices : ndarray of uint8, shape (ceil(size / dim),)
        The centroid of every `dim` consecutive values.
    inertia : float
        Sum of squared errors.
    shape : tuple of int
        Of the tensor. Where `dim` does not divide its size, the last vector is cut.
    """

    centroids: NDArray[np.float32]
    indices: NDArray[np.uint8]
    inertia: float
    shape: tuple[int, ...]

    @property
    def k(self) -> int:
        """Centroids of the table."""
        return len(self.centroids)

    @property
    def dim(self) -> int:
        """Values of a vector."""
        return int(self.centroids.shape[1])

    def decode(self) -> NDArray[np.float32]:
        """Return the tensor that the table and the indices stand for.

        Returns
        -------
        ndarray of float32, the shape of the tensor
        """
        values = self.centroids[self.indices].reshape(-1)
        return values[: int(np.prod(self.shape))].reshape(self.shape)

    def centroid_gradient(self, dw: ArrayLike) -> NDArray[np.float32]:
        """Return the gradient of each centroid: the sum of `dw` over its members.

        Parameters
        ----------
        dw : array-like of float32, the shape of the tensor
            Gradient of the decoded tensor.

        Returns
        -------
        ndarray of float32, shape (k, dim)

        Raises
        ------
        ValueError
            If the shapes differ.
        """
        values = np.asarray(dw, np.float32)
        if values.shape != self.shape:
            raise ValueError(
                f"centroid_gradient: dw must have shape {self.shape}, got {values.shape}"
            )
        columns = np.ascontiguousarray(_vectors(values, self.dim).T)
        n = len(self.indices)
        sums = [
            _core.codebook.sum_members("centroid_gradient", self.indices, column, n, self.k)[0]
            for column in columns
        ]
        return np.stack(sums, axis=1).astype(np.float32)


def product_kmeans(
    w: ArrayLike,
    k: int = 256,
    *,
    dim: int = 4,
    keep_zero: bool | None = None,
    seed: int = 0,
    max_iterations: int = 25,
) -> ProductCodebook:
    """Find k vectors that stand for every `dim` consecutive values of a tensor.

    Parameters
    ----------
    w : array-like of float32, any shape
        Finite, magnitudes below 2**62. Consecutive in memory order: along the last axis first.
    k : int, default 256
        Centroids, 1 to 256. Fewer come back for fewer distinct vectors; none is ever without
        members.
    dim : {2, 4, 8}, default 4
        Values of a vector: an index stands for so many weights.
    keep_zero : bool, optional
        Keep one centroid at exactly 0 for vectors that are all 0, as block pruning leaves them.
        None: where 5 % or more are. Single zeros inside a vector are not kept.
    seed : int, default 0
        Of the initialisation [2]_.
    max_iterations : int, default 25
        Of Lloyd's iteration, which ends before when it gains less than 0.01 %.

    Returns
    -------
    ProductCodebook
        The same for any number of threads.

    Raises
    ------
    ValueError
        If `w` is empty or not finite, or an argument is out of range.

    References
    ----------
    .. [1] Jegou, Douze and Schmid, "Product quantization for nearest neighbor search", PAMI 2011.
    .. [2] Arthur and Vassilvitskii, "k-means++: the advantages of careful seeding", SODA 2007.

    Examples
    --------
    >>> c = product_kmeans([1.0, 2.0, 1.0, 2.0, 5.0, 6.0], 2, dim=2)
    >>> c.decode().tolist()
    [1.0, 2.0, 1.0, 2.0, 5.0, 6.0]
    """
    values = np.asarray(w, np.float32, order="C")
    if dim not in DIMENSIONS:
        raise ValueError(f"product_kmeans: dim must be 2, 4 or 8, got {dim}")
    if seed < 0:
        raise ValueError(f"product_kmeans: seed must be at least 0, got {seed}")
    centroids, inertia, codes = _core.codebook.product_kmeans(
        _vectors(values, dim), k, keep_zero, seed, max_iterations
    )
    return ProductCodebook(centroids, codes, inertia, values.shape)


def _vectors(values: NDArray[np.float32], dim: int) -> NDArray[np.float32]:
    """Rows of `dim` values, the last one filled with zeros."""
    flat = values.reshape(-1)
    if flat.size % dim:
        flat = np.concatenate([flat, np.zeros(-flat.size % dim, np.float32)])
    return np.ascontiguousarray(flat.reshape(-1, dim))


__all__ = ["ProductCodebook", "product_kmeans"]
