"""The copy of a network that compression works on."""

from __future__ import annotations

from ..graph import Graph


def float_twin(graph: Graph) -> Graph:
    """Return a copy with BatchNorm folded and weights of float16 and bfloat16 in float32.

    Parameters
    ----------
    graph : Graph

    Returns
    -------
    Graph
        Changing it does not change the graph that was given.
    """
    twin = Graph(graph)
    twin.widen_constants()
    twin.canonicalize()
    return twin


__all__ = ["float_twin"]
