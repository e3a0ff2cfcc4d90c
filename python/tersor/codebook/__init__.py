"""Codebooks: a few numbers, or short vectors, that stand for the weights of a tensor."""

from .kmeans import Codebook, kmeans

__all__ = ["Codebook", "kmeans"]
