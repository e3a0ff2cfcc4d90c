"""The native intermediate representation, seen from Python."""

from .graph import Graph

__all__ = ["Graph"]
