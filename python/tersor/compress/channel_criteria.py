"""What a channel is worth, by the criteria that need no framework."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..graph import Graph
from .removal_order import (
    LAYERS,
    RemovalOrder,
    orders_by_error,
    orders_by_norm,
    orders_by_score,
    unit_classes,
    weigh_by_outputs,
)

_FEW = 256  # samples on which the effect of a class on the outputs is measured


def rank_units(
    graph: Graph,
    channels: Any,
    criterion: str,
    *,
    scores: Mapping[str, Any] | None = None,
    batches: Sequence[Sequence[NDArray[Any]]] = (),
    threads: int = 0,
    progress: Any = None,
) -> list[RemovalOrder]:
    """Order the units of a network, class by class.

    Parameters
    ----------
    graph : Graph
    channels : Channels
    criterion : {"activation", "l1", "l2", "bn_gamma"}
        "bn_gamma" needs a graph whose BatchNorm is not folded.
    scores : mapping of str to array-like, optional
        By node, a number per output channel, instead of the criterion.
    batches : sequence of lists of ndarray
        For "activation".
    threads : int
    progress : callable, optional

    Returns
    -------
    list of RemovalOrder
    """
    classes = unit_classes(channels)
    if scores is not None:
        return orders_by_score(graph, channels, classes, scores)
    if criterion in ("l1", "l2"):
        return orders_by_norm(graph, channels, classes, int(criterion[1]))
    if criterion == "bn_gamma":
        return orders_by_score(graph, channels, classes, _gammas(graph))
    orders = orders_by_error(graph, channels, classes, batches, threads=threads, progress=progress)
    weigh_by_outputs(graph, orders, _head(batches, _FEW), threads)
    return orders


def scores_by_node(graph: Graph, scores: Mapping[str, Any], separator: str) -> dict[str, Any]:
    """Return scores by names of nodes, from names of modules or layers.

    Parameters
    ----------
    graph : Graph
    scores : mapping of str to array-like
    separator : str
        Between a layer and its weight in the weight's origin.

    Returns
    -------
    dict of str to array-like

    Raises
    ------
    ValueError
        If a name is no layer's.
    """
    names = {
        graph.edges[node.inputs[1]].origin.rpartition(separator)[0]: node.name
        for node in graph.nodes
        if node.op in LAYERS
    }
    unknown = [name for name in scores if name not in names]
    if unknown:
        raise ValueError(
            f"prune_channels: scores must be of layers ({', '.join(list(names)[:8])}, ...), got "
            f"{unknown[0]!r}"
        )
    return {names[name]: values for name, values in scores.items()}


def layers_behind(graph: Graph, channels: Any, operators: Sequence[str]) -> list[str]:
    """Return the layers whose channels pass an operator that changes their number or order.

    Parameters
    ----------
    graph : Graph
    channels : Channels
    operators : sequence of str

    Returns
    -------
    list of str
        Names of nodes.
    """
    units: set[int] = set()
    for node in graph.nodes:
        if node.op not in operators:
            continue
        x, y = channels.units_of[node.inputs[0]], channels.units_of[node.outputs[0]]
        if x != y:
            units.update(u for u in (*x, *y) if u >= 0)
    return sorted({graph.nodes[n].name for u in units for n, _ in channels.units[u].made})


def _gammas(graph: Graph) -> dict[str, NDArray[np.float64]]:
    edges, found = graph.edges, {}
    makers = {n.outputs[0]: n for n in graph.nodes if n.op in LAYERS}
    for node in graph.nodes:
        maker = makers.get(node.inputs[0]) if node.op == "batch_norm" else None
        if maker is not None:
            found[maker.name] = np.abs(np.asarray(edges[node.inputs[1]].constant, np.float64))
    if not found:
        raise ValueError(
            "prune_channels: network must have BatchNorm behind layers for 'bn_gamma', got none"
        )
    return found


def _head(batches: Sequence[Sequence[NDArray[Any]]], count: int) -> list[list[NDArray[Any]]]:
    out: list[list[NDArray[Any]]] = []
    for batch in batches:
        if count <= 0:
            break
        out.append([x[:count] for x in batch])
        count -= len(batch[0])
    return out


__all__ = ["layers_behind", "rank_units", "scores_by_node"]
