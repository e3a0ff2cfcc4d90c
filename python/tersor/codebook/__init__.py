"""Codebooks: a few numbers, or short vectors, that stand for the weights of a tensor."""

from .kmeans import Codebook, kmeans
from .lookup_dense import LookupDense
from .product import ProductCodebook, product_kmeans

__all__ = ["Codebook", "LookupDense", "ProductCodebook", "kmeans", "product_kmeans"]
