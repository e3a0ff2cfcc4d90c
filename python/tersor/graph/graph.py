"""``tersor.Graph``. Native half: ``cpp/tersor/graph/graph.h``."""

from __future__ import annotations

import copy
import copyreg
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..base.plain_text import plain_text
from .statistics import input_means

if TYPE_CHECKING:
    from rich.table import Table


class Graph(_core.graph.Graph):
    """A network in tersor's intermediate representation.

    Made by :func:`tersor.load`, :func:`tersor.from_torch`, :func:`tersor.from_keras`, or by hand.
    Shapes are logical, channels first; a leading batch is ``None``.

    Parameters
    ----------
    other : Graph, optional
        The graph to copy; weights are shared until one of both changes them. Empty otherwise.

    Attributes
    ----------
    preprocess : dict
        How raw data becomes this network's input; saved with the network.
    input_means : dict of str to ndarray
        Mean input of layers per channel, by name, as far as the BatchNorm that `canonicalize`
        folds told them; not saved.

    Examples
    --------
    >>> import tersor
    >>> graph = tersor.Graph()
    >>> x = graph.add_input("x", "float32", (None, 4))
    >>> graph.set_outputs([graph.add_node("relu", [x], {}, "relu")])
    >>> [node.op for node in graph.nodes]
    ['relu']
    """

    preprocess: dict[str, Any]
    input_means: dict[str, NDArray[np.float64]]

    def __init__(self, other: _core.graph.Graph | None = None) -> None:
        if other is None:
            super().__init__()
        elif not isinstance(other, _core.graph.Graph):
            raise TypeError(f"Graph: other must be a tersor.Graph, got {type(other).__name__}")
        else:
            super().__init__(other)
        self.preprocess = dict(getattr(other, "preprocess", {}))
        self.input_means = dict(getattr(other, "input_means", {}))

    @property
    def inputs(self) -> list[Any]:
        """Edges that are fed from outside, in order."""
        edges = self.edges
        return [edges[i] for i in self.input_ids]

    @property
    def outputs(self) -> list[Any]:
        """Edges that the network returns, in order."""
        edges = self.edges
        return [edges[i] for i in self.output_ids]

    @property
    def weight_bytes(self) -> int:
        """Bytes of all constants."""
        return int(self.constant_bytes)

    @property
    def parameters(self) -> int:
        """Number of values in all constants."""
        return sum(math.prod(e.shape) for e in self.edges if e.is_constant)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one sample."""
        return sum(int(self.macs_of(i)) for i in range(len(self.nodes)))

    def canonicalize(self) -> Any:
        """Fold batch norm, fuse activations and so on, in place; keeps the function."""
        self.input_means |= input_means(self)
        return super().canonicalize()

    def clone(self) -> Graph:
        """Copy the graph; weights are shared until one of both changes them."""
        return Graph(self)

    def __copy__(self) -> Graph:
        return self.clone()

    def __deepcopy__(self, memo: dict[int, Any]) -> Graph:
        # Writing to a shared weight copies it, so a clone is as good as a deep copy.
        twin = self.clone()
        twin.preprocess = copy.deepcopy(self.preprocess, memo)
        return twin

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as the bytes of an artifact, which are checked when they are read."""
        return _from_artifact, (
            _core.artifact.encode(self),
            self.preprocess,
            self.input_means,
        )

    def summary(self) -> Table:
        """Describe every node in a table for terminals and notebooks.

        Returns
        -------
        rich.table.Table
            Columns node, operator, output shape, parameters, MACs of one sample, weight's origin.
        """
        from ..base.printed_table import PrintedTable

        table = PrintedTable(
            title=plain_text(self.description, "table.title") if self.description else None,
            caption=plain_text(self._totals(), "table.caption"),
            caption_justify="left",
        )
        for name in ("node", "op", "output"):
            table.add_column(name)
        table.add_column("params", justify="right")
        table.add_column("MACs", justify="right")
        table.add_column("origin")
        for row in self._rows():
            table.add_row(*map(plain_text, row))
        return table

    def _rows(self) -> list[tuple[str, str, str, str, str, str]]:
        edges, seen, rows = self.edges, set[int](), []
        for index, node in enumerate(self.nodes):
            weights = [i for i in node.inputs if i >= 0 and edges[i].is_constant]
            count = sum(math.prod(edges[i].shape) for i in weights if i not in seen)
            seen.update(weights)
            out = edges[node.outputs[0]]
            macs = int(self.macs_of(index))
            rows.append(
                (
                    node.name,
                    _operator_text(node),
                    _type_text(out),
                    f"{count:,}" if count else "",
                    f"{macs:,}" if macs else "",
                    edges[weights[0]].origin if weights else "",
                )
            )
        return rows

    def _totals(self) -> str:
        ends = [
            ", ".join(f"{e.name} {_type_text(e)}" for e in edges)
            for edges in (self.inputs, self.outputs)
        ]
        return (
            f"{ends[0]} -> {ends[1]}\n{len(self.nodes)} nodes, {self.parameters:,} parameters "
            f"({self.weight_bytes:,} bytes), {self.macs:,} MACs"
        )

    def __str__(self) -> str:
        return str(self.summary())

    def __repr__(self) -> str:
        return (
            f"Graph({len(self.nodes)} nodes, {self.parameters:,} parameters, "
            f"inputs {[e.name for e in self.inputs]}, outputs {[e.name for e in self.outputs]})"
        )

    def _repr_html_(self) -> str:
        from html import escape

        head = "".join(
            f"<th>{h}</th>" for h in ("node", "op", "output", "params", "MACs", "origin")
        )
        body = "".join(
            "<tr>" + "".join(f"<td>{escape(c)}</td>" for c in row) + "</tr>" for row in self._rows()
        )
        totals = escape(self._totals()).replace("\n", "<br>")
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table><p>{totals}</p>"


def _from_artifact(
    data: bytes, preprocess: dict[str, Any], means: dict[str, NDArray[np.float64]]
) -> Graph:
    native, _, _ = _core.artifact.decode(data)
    graph = Graph(native)
    graph.preprocess, graph.input_means = dict(preprocess), dict(means)
    return graph


def _native_from_artifact(data: bytes) -> _core.graph.Graph:
    native: _core.graph.Graph = _core.artifact.decode(data)[0]
    return native


def _reduce_native(graph: _core.graph.Graph) -> tuple[Any, ...]:
    return _native_from_artifact, (_core.artifact.encode(graph),)


# `Session.graph` and `artifact.decode` give the native class.
copyreg.pickle(_core.graph.Graph, _reduce_native)


def _operator_text(node: Any) -> str:
    activation = node.attributes.get("activation", "none")
    return str(node.op) if activation == "none" else f"{node.op} + {activation}"


def _type_text(edge: Any) -> str:
    shape = ", ".join("N" if d is None else str(d) for d in edge.shape)
    return f"[{shape}]" if edge.dtype == "float32" else f"{edge.dtype} [{shape}]"


__all__ = ["Graph"]
