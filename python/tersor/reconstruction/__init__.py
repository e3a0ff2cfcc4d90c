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
from .rate_rounding import RatedMatrix, code_bits, round_by_rate
from .rounding import RoundedMatrix, round_matrix

__all__ = [
    "Moments",
    "NormalEquations",
    "PrunedMatrix",
    "RatedMatrix",
    "RoundedMatrix",
    "absorb_bias",
    "absorbable_bias",
    "analytic_bias_correction",
    "clipped_normal_mean",
    "code_bits",
    "normal_equations",
    "prune_matrix",
    "refit_channels",
    "removal_curve",
    "round_by_rate",
    "round_matrix",
]
