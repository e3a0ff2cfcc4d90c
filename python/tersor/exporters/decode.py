"""Weights in forms that no other runtime has, decoded."""

from __future__ import annotations

from ..graph.graph import Graph


def without_codebooks(graph: Graph) -> tuple[Graph, dict[str, str]]:
    """Put the values of codebooks in the place of their codes.

    Parameters
    ----------
    graph : Graph
        Not changed.

    Returns
    -------
    graph : Graph
    decoded : dict of str to str
        Layers whose weight had a codebook, and what it became.
    """
    edges = graph.edges
    found = {
        i for i, e in enumerate(edges) if e.qparams is not None and e.qparams.codebook is not None
    }
    if not found:
        return graph, {}
    layers = {n.name: edges[n.inputs[1]].name for n in graph.nodes if found & set(n.inputs[1:2])}
    plain = graph.clone()
    plain.decode_codebooks()
    return plain, {
        layer: f"{plain.edge(weight).dtype} weights instead of a codebook"
        for layer, weight in layers.items()
    }


__all__ = ["without_codebooks"]
