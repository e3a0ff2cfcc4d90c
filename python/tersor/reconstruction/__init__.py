"""Reconstruction: layer-wise repair of compressed weights from unlabeled samples."""

from .moments import Moments
from .normal_equations import NormalEquations, normal_equations
from .rounding import RoundedMatrix, round_matrix

__all__ = [
    "Moments",
    "NormalEquations",
    "RoundedMatrix",
    "normal_equations",
    "round_matrix",
]
