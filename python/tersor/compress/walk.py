"""A network executed piece by piece, with the values between two pieces at hand."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from ..runtime import Session


class Walk:
    """Values of the edges between the nodes that ran and those that did not, over all samples.

    Parameters
    ----------
    graph : Graph
    batches : iterable of lists of ndarray, or of mappings from edges to ndarray
        Inputs, one array each; or the values of another walk, to go on from there.
    threads : int
        0 follows :func:`tersor.set_threads`.
    session : Session, optional
        To use instead of a new one.

    Attributes
    ----------
    session : Session
        Whose weights may be updated before the walk passes them.
    values : list of dict of str to ndarray
        By edge, one dict per batch.
    """

    def __init__(
        self,
        graph: Any,
        batches: Iterable[Sequence[NDArray[Any]] | Mapping[str, Any]],
        threads: int,
        session: Session | None = None,
    ) -> None:
        self.graph = graph
        self.session = session or Session(graph, threads)
        names = self.session.input_names
        self.values: list[dict[str, NDArray[Any]]] = [
            dict(batch) if isinstance(batch, Mapping) else dict(zip(names, batch, strict=True))
            for batch in batches
        ]

    def advance(self, index: int) -> None:
        """Run every node in front of `index` that did not run yet.

        Parameters
        ----------
        index : int
            Not below that of the last call.
        """
        wanted = cut(self.graph, index)
        for i, known in enumerate(self.values):
            missing = [name for name in wanted if name not in known]
            got = self.session.run_edges(known, missing) if missing else {}
            self.values[i] = {n: known[n] if n in known else got[n] for n in wanted}


def cut(graph: Any, index: int) -> list[str]:
    """Return the edges between the nodes in front of `index` and the rest.

    Parameters
    ----------
    graph : Graph
    index : int

    Returns
    -------
    list of str
        Edges that the former or the outside make, and the latter read or the network returns.
    """
    edges, made = graph.edges, set(graph.input_ids)
    for node in graph.nodes[:index]:
        made.update(node.outputs)
    read = {i for node in graph.nodes[index:] for i in node.inputs} | set(graph.output_ids)
    return [edges[i].name for i in sorted(made & read)]


def most_between(graph: Any) -> int:
    """Return the values of one sample that are kept at once on a walk, at most.

    Parameters
    ----------
    graph : Graph

    Returns
    -------
    int
    """
    sizes: dict[str, int] = {
        e.name: math.prod(n for n in e.shape if n is not None) for e in graph.edges
    }
    return max(
        sum(sizes[name] for name in cut(graph, index)) for index in range(len(graph.nodes) + 1)
    )


__all__ = ["Walk", "cut", "most_between"]
