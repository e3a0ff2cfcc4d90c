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
    if all(e.qparams is None or e.qparams.codebook is None for e in edges):
        return graph, {}
    decoded = {}
    for node in graph.nodes:
        q = edges[node.inputs[1]].qparams if len(node.inputs) > 1 else None
        if q is not None and q.codebook is not None:
            form = "int8" if edges[node.inputs[0]].qparams is not None else "float32"
            decoded[node.name] = f"{form} weights instead of codes of {q.codebook.shape[1]} values"
    plain = graph.clone()
    plain.decode_codebooks()
    return plain, decoded


__all__ = ["without_codebooks"]
