"""Dense layers on indices of 4 bits. Native half: ``cpp/tersor/codebook/lookup_dense.h``."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _core
from .kmeans import Codebook


class LookupDense:
    """A dense layer whose weights stay indices into a table of up to 16 numbers.

    ``y = clip(x @ codebook.decode().T + bias, low, high)`` in float32, for few rows of input: the
    weights are read as 4 bits each and looked up in registers.

    Parameters
    ----------
    codebook : Codebook
        Of a weight of shape (outputs, inputs), with ``k <= 16``; tables per tensor or along axis 0.
    bias : array-like of float32, shape (outputs,), optional
    low, high : float, optional
        Bounds of the result.

    Raises
    ------
    ValueError
        If the codebook has more than 16 centroids, or shapes do not fit.

    Examples
    --------
    >>> from tersor.codebook import kmeans
    >>> w = np.float32([[1, 2, 1], [2, 2, 1]])
    >>> LookupDense(kmeans(w, 2))(np.float32([[1, 1, 1]]))
    array([[4., 5.]], dtype=float32)
    """

    def __init__(
        self,
        codebook: Codebook,
        bias: ArrayLike | None = None,
        *,
        low: float = -np.inf,
        high: float = np.inf,
    ) -> None:
        if codebook.axis not in (None, 0):
            raise ValueError(
                f"LookupDense: codebook must have tables along axis 0, got axis {codebook.axis}"
            )
        self._native = _core.codebook.LookupDense(
            np.ascontiguousarray(codebook.indices),
            np.atleast_2d(np.asarray(codebook.centroids, np.float32)),
            0 if codebook.axis is None else codebook.group_size,
            None if bias is None else np.ascontiguousarray(bias, np.float32),
            low,
            high,
        )

    def __call__(self, x: ArrayLike, *, out: NDArray[np.float32] | None = None) -> NDArray[Any]:
        """Apply the layer.

        Parameters
        ----------
        x : array-like of float32, shape (rows, inputs)
        out : ndarray of float32, shape (rows, outputs), optional
            C-contiguous; written and returned instead of a new array.

        Returns
        -------
        ndarray of float32, shape (rows, outputs)
            The same for any number of rows and threads.
        """
        values = np.asarray(x, dtype=np.float32, order="C")
        return cast("NDArray[Any]", self._native.run(values, out))

    @property
    def kernel(self) -> str:
        """Such as "lookup_dense simd_avx2"."""
        return str(self._native.kernel)

    @property
    def packed_bytes(self) -> int:
        """Bytes of the packed indices, tables and bias."""
        return int(self._native.packed_bytes)


__all__ = ["LookupDense"]
