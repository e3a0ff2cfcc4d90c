"""The copy of a network that compression works on."""

from __future__ import annotations

from typing import Any

from ..graph import Graph


def float_twin(graph: Graph) -> Any:
    """Return a copy with BatchNorm folded and weights of float16 and bfloat16 in float32.

    Parameters
    ----------
    graph : Graph

    Returns
    -------
    Graph
        The native graph.
    """
    twin: Any = graph.clone()
    twin.widen_constants()
    twin.canonicalize()
    return twin


__all__ = ["float_twin"]
