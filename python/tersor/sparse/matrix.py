"""Sparse matrix formats. Native half: ``cpp/tersor/sparse/matrix.h``."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _core

Format = Literal["auto", "csr", "csc", "tiled", "bitmap", "block", "nm"]

# Products with other numbers of columns are correct with any plan; a few are kept for their speed.
_MOST_PLANS = 4


class SparseMatrix:
    """A matrix of which only the nonzero entries are stored.

    Immutable. Made by :meth:`from_dense` or :meth:`from_parts`; ``ws @ x`` multiplies
    (:func:`tersor.sparse.matmul` also adds a bias, an activation and a residual).

    ======== ================================== ============================= =====================
    format   values                             indices                       starts
    ======== ================================== ============================= =====================
    csr      entries by rows                    column, uint16 (or uint32)    uint32, rows + 1
    csc      entries by columns                 row, uint16 (or uint32)       uint32, columns + 1
    tiled    csr inside tiles of 256 columns    column in the tile, uint8     entries of each row of
                                                                              each tile, uint16
    bitmap   entries by rows                    one bit per element           none
    block    whole blocks by rows of blocks     block column, uint16          uint32, block rows + 1
                                                (or uint32)
    nm       n per group of m columns           position in the group, packed none
    ======== ================================== ============================= =====================

    Examples
    --------
    >>> import numpy as np
    >>> from tersor.sparse import SparseMatrix
    >>> w = np.zeros((4, 8), np.float32)
    >>> w[1, 3] = 2
    >>> ws = SparseMatrix.from_dense(w)
    >>> ws.format, ws.nbytes, ws.storage
    ('bitmap', 8, {'values': 4, 'indices': 4, 'metadata': 0})
    >>> ws @ np.ones(8, np.float32)
    array([0., 2., 0., 0.], dtype=float32)
    """

    def __init__(self) -> None:
        raise TypeError(
            "sparse_matrix: a SparseMatrix is made by SparseMatrix.from_dense or from_parts"
        )

    @classmethod
    def _wrap(cls, native: Any) -> SparseMatrix:
        self = object.__new__(cls)
        self._native = native
        self._int8 = native.dtype == "int8"
        self._plans = {}
        return self

    _native: Any
    _int8: bool
    _plans: dict[int, Any]

    @classmethod
    def from_dense(
        cls,
        w: ArrayLike,
        *,
        format: Format = "auto",
        block: tuple[int, int] = (1, 4),
        nm: tuple[int, int] = (2, 4),
    ) -> SparseMatrix:
        """Store what is not zero.

        Parameters
        ----------
        w : array-like of float32 or int8, shape (rows, columns)
            NaN is kept; a negative zero counts as zero.
        format : {"auto", "csr", "csc", "tiled", "bitmap", "block", "nm"}
            ``auto`` takes the format of fewest bytes.
        block : tuple of two ints in [1, 64], default (1, 4)
            Rows and columns of a block, where the format is ``block`` (or tried by ``auto``).
        nm : tuple of two ints, default (2, 4)
            At most n entries in every m consecutive columns of a row, where the format is ``nm``.

        Returns
        -------
        SparseMatrix

        Raises
        ------
        ValueError
            If `w` is no matrix, a group has more than n entries, or a block is out of range.
        """
        dense = np.asarray(w, order="C")
        if dense.dtype != np.int8:
            dense = np.asarray(dense, np.float32, order="C")
        return cls._wrap(_core.sparse.SparseMatrix.from_dense(dense, format, block, nm))

    @classmethod
    def from_parts(
        cls,
        format: Format,
        shape: tuple[int, int],
        values: NDArray[Any],
        indices: NDArray[Any],
        starts: NDArray[Any] | None = None,
        *,
        block: tuple[int, int] = (1, 4),
        nm: tuple[int, int] = (2, 4),
    ) -> SparseMatrix:
        """Make a matrix from the arrays of its format; nothing is trusted.

        Parameters
        ----------
        format : {"csr", "csc", "tiled", "bitmap", "block", "nm"}
        shape : tuple of two ints
            Rows and columns.
        values : ndarray of float32 or int8
        indices : ndarray of uint8, uint16 or uint32
        starts : ndarray of uint16 or uint32, optional
            Empty or None for the formats that have none.
        block, nm : tuple of two ints
            As for :meth:`from_dense`.

        Returns
        -------
        SparseMatrix

        Raises
        ------
        ValueError
            If a part has the wrong length, or an index is out of range or out of order.
        TypeError
            If a part has another dtype than the format's.
        """
        if starts is None:
            starts = np.zeros(0, np.uint8)
        arrays = [np.ascontiguousarray(a) for a in (values, indices, starts)]
        native = _core.sparse.SparseMatrix.from_parts(
            format, shape, arrays[0], arrays[1], arrays[2], block, nm
        )
        return cls._wrap(native)

    @property
    def format(self) -> str:
        """Name of the format."""
        return str(self._native.format)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        rows, columns = self._native.shape
        return int(rows), int(columns)

    @property
    def dtype(self) -> np.dtype[Any]:
        """float32 or int8."""
        return np.dtype(np.int8 if self._int8 else np.float32)

    @property
    def entries(self) -> int:
        """Nonzero entries (explicit zeros of a csr, csc, tiled or bitmap matrix count)."""
        return int(self._native.entries)

    @property
    def sparsity(self) -> float:
        """Share of elements that are no entries; 0 for an empty matrix."""
        elements = self.shape[0] * self.shape[1]
        return 1 - self.entries / elements if elements else 0.0

    @property
    def nbytes(self) -> int:
        """Bytes of all parts."""
        return sum(self.storage.values())

    @property
    def storage(self) -> dict[str, int]:
        """Bytes of ``values``, ``indices`` and ``metadata`` (starts)."""
        values, indices, starts = self._native.part_bytes
        return {"values": int(values), "indices": int(indices), "metadata": int(starts)}

    @property
    def values(self) -> NDArray[Any]:
        """A copy of the values, flat."""
        return np.asarray(self._native.values)

    @property
    def indices(self) -> NDArray[Any]:
        """A copy of the indices, flat."""
        return np.asarray(self._native.indices)

    @property
    def starts(self) -> NDArray[Any]:
        """A copy of the starts; empty for formats without."""
        return np.asarray(self._native.starts)

    def to_dense(self) -> NDArray[Any]:
        """Return the matrix with its zeros.

        Returns
        -------
        ndarray of float32 or int8, shape (rows, columns)
        """
        return np.asarray(self._native.to_dense())

    def __matmul__(self, x: ArrayLike) -> NDArray[Any]:
        from .matmul import matmul

        return matmul(self, x)

    def _plan(self, columns: int) -> Any:
        """The plan for products with so many columns."""
        plan = self._plans.get(columns)
        if plan is None:
            native = _core.sparse
            make = native.SpmmInt8Plan if self._int8 else native.SpmmPlan
            plan = make(self._native, columns)
            if len(self._plans) >= _MOST_PLANS:
                self._plans.pop(next(iter(self._plans)), None)
            self._plans[columns] = plan
        return plan

    def __repr__(self) -> str:
        rows, columns = self.shape
        return (
            f"SparseMatrix({rows}x{columns}, {self.dtype.name}, format={self.format!r}, "
            f"sparsity={self.sparsity:.3f}, nbytes={self.nbytes})"
        )
