"""A graph as the cost model sees it: work per layer, and the memory that activations need."""

from __future__ import annotations

import math
from typing import Any

from ..targets.cost_model import LayerCost, layer_kind

_ITEM_BYTES = {"float32": 4, "int32": 4, "int64": 8, "bfloat16": 2, "float16": 2}


def edge_bytes(edge: Any) -> int:
    """Return the bytes of an edge for one sample; an open batch counts once.

    Parameters
    ----------
    edge : Edge

    Returns
    -------
    int
    """
    count = math.prod(1 if length is None else length for length in edge.shape)
    return int(count) * _ITEM_BYTES.get(edge.dtype, 1)


def layer_costs(graph: Any, *, precision: str = "fp32") -> list[LayerCost]:
    """Return the work of every node for one sample.

    Parameters
    ----------
    graph : Graph
    precision : str
        What float layers compute in: ``"fp32"`` or ``"bf16"``.

    Returns
    -------
    list of LayerCost
        A node whose data input is int8 or uint8 counts as int8, as does a dense layer that
        quantizes its input in each call.
    """
    edges, costs = graph.edges, []
    for index, node in enumerate(graph.nodes):
        inputs = [edges[i] for i in node.inputs if i >= 0]
        data = [edge for edge in inputs if not edge.is_constant]
        weights = [edge for edge in inputs if edge.is_constant]
        outputs = [edges[i] for i in node.outputs]
        quantized = bool(data) and data[0].dtype in ("int8", "uint8")
        dynamic = bool(node.attributes.get("dynamic"))
        costs.append(
            LayerCost(
                name=node.name,
                macs=int(graph.macs_of(index)),
                weight_bytes=sum(
                    edge_bytes(edge) if quantized else _executed_bytes(edge, node.op)
                    for edge in weights
                ),
                activation_bytes=sum(edge_bytes(edge) for edge in data + outputs),
                format="int8" if quantized or dynamic else precision,
                kind=layer_kind(graph, node),
            )
        )
    return costs


def _executed_bytes(edge: Any, op: str) -> int:
    """Bytes of a float layer's constant as it is read: only dense layers work on codes."""
    if edge.qparams is None or edge.dtype not in ("int8", "uint8"):
        return edge_bytes(edge)
    on_codes = op == "dense" and edge.qparams.codebook is None
    bits = (4 if edge.qparams.bits <= 4 else 8) if on_codes else 32
    return int(math.prod(edge.shape)) * bits // 8


def activation_peak_bytes(graph: Any) -> int:
    """Return the largest sum of activations that are alive at one node, for one sample.

    No memory planner can do with less (without computing in place), and a good one reaches it on
    most networks.

    Parameters
    ----------
    graph : Graph

    Returns
    -------
    int
        Bytes.
    """
    edges, nodes = graph.edges, graph.nodes
    last_use = dict.fromkeys(graph.output_ids, len(nodes))
    for step, node in enumerate(nodes):
        for edge in node.inputs:
            if edge >= 0 and not edges[edge].is_constant:
                last_use[edge] = max(step, last_use.get(edge, -1))
    alive = {edge: edge_bytes(edges[edge]) for edge in graph.input_ids}
    peak = sum(alive.values())
    for step, node in enumerate(nodes):
        for edge in node.outputs:
            alive[edge] = edge_bytes(edges[edge])
        peak = max(peak, sum(alive.values()))
        alive = {edge: size for edge, size in alive.items() if last_use.get(edge, -1) > step}
    return peak


__all__ = ["activation_peak_bytes", "edge_bytes", "layer_costs"]
