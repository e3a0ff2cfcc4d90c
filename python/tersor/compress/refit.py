"""A smaller network, fitted layer by layer to what the whole one gave."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..graph import Graph
from ..runtime import Session
from .calibrate import Progress
from .one_layer import own_parameters
from .prune_layer import Cut, LayerSamples, prune_layer, value_of, what_follows
from .walk import Walk

_PASSES = 3  # refits after the first that take into account what a ReLU cuts off
_LAYERS = ("conv", "dense")

Kept = Mapping[str, tuple[int, NDArray[np.int64]]]


class ShrunkSamples(LayerSamples):
    """What a layer of the smaller network sees, and what the whole one gave in its channels.

    Parameters
    ----------
    whole, small : Graph
    places : (int, int)
        Of the layer's node in both: a convolution that stands for a block gives what the block's
        last one does.
    kept : mapping of str to (axis, places)
        By edge that shrank.
    exact, changed : Walk
        Of `whole` and of `small`, in front of the layer.
    threads : int
    """

    def __init__(
        self,
        whole: Graph,
        small: Graph,
        places: tuple[int, int],
        kept: Kept,
        exact: Walk,
        changed: Walk,
        threads: int,
    ) -> None:
        super().__init__(whole, places[0], exact, changed, threads)
        self.node = small.nodes[places[1]]
        self.weight, self.bias = own_parameters(small, self.node)
        self._graph = small
        self._read = small.edges[self.node.inputs[0]].name
        self._added, _ = what_follows(small, places[1])
        self._places = kept.get(small.edges[self.node.outputs[0]].name)

    def _compute(self) -> Iterator[Any]:
        for right, got in zip(self._exact.values, self._changed.values, strict=True):
            wanted = self.wanted(right)
            if self._places is not None:
                axis, places = self._places
                wanted = np.ascontiguousarray(np.take(wanted, places, axis))
            beside = 0.0 if self._added is None else value_of(self._changed, got, self._added)
            yield got[self._read], wanted, beside


def refit_network(
    whole: Graph,
    small: Graph,
    kept: Kept,
    batches: Any,
    *,
    threads: int = 0,
    progress: Progress | None = None,
    passes: int = _PASSES,
) -> None:
    """Fit every layer of a network that lost channels or blocks to the outputs of the whole one.

    Parameters
    ----------
    whole, small : Graph
        `small` is `whole` without some channels, with one convolution in the place of some blocks,
        or both; layers go by their names. Its weights are changed.
    kept : mapping of str to (axis, places)
        By edge that shrank.
    batches : iterable of lists of ndarray
    threads : int, default 0
        0 follows :func:`tersor.set_threads`.
    progress : callable, optional
        Called as ``progress("refit", layers done, layers)``.
    passes : int
        Refits of a layer after the first, by what its ReLU cuts off.
    """
    todo = [i for i in range(len(small.nodes)) if _fits(small, i)]
    origin = {node.name: i for i, node in enumerate(whole.nodes)}
    first = next((i for i in todo if _changed(whole, origin, small, i)), None)
    todo = [] if first is None else [i for i in todo if i >= first]
    batches = list(batches)
    exact, changed = Walk(whole, batches, threads), Walk(small, batches, threads)
    for count, index in enumerate(todo):
        if progress is not None:
            progress("refit", count, len(todo))
        before = origin[small.nodes[index].name]
        exact.advance(before)
        changed.advance(index)
        samples = ShrunkSamples(whole, small, (before, index), kept, exact, changed, threads)
        layer = prune_layer(samples, Cut(0.0), passes=passes, threads=threads)
        _update(small, changed.session, samples.weight, layer.values)
        if samples.bias is not None and layer.bias is not None:
            _update(small, changed.session, samples.bias, layer.bias)
    if progress is not None:
        progress("refit", len(todo), len(todo))


def _update(graph: Graph, session: Session, edge: Any, value: NDArray[np.float32]) -> None:
    graph.set_constant(edge.name, value)
    session.update_weights(edge.name, value)


def _fits(graph: Graph, index: int) -> bool:
    node, edges = graph.nodes[index], graph.edges
    if node.op not in _LAYERS or edges[node.inputs[0]].is_constant:
        return False
    weights = [i for i in node.inputs[1:] if i >= 0]
    if not all(edges[i].is_constant and edges[i].dtype == "float32" for i in weights):
        return False
    return sum(node.inputs[1] in other.inputs for other in graph.nodes) == 1


def _changed(whole: Graph, origin: Mapping[str, int], small: Graph, index: int) -> bool:
    """Whether a layer lost inputs or stands for a block; before the first, all is as it was."""
    node = small.nodes[index]
    twin = whole.nodes[origin[node.name]]
    before, after = (g.edges[n.inputs[1]].shape for g, n in ((whole, twin), (small, node)))
    dim = 0 if node.op == "conv_transpose" else 1
    read = [g.edges[n.inputs[0]].name for g, n in ((whole, twin), (small, node))]
    return bool(before[dim] != after[dim] or read[0] != read[1])


__all__ = ["ShrunkSamples", "refit_network"]
