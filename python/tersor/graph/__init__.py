"""The native intermediate representation, seen from Python."""

from .graph import Graph
from .memory_planner import plan_memory

__all__ = ["Graph", "plan_memory"]
