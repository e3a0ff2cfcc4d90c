"""High-bias absorption: biases that a ReLU lets through move on to the next layer."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..base.threads import get_threads
from ..data.preprocess import Preprocess
from ..graph import Graph
from ..reconstruction import absorb_bias
from ..runtime import Session
from .calibrate import network_batches

# Below this share of a channel's range nothing is gained that rounding would show.
_LEAST_SHARE = 2.0**-6
_LAYERS = ("conv", "dense")


def absorb_biases(
    graph: Any, data: Any, preprocess: Preprocess | None, samples: int, seed: int
) -> tuple[Graph, list[str]]:
    """Move biases through ReLUs where that keeps the function on the samples.

    A channel whose output was at least c in every sample keeps its function when c leaves its bias
    and goes to the next layer's, if nothing between the two mixes in zeros (padding) or reads it
    otherwise.

    Parameters
    ----------
    graph : Graph
        Float, canonical. Not changed.
    data : array, path, mapping of arrays, or iterable of batches
        Unlabeled samples.
    preprocess : Preprocess or None
    samples, seed : int
        How many are used at most, and what draws them.

    Returns
    -------
    graph : Graph
        A copy.
    layers : list of str
        That gave something.

    References
    ----------
    .. [1] Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction",
       ICCV 2019, section 4.1.3 (there three deviations below the mean of BatchNorm).
    """
    out = Graph(graph)
    pairs = _pairs(out)
    if not pairs:
        return out, []
    edges = out.edges
    names = [edges[first.outputs[0]].name for first, _ in pairs]
    least = [np.inf] * len(pairs)
    most = [-np.inf] * len(pairs)
    session = Session(out, get_threads())
    for batch in network_batches(out, data, preprocess, limit=samples, seed=seed):
        seen = session.taps(*batch, edges=names)
        for i, name in enumerate(names):
            flat = _per_channel(seen[name])
            least[i] = np.minimum(least[i], flat.min(axis=1))
            most[i] = np.maximum(most[i], flat.max(axis=1))
    done = []
    for (first, second), low, high in zip(pairs, least, most, strict=True):
        part = np.where(low > _LEAST_SHARE * np.maximum(high, 1e-30), low, 0.0)
        if not part.any():
            continue
        w = np.asarray(out.edge(edges[second.inputs[1]].name).constant, np.float64)
        old = (np.asarray(edges[node.inputs[2]].constant) for node in (first, second))
        bias, following = absorb_bias(next(old), _dense_view(second, w, len(part)), next(old), part)
        out.set_constant(first.inputs[2], bias.astype(np.float32))
        out.set_constant(second.inputs[2], following.astype(np.float32))
        edges = out.edges
        done.append(first.name)
    return out, done


def _pairs(graph: Any) -> list[tuple[Any, Any]]:
    """Layers with a ReLU and the layer that alone reads them, without padding or mixing."""
    edges, nodes, outputs = graph.edges, graph.nodes, set(graph.output_ids)
    readers: dict[int, list[Any]] = {}
    for node in nodes:
        for i in node.inputs:
            readers.setdefault(i, []).append(node)

    def owns(node: Any) -> bool:
        return len(node.inputs) > 2 and all(
            i >= 0 and edges[i].is_constant and edges[i].dtype == "float32" and len(readers[i]) == 1
            for i in node.inputs[1:]
        )

    found = []
    for node in nodes:
        if node.op not in _LAYERS or node.attributes.get("activation") != "relu" or not owns(node):
            continue
        at = node
        while True:
            out = at.outputs[0]
            if out in outputs or len(readers.get(out, [])) != 1:
                break
            at = readers[out][0]
            if at.op in _LAYERS:
                if owns(at) and _takes(at, edges):
                    found.append((node, at))
                break
            if not _passes(at, edges):
                break
    return found


def _takes(node: Any, edges: Any) -> bool:
    if node.op == "dense":
        return len(edges[node.inputs[0]].shape) == 2
    return node.attributes.get("groups", 1) == 1 and not any(node.attributes.get("pads") or [])


def _passes(node: Any, edges: Any) -> bool:
    """Whether a constant per channel comes out as it went in."""
    before, after = edges[node.inputs[0]].shape, edges[node.outputs[0]].shape
    if node.op in ("max_pool", "avg_pool"):
        whole = not node.attributes.get("ceil_mode")
        return whole and not any(node.attributes.get("pads") or [])
    if node.op == "reduce_mean":
        axes = {axis % len(before) for axis in node.attributes["axes"]}
        return not axes & {0, 1}
    if node.op == "reshape":
        return len(after) == 2 and len(before) > 2 and before[0] == after[0]
    return bool(node.op == "identity")


def _per_channel(x: NDArray[Any]) -> NDArray[np.float64]:
    axis = 1 if x.ndim > 1 else 0
    return np.moveaxis(np.asarray(x, np.float64), axis, 0).reshape(x.shape[axis], -1)


def _dense_view(node: Any, w: NDArray[np.float64], channels: int) -> NDArray[np.float64]:
    """A dense layer reads a channel as so many features."""
    return w.reshape(len(w), channels, -1) if node.op == "dense" else w


__all__ = ["absorb_biases"]
