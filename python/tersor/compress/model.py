"""``tersor.CompressedModel``: a network, its recipe and where it came from."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .. import artifact
from ..base.error import ArtifactError
from ..base.plain_text import plain_text
from ..base.schema import check_path
from ..data.preprocess import Preprocess
from ..graph import Graph
from ..targets.units import format_bytes
from .advice import worst_layers
from .recipe import Recipe

if TYPE_CHECKING:
    from rich.table import Table


_PARTS = ("preprocess", "lineage", "notes")


class CompressedModel:
    """A compressed network. `tersor.compress` makes it, `tersor.load` reads it from a file.

    Parameters
    ----------
    graph : Graph
        The network as it is executed and saved.
    recipe : Recipe
        What was done to it.
    lineage : mapping
        Where it comes from: hash of the parent, versions, seed, target. Part of the content.
    notes : mapping, optional
        What was found while compressing, such as layers left in float. Part of the content.
    provenance : mapping, optional
        Measurements and times; not part of the content, and saved only on request.
    """

    def __init__(
        self,
        graph: Graph,
        recipe: Recipe,
        lineage: Mapping[str, Any],
        notes: Mapping[str, Any] | None = None,
        provenance: Mapping[str, Any] | None = None,
    ) -> None:
        self.graph = graph
        self.recipe = recipe
        self.lineage: dict[str, Any] = dict(lineage)
        self.notes: dict[str, Any] = dict(notes or {})
        self.provenance: dict[str, Any] = dict(provenance or {})

    @property
    def preprocess(self) -> dict[str, Any]:
        """How raw data becomes the network's input; empty where it is not known."""
        return self.graph.preprocess

    @property
    def precision(self) -> str:
        """What float layers compute in: "fp32" or "bf16"."""
        return "bf16" if self.recipe.values == "bf16" else "fp32"

    @property
    def metadata(self) -> dict[str, Any]:
        """What is saved beside the graph as part of the content."""
        return {
            "recipe": self.recipe.to_dict(),
            "preprocess": self.preprocess,
            "lineage": self.lineage,
            "notes": self.notes,
        }

    @property
    def nbytes(self) -> int:
        """Bytes of the file that `save` writes, without provenance."""
        return len(artifact.encode(self.graph, self.metadata))

    @property
    def content_hash(self) -> str:
        """SHA-256 of graph, weights, parameters, recipe and lineage, in 64 hexadecimal digits."""
        return artifact.content_hash(self.graph, self.metadata)

    def save(self, path: str | os.PathLike[str], *, provenance: bool = False) -> None:
        """Write a ``.tersor`` file; it appears completely or not at all.

        Parameters
        ----------
        path : path-like
        provenance : bool, default False
            Write what was measured too: then two files of the same content differ. Without it, the
            same content is the same bytes, and their SHA-256 is `content_hash`.

        Raises
        ------
        ArtifactError
            If the file cannot be written.
        ValueError
            If the name does not end in ``.tersor``, by which `tersor.load` knows it.
        """
        name = check_path(path, what="save: path")
        if not name.endswith(".tersor"):
            raise ValueError(f"save: path must end in .tersor, got {name!r}")
        artifact.save(path, self.graph, self.metadata, self.provenance if provenance else None)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> CompressedModel:
        """Read a ``.tersor`` file.

        Parameters
        ----------
        path : path-like

        Returns
        -------
        CompressedModel

        Raises
        ------
        ArtifactError
            If the file cannot be read or is damaged.
        """
        native, metadata, provenance = artifact.load(path)
        graph = Graph(native)
        try:
            parts = {name: dict(metadata.get(name) or {}) for name in _PARTS}
            Preprocess.parse(parts["preprocess"] or None)
            reasons = dict(parts["notes"].get("float_layers") or {})
            if not all(isinstance(reason, str) for reason in reasons.values()):
                raise TypeError("float_layers must be a mapping of layers to reasons")
            recipe = Recipe.parse(metadata.get("recipe") or "keep")
        except (TypeError, ValueError) as error:
            raise ArtifactError(f"artifact: section metadata is not valid: {error}") from None
        graph.preprocess = parts["preprocess"]
        return cls(graph, recipe, parts["lineage"], parts["notes"], provenance)

    def summary(self) -> Table:
        """Describe every layer in a table for terminals and notebooks.

        Returns
        -------
        rich.table.Table
            Columns layer, operator, weights, activations, bytes, and why a layer stays in float.
        """
        from rich.table import Table

        table = Table(
            title=plain_text(f"recipe {self.recipe.name}", "table.title"),
            caption=plain_text(self._totals(), "table.caption"),
            caption_justify="left",
        )
        for name in ("layer", "op", "weights", "output"):
            table.add_column(name)
        table.add_column("bytes", justify="right")
        table.add_column("note")
        for row in self._rows():
            table.add_row(*map(plain_text, row))
        return table

    def _rows(self) -> list[tuple[str, ...]]:
        edges, seen = self.graph.edges, set[int]()
        rows: list[tuple[str, ...]] = []
        reasons = self.notes.get("float_layers", {})
        for node in self.graph.nodes:
            constants = [i for i in node.inputs if i >= 0 and edges[i].is_constant]
            if not constants and node.name not in reasons:
                continue
            stored = sum(edges[i].constant.nbytes for i in constants if i not in seen)
            seen.update(constants)
            rows.append(
                (
                    node.name,
                    node.op,
                    _format(edges[constants[0]]) if constants else "",
                    _format(edges[node.outputs[0]]),
                    f"{stored:,}" if stored else "",
                    reasons.get(node.name, ""),
                )
            )
        return rows

    def _totals(self) -> str:
        parameters = sum(math.prod(e.shape) for e in self.graph.edges if e.is_constant)
        lines = [
            f"{len(self.graph.nodes)} nodes, {parameters:,} parameters, "
            f"file {format_bytes(self.nbytes)}",
            f"content {self.content_hash[:16]}, parent {str(self.lineage.get('parent', ''))[:16]}",
        ]
        lines += worst_layers(self.provenance.get("agreement"))
        figures = self.provenance.get("figures")
        if isinstance(figures, dict):  # from a file, where anything may stand
            lines += [f"{name} {value}" for name, value in figures.items()]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return (
            f"CompressedModel(recipe {self.recipe.name}, {self.nbytes:,} bytes, "
            f"{self.content_hash[:16]})"
        )

    def __str__(self) -> str:
        from rich.console import Console

        console = Console(width=120)
        with console.capture() as capture:
            console.print(self.summary())
        return capture.get()

    def _repr_html_(self) -> str:
        from html import escape

        heads = ("layer", "op", "weights", "output", "bytes", "note")
        head = "".join(f"<th>{h}</th>" for h in heads)
        body = "".join(
            "<tr>" + "".join(f"<td>{escape(c)}</td>" for c in row) + "</tr>" for row in self._rows()
        )
        totals = escape(self._totals()).replace("\n", "<br>")
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table><p>{totals}</p>"


def _format(edge: Any) -> str:
    """Return the number format of an edge, such as "int8 per channel"."""
    if edge.qparams is None:
        return str(edge.dtype)
    count = len(edge.qparams.scale)
    return f"{edge.dtype} per channel" if count > 1 else str(edge.dtype)


__all__ = ["CompressedModel"]
