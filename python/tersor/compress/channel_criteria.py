"""What a channel is worth, by the criteria that need no framework."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..graph import Graph
from ..graph.channels import find_channels
from ..runtime import Session
from .calibrate import network_batches
from .removal_order import (
    LAYERS,
    RemovalOrder,
    orders_by_error,
    orders_by_norm,
    orders_by_score,
    unit_classes,
    weigh_by_outputs,
)

_CLOSE = 1e-3  # of the largest output: two implementations of float32
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


def same_outputs(got: Sequence[NDArray[Any]], graph: Graph, inputs: Sequence[Any]) -> bool:
    """Return whether a rebuilt network gives what a graph gives, within two ways of float32.

    Parameters
    ----------
    got : sequence of ndarray
        Its outputs.
    graph : Graph
    inputs : sequence of ndarray

    Returns
    -------
    bool
    """
    wanted = Session(graph)(*inputs)
    truth = list(wanted) if isinstance(wanted, (list, tuple)) else [wanted]
    return len(got) == len(truth) and all(
        a.shape == b.shape
        and np.allclose(a, b, rtol=_CLOSE, atol=_CLOSE * max(1e-6, float(np.abs(b).max())))
        for a, b in zip(got, truth, strict=True)
    )


def find_units(graph: Graph, excluded: Sequence[str]) -> Any:
    """Return the channels of a network, of which some can go.

    Parameters
    ----------
    graph : Graph
    excluded : sequence of str
        Patterns of layers whose output channels stay.

    Returns
    -------
    Channels

    Raises
    ------
    ValueError
        If none can go.
    """
    channels = find_channels(graph, excluded=excluded)
    if not channels.units:
        why = "; ".join(channels.fixed[:3]) or "it has no layer"
        raise ValueError(
            f"prune_channels: network must have channels that can go, got none ({why})"
        )
    return channels


def criterion_batches(graph: Graph, criterion: str, data: Any) -> list[list[NDArray[Any]]]:
    """Return the samples that a criterion needs: none, or the data in batches.

    Parameters
    ----------
    graph : Graph
    criterion : str
    data : array or None

    Returns
    -------
    list of lists of ndarray

    Raises
    ------
    ValueError
        If data are needed and missing.
    """
    if criterion != "activation":
        return []
    if data is None:
        raise ValueError("prune_channels: data must be given for 'activation', got None")
    return list(network_batches(graph, data, None, limit=1024))


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


__all__ = [
    "criterion_batches",
    "find_units",
    "layers_behind",
    "rank_units",
    "same_outputs",
    "scores_by_node",
]
