"""Entropy coding: integers in close to the fewest bytes that their distribution allows."""

from .histogram import entropy
from .symbols import decode, encode, method_of

__all__ = ["decode", "encode", "entropy", "method_of"]
