"""Sparse matrices in device memory. Native half: ``cpp/tersor/sparse/cuda.h``."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..quantization.bit_packing import unpack_bits
from ..sparse.matrix import SparseMatrix
from .dense_24 import Dense24
from .device_array import array, on_device, operand
from .native import native

_FORMATS = {"csr": 0, "block": 1, "nm": 2}


class DeviceSparseMatrix:
    """A sparse matrix whose parts lie in device memory, as csr, block or nm.

    Parameters
    ----------
    ws : tersor.sparse.SparseMatrix of float32
        Other formats than these three become csr.
    block : tuple of two ints, default (1, 4)
        Rows and columns of a block, as `ws` was made with.
    nm : tuple of two ints, default (2, 4)
        As `ws` was made with. Positions lie as bytes: values[rows][groups][n], positions alike.

    Raises
    ------
    ValueError
        If `ws` is not of float32.
    """

    def __init__(
        self,
        ws: SparseMatrix,
        *,
        block: tuple[int, int] = (1, 4),
        nm: tuple[int, int] = (2, 4),
    ) -> None:
        if ws.dtype != np.float32:
            raise ValueError(f"DeviceSparseMatrix: ws must be float32, got {ws.dtype.name}")
        if ws.format not in _FORMATS:
            ws = SparseMatrix.from_dense(ws.to_dense(), format="csr")
        self.shape, self.format, self.entries = ws.shape, ws.format, ws.entries
        self._sizes = (_FORMATS[ws.format], *ws.shape, *block, *nm)
        self._values = array(ws.values.astype(np.float32))
        self._indices = self._positions = self._starts = None
        if ws.format == "nm":
            n, m = nm
            count = ws.shape[0] * -(-ws.shape[1] // m) * n
            bits = (m - 1).bit_length()
            positions = (
                unpack_bits(ws.indices, bits, count, signed=False) if bits else np.zeros(count)
            )
            self._positions = array(np.asarray(positions, np.uint8))
        else:
            self._indices = array(ws.indices.astype(np.int32))
            self._starts = array(ws.starts.astype(np.int32))

    def matmul(
        self, x: Any, bias: Any = None, *, low: float = -np.inf, high: float = np.inf
    ) -> Any:
        """Multiply: ``clip(W @ x + bias, low, high)``.

        Parameters
        ----------
        x : device array of float32, shape (columns,) or (columns, n)
        bias : device array of float32, shape (rows,), optional
        low, high : float, optional

        Returns
        -------
        device array of float32, shape (rows,) or (rows, n)
        """
        a = operand("sparse.matmul: x", x, np.float32)
        if len(a.shape) not in (1, 2) or a.shape[0] != self.shape[1]:
            raise ValueError(
                f"sparse.matmul: x must have {self.shape[1]} rows, got shape {a.shape}"
            )
        b = None if bias is None else operand("sparse.matmul: bias", bias, np.float32)
        if b is not None and b.shape != self.shape[:1]:
            raise ValueError(f"sparse.matmul: bias must have shape {self.shape[:1]}, got {b.shape}")
        parts = [
            0 if part is None else part.address
            for part in (self._values, self._indices, self._positions, self._starts)
        ]
        products = a.shape[1] if len(a.shape) == 2 else 1
        with on_device(a.device):
            y, address = a.empty((self.shape[0], *a.shape[1:]), np.float32)
            native().spmm(
                self._sizes, parts, 0 if b is None else b.address, low, high, a.address, products,
                address, a.stream,
            )  # fmt: skip
        return y

    def __matmul__(self, x: Any) -> Any:
        return self.matmul(x)


def from_dense(
    w: ArrayLike,
    *,
    format: str = "csr",
    block: tuple[int, int] = (1, 4),
    nm: tuple[int, int] = (2, 4),
) -> DeviceSparseMatrix:
    """Store what is not zero of a matrix of the host in device memory.

    Parameters
    ----------
    w : array-like of float32, shape (rows, columns)
    format : {"csr", "block", "nm"}
    block, nm : tuple of two ints
        As for :meth:`tersor.sparse.SparseMatrix.from_dense`.

    Returns
    -------
    DeviceSparseMatrix

    Raises
    ------
    ValueError
        If the format is another, or `w` does not fit it.
    """
    if format not in _FORMATS:
        raise ValueError(f"from_dense: format must be csr, block or nm, got {format!r}")
    values = np.asarray(w, np.float32)
    ws = SparseMatrix.from_dense(values, format=format, block=block, nm=nm)  # type: ignore[arg-type]
    return DeviceSparseMatrix(ws, block=block, nm=nm)


__all__ = ["Dense24", "DeviceSparseMatrix", "from_dense"]
