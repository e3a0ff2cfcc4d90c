"""The search under a budget: candidates of every layer, an exact allocation, verification."""

from .candidates import Candidate
from .database import LayerEntry, measure_layers
from .knapsack import Allocation, allocate_budgets

__all__ = ["Allocation", "Candidate", "LayerEntry", "allocate_budgets", "measure_layers"]
