"""Device profiles, budgets, quantities with units and the cost model."""

from .budget import Budget, Miss
from .cost_model import Estimate, LayerCost, model_energy, model_latency
from .target import LatencyModel, PowerModel, Target, TargetError, target_names
from .units import format_bytes, parse_bytes

__all__ = [
    "Budget",
    "Estimate",
    "LatencyModel",
    "LayerCost",
    "Miss",
    "PowerModel",
    "Target",
    "TargetError",
    "format_bytes",
    "model_energy",
    "model_latency",
    "target_names",
    "parse_bytes",
]
