"""Device profiles, budgets, quantities with units and the cost model."""

from .budget import Budget, Miss
from .cost_model import Estimate, LayerCost, model_energy, model_latency
from .energy_meter import Energy, EnergyMeter, open_energy_meter
from .target import LatencyModel, PowerModel, Target, TargetError, target_names
from .units import format_bytes, parse_bytes

__all__ = [
    "Budget",
    "Energy",
    "EnergyMeter",
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
    "open_energy_meter",
    "target_names",
    "parse_bytes",
]
