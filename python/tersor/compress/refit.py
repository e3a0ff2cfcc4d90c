"""A network with fewer channels, fitted layer by layer to what the whole one gave."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..graph import Graph
from ..runtime import Session
from .calibrate import Progress
from .one_layer import own_parameters
from .prune_layer import Cut, LayerSamples, prune_layer
from .walk import Walk

_PASSES = 3  # refits after the first that take into account what a ReLU cuts off
_LAYERS = ("conv", "dense")

Kept = Mapping[str, tuple[int, NDArray[np.int64]]]


class ShrunkSamples(LayerSamples):
    """What a layer of the smaller network sees, and what the whole one gave in its channels.

    Parameters
    ----------
    whole, small : Graph
        With the same nodes.
    index : int
        Of the layer's node.
    kept : mapping of str to (axis, places)
        By edge of `whole` that shrank.
    exact, changed : Walk
        Of `whole` and of `small`, in front of the layer.
    threads : int
    """

    def __init__(
        self,
        whole: Graph,
        small: Graph,
        index: int,
        kept: Kept,
        exact: Walk,
        changed: Walk,
        threads: int,
    ) -> None:
        super().__init__(whole, index, exact, changed, threads)
        self.node = small.nodes[index]
        self.weight, self.bias = own_parameters(small, self.node)
        self._graph = small
        self._places = kept.get(whole.edges[whole.nodes[index].outputs[0]].name)

    def _compute(self) -> Iterator[Any]:
        for x, wanted, beside in super()._compute():
            if self._places is not None:
                axis, places = self._places
                wanted = np.ascontiguousarray(np.take(wanted, places, axis))
            yield x, wanted, beside


def refit_network(
    whole: Graph,
    small: Graph,
    kept: Kept,
    batches: Any,
    *,
    threads: int = 0,
    progress: Progress | None = None,
) -> None:
    """Fit every layer of a network that lost channels to the outputs of the one that has them.

    Parameters
    ----------
    whole, small : Graph
        `small` is `whole` without some channels; its weights are changed.
    kept : mapping of str to (axis, places)
        By edge of `whole` that shrank.
    batches : iterable of lists of ndarray
    threads : int, default 0
        0 follows :func:`tersor.set_threads`.
    progress : callable, optional
        Called as ``progress("refit", layers done, layers)``.
    """
    todo = [i for i in range(len(small.nodes)) if _fits(small, i)]
    first = next((i for i in todo if _shrank(whole, small, i)), None)
    todo = [] if first is None else [i for i in todo if i >= first]
    batches = list(batches)
    exact, changed = Walk(whole, batches, threads), Walk(small, batches, threads)
    for count, index in enumerate(todo):
        if progress is not None:
            progress("refit", count, len(todo))
        exact.advance(index)
        changed.advance(index)
        samples = ShrunkSamples(whole, small, index, kept, exact, changed, threads)
        layer = prune_layer(samples, Cut(0.0), passes=_PASSES, threads=threads)
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


def _shrank(whole: Graph, small: Graph, index: int) -> bool:
    """Whether a layer lost inputs: what stands before the first such layer is as it was."""
    before, after = (g.edges[g.nodes[index].inputs[1]].shape for g in (whole, small))
    transposed = small.nodes[index].op == "conv_transpose"
    return bool(before[0 if transposed else 1] != after[0 if transposed else 1])


__all__ = ["ShrunkSamples", "refit_network"]
