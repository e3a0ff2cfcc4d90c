"""Weights in forms that no other runtime has, decoded."""

from __future__ import annotations

from collections.abc import Container, Mapping

import numpy as np

from ..graph.graph import Graph
from ..quantization import dequantize

_WEIGHTED = ("conv", "conv_transpose", "dense", "matmul")
# Share of zeros from which on a weight counts as pruned: coarse codes have many zeros too.
_PRUNED = 0.45


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


def with_widened(
    graph: Graph,
    decoded: Mapping[str, str],
    *,
    packed: Container[str] = (),
    sparse: Container[str] = (),
) -> dict[str, str]:
    """Add the layers whose weights a file holds with more bits or more zeros than ours.

    Parameters
    ----------
    graph : Graph
    decoded : mapping of str to str
        What is known already, by layer.
    packed, sparse : container of str
        Layers whose codes of few bits, and whose pruned weights, the file holds as they are.

    Returns
    -------
    dict of str to str
    """
    edges, found = graph.edges, dict(decoded)
    for node in graph.nodes:
        if node.op not in _WEIGHTED or not edges[node.inputs[1]].is_constant:
            continue
        edge, reasons = edges[node.inputs[1]], []
        q = edge.qparams
        narrow = q is not None and q.bits < 8 and q.codebook is None
        if q is not None and narrow and node.name not in packed and node.name not in found:
            reasons.append(f"int8 weights instead of {q.bits}-bit codes")
        codes = np.asarray(edge.constant)
        values = codes if q is None else dequantize(codes, q)
        if node.name not in sparse and np.count_nonzero(values == 0) >= _PRUNED * values.size > 0:
            reasons.append("zeros of pruned weights are stored")
        if reasons:
            found[node.name] = "; ".join([*filter(None, [found.get(node.name, "")]), *reasons])
    return found


__all__ = ["with_widened", "without_codebooks"]
