"""Device profiles, budgets, quantities with units and the cost model."""

from tersor.targets.budget import Budget, BudgetError, Miss
from tersor.targets.cost_model import Estimate, LayerCost, model_energy, model_latency
from tersor.targets.target import LatencyModel, PowerModel, Target, TargetError, target_names
from tersor.targets.units import format_bytes, parse_bytes

__all__ = [
    "Budget",
    "BudgetError",
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
