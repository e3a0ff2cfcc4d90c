"""Reconstruction: layer-wise repair of compressed weights from unlabeled samples."""

from .bias import (
    absorb_bias,
    absorbable_bias,
    analytic_bias_correction,
    clipped_normal_mean,
)
from .channels import refit_channels
from .moments import Moments
from .normal_equations import NormalEquations, normal_equations
from .pruning import PrunedMatrix, prune_matrix, removal_curve
from .rounding import RoundedMatrix, round_matrix

__all__ = [
    "Moments",
    "NormalEquations",
    "PrunedMatrix",
    "RoundedMatrix",
    "absorb_bias",
    "absorbable_bias",
    "analytic_bias_correction",
    "clipped_normal_mean",
    "normal_equations",
    "prune_matrix",
    "refit_channels",
    "removal_curve",
    "round_matrix",
]
