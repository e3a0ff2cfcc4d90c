"""One layer of a network by itself: its weights, a session of it, and moments of what it sees."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..graph import Graph
from ..reconstruction import Moments
from ..runtime import Session


def own_parameters(graph: Graph, node: Any) -> tuple[Any, Any]:
    """Return the edges of a layer's weight and bias.

    Parameters
    ----------
    graph : Graph
    node : Node

    Returns
    -------
    weight : Edge
    bias : Edge or None
        None where the layer has none that is its alone.
    """
    edges = graph.edges
    bias = node.inputs[2] if len(node.inputs) > 2 else -1
    shared = sum(bias in other.inputs for other in graph.nodes) > 1
    return edges[node.inputs[1]], None if bias < 0 or shared else edges[bias]


def layer_session(
    graph: Graph,
    node: Any,
    threads: int,
    *,
    weight: NDArray[np.float32] | None = None,
    bias: NDArray[np.float32] | None = None,
) -> Session:
    """Return the layer without its activation.

    A bias that other nodes use too is left out.

    Parameters
    ----------
    graph : Graph
    node : Node
    threads : int
    weight, bias : ndarray of float32, optional
        Instead of its own.

    Returns
    -------
    Session
    """
    part = Graph()
    x = graph.edges[node.inputs[0]]
    own, own_bias = own_parameters(graph, node)
    value = own.constant if weight is None else np.ascontiguousarray(weight, np.float32)
    inputs = [part.add_input("x", x.dtype, x.shape), part.add_constant(own.name, value)]
    if own_bias is not None:
        shift = own_bias.constant if bias is None else np.ascontiguousarray(bias, np.float32)
        inputs.append(part.add_constant(own_bias.name, shift))
    attributes = {k: v for k, v in node.attributes.items() if k != "activation"}
    part.set_outputs([part.add_node(node.op, inputs, attributes, "layer")])
    return Session(part, threads)


def observe_layer(
    moments: Moments,
    node: Any,
    w: NDArray[Any],
    x: NDArray[Any],
    targets: NDArray[Any] | None = None,
) -> None:
    """Add a batch of a layer's inputs, and of what it should give, to moments.

    Parameters
    ----------
    moments : Moments
    node : Node
        A convolution, transposed convolution (with targets), dense layer or matmul.
    w : ndarray
        Its weight.
    x : ndarray
    targets : ndarray, optional
    """
    if node.op in ("dense", "matmul"):
        moments.add(x, targets)
        return
    rank = w.ndim - 2
    moments.add_images(
        x,
        targets,
        kernel=w.shape[2:],
        output=None if targets is None else targets.shape[2:],
        strides=node.attributes.get("strides") or None,
        dilations=node.attributes.get("dilations") or None,
        pads=list(node.attributes.get("pads") or [0] * (2 * rank)),
        transposed=node.op == "conv_transpose",
    )


__all__ = ["layer_session", "observe_layer", "own_parameters"]
