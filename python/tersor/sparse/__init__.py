"""Sparse matrices: formats, sizes and products that are faster than dense ones."""

from .matmul import matmul
from .matrix import SparseMatrix

__all__ = ["SparseMatrix", "matmul"]
