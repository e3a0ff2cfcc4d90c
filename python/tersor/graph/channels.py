"""Channels that hang together, and their removal. Native half: ``cpp/tersor/graph/channels.h``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .. import _core
from .graph import Graph


def find_channels(graph: Graph, *, excluded: Sequence[str] = ()) -> Any:
    """Find which channels of a network can be removed, and what has to go with each.

    Channels are followed through residual additions (zero-padded shortcuts too), concatenation,
    slices, pooling, depthwise and grouped convolutions, gates such as squeeze-excite, transposes
    and flattening. They stay where an operator mixes them (layer normalisation, attention), where
    they enter or leave the network, and in layers that `excluded` names.

    Parameters
    ----------
    graph : Graph
        A float network.
    excluded : sequence of str
        Patterns (``*``, ``?``) over names of layers, their modules and their weights' origins.

    Returns
    -------
    Channels
        `units`: each with `group`, and `made` and `read`, lists of (index of a node, channel);
        `groups`: lists of nodes whose output channels are tied to each other; `cover`: sets of
        units of which one each has to stay; `fixed`: a sentence for each layer whose channels stay.

    Raises
    ------
    GraphError
        If the network is quantized.
    ValueError
        If a pattern matches no layer.

    Examples
    --------
    >>> import numpy as np, tersor
    >>> from tersor.graph.channels import find_channels, remove_channels
    >>> graph = tersor.Graph()
    >>> x = graph.add_input("x", "float32", (None, 4))
    >>> for rows, columns in (8, 4), (3, 8):
    ...     w = graph.add_constant("w", np.ones((rows, columns), np.float32))
    ...     x = graph.add_node("dense", [x, w])
    >>> graph.set_outputs([x])
    >>> channels = find_channels(graph)
    >>> len(channels.units), channels.fixed
    (8, ['dense_1: the network returns them'])
    >>> remove_channels(graph, channels, np.arange(8) < 5).macs
    35
    """
    if isinstance(excluded, str):
        excluded = [excluded]
    return _core.graph.find_channels(graph, list(excluded))


def remove_channels(graph: Graph, channels: Any, keep: ArrayLike) -> Graph:
    """Build the network without some of its channels.

    What a removed channel gave to the layers that read it is gone; nothing is repaired.

    Parameters
    ----------
    graph : Graph
        A float network. It is not changed.
    channels : Channels
        From :func:`find_channels` of the same graph.
    keep : array-like of bool, shape (units,)

    Returns
    -------
    Graph
        With smaller weights and the same operators.

    Raises
    ------
    ValueError
        If `keep` has another length, or leaves a layer without any channel.
    """
    mask = np.asarray(keep)
    if mask.dtype != np.bool_ or mask.ndim != 1:
        raise TypeError(
            f"remove_channels: keep must be a vector of bool, got {mask.dtype} of {mask.shape}"
        )
    result = Graph(_core.graph.remove_channels(graph, channels, mask.tolist()))
    result.preprocess = dict(graph.preprocess)
    return result


__all__ = ["find_channels", "remove_channels"]
