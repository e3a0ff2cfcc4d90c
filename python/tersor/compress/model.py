"""``tersor.CompressedModel``: a network, its recipe and where it came from."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from .. import _core, artifact
from ..base.error import ArtifactError
from ..base.plain_text import plain_text
from ..base.schema import check_path
from ..data.preprocess import Preprocess
from ..exporters import Exported, export
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
    def precision(self) -> Literal["fp32", "bf16"]:
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

    def save(
        self,
        path: str | os.PathLike[str],
        *,
        provenance: bool = False,
        profile: str | None = "fast",
    ) -> None:
        """Write a ``.tersor`` file; it appears completely or not at all.

        Parameters
        ----------
        path : path-like
        provenance : bool, default False
            Write what was measured too: then two files of the same content differ. Without it, the
            same content is the same bytes, and their SHA-256 is `content_hash`.
        profile : {"fast", "small"} or None, default "fast"
            How weights are entropy-coded, without loss. "fast" decodes about as fast as a file is
            read; "small" saves several percent more and takes longer to write and to load (some
            25 M weights a second on each core); None stores codes and floats as they are. `nbytes`
            and `content_hash` are those of "fast".

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
        measured = self.provenance if provenance else None
        artifact.save(path, self.graph, self.metadata, measured, profile=profile)

    def export(
        self, path: str | os.PathLike[str], format: str | None = None, **options: Any
    ) -> Exported:
        """Write the network for another runtime; the file appears completely or not at all.

        Parameters
        ----------
        path : path-like
        format : str, optional
            Such as "onnx"; by default what the suffix says.
        **options : object
            What the format takes, see :func:`tersor.exporters.export`.

        Returns
        -------
        Exported
            Size, and which weights the format could not hold as they are.

        Raises
        ------
        ValueError
            If the format or an option is not known.
        UnsupportedError
            If the format has no form for an operator; the message names the layer.
        OSError
            If it cannot be written there.
        """
        return export(self, path, format, **options)

    def to_torch(self) -> Any:
        """Give the network as a PyTorch module, for further use in a pipeline.

        Returns
        -------
        torch.nn.Module
            A :class:`tersor.torch.NetworkModule`: parameters hold the values that the session
            computes with (dequantized weights), quantized activations are rounded in float.

        Raises
        ------
        ImportError
            If PyTorch is not installed.
        """
        # By name: this room must not depend on that one.
        return import_module("tersor.torch").to_torch(self)

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
            for note in ("float_layers", "nearest_layers"):
                reasons = dict(parts["notes"].get(note) or {})
                if not all(isinstance(reason, str) for reason in reasons.values()):
                    raise TypeError(f"{note} must be a mapping of layers to reasons")
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
        from ..base.printed_table import PrintedTable

        table = PrintedTable(
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
        reasons = {
            name: f"rounded to nearest: {why}"
            for name, why in self.notes.get("nearest_layers", {}).items()
        } | self.notes.get("float_layers", {})
        for node in self.graph.nodes:
            constants = [i for i in node.inputs if i >= 0 and edges[i].is_constant]
            if not constants and node.name not in reasons:
                continue
            stored = sum(stored_bytes(edges[i]) for i in constants if i not in seen)
            seen.update(constants)
            rows.append(
                (
                    node.name,
                    node.op,
                    _weights_text(edges[constants[0]]) if constants else "",
                    _output_text(node, edges),
                    f"{stored:,}" if stored else "",
                    reasons.get(node.name, ""),
                )
            )
        return rows

    def _totals(self) -> str:
        parameters = sum(math.prod(e.shape) for e in self.graph.edges if e.is_constant)
        lines = [
            f"{len(self.graph.nodes)} nodes, {parameters:,} parameters, "
            f"file {format_bytes(self.nbytes)}{self._bits_text()}",
            f"content {self.content_hash[:16]}, parent {str(self.lineage.get('parent', ''))[:16]}",
        ]
        lines += worst_layers(self.provenance.get("agreement"))
        figures = self.provenance.get("figures")
        if isinstance(figures, dict):  # from a file, where anything may stand
            lines += [f"{name} {value}" for name, value in figures.items()]
        return "\n".join(lines)

    def _bits_text(self) -> str:
        """Bits that a quantized weight takes with its scales."""
        weights = [e for e in self.graph.edges if e.dtype in ("int8", "uint8") and e.is_constant]
        count = sum(math.prod(e.shape) for e in weights)
        if not count:
            return ""
        bits = 8 * sum(stored_bytes(e) for e in weights) / count
        return f", {bits:.2f} bits a quantized weight"

    def __repr__(self) -> str:
        return (
            f"CompressedModel(recipe {self.recipe.name}, {self.nbytes:,} bytes, "
            f"{self.content_hash[:16]})"
        )

    def __str__(self) -> str:
        return str(self.summary())

    def _repr_html_(self) -> str:
        from html import escape

        heads = ("layer", "op", "weights", "output", "bytes", "note")
        head = "".join(f"<th>{h}</th>" for h in heads)
        body = "".join(
            "<tr>" + "".join(f"<td>{escape(c)}</td>" for c in row) + "</tr>" for row in self._rows()
        )
        totals = escape(self._totals()).replace("\n", "<br>")
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table><p>{totals}</p>"


def stored_bytes(edge: Any) -> int:
    """Return the bytes that a file holds for a constant: values, scales, zero points, codebook.

    Parameters
    ----------
    edge : Edge

    Returns
    -------
    int
        Zeros are left out where that pays. Without the alignment of streams; the scale of a bias
        follows from others and takes none.
    """
    q = edge.qparams
    if q is None or edge.dtype not in ("int8", "uint8"):
        return int(_core.artifact.stored_bytes(edge.constant, 32, "fast"))
    floats = [q.scale] if q.zero_point_float is None else [q.scale, q.zero_point_float]
    halves = all((f == f.astype(np.float16)).all() for f in floats) and len(q.scale) > 1
    integers = 4 * len(q.scale) if (q.zero_point != 0).any() else 0
    scales = len(floats) * len(q.scale) * (2 if halves else 4)
    return int(
        _core.artifact.stored_bytes(edge.constant, q.bits, "fast")
        + scales
        + integers
        + _codebook_bytes(q)
    )


def _codebook_bytes(q: Any) -> int:
    """Return the bytes of a codebook: integers take one each, float16 values two."""
    if q.codebook is None:
        return 0
    values = q.codebook
    if (values == np.clip(np.rint(values), -127, 127)).all():
        return int(values.size)
    return int(values.size) * (2 if (values == values.astype(np.float16)).all() else 4)


def _weights_text(edge: Any) -> str:
    """Return the format of a weight, such as "int4 group 32"."""
    q = edge.qparams
    if q is None or edge.dtype not in ("int8", "uint8"):
        return str(edge.dtype)
    words = [f"{'int' if q.signed else 'uint'}{q.bits}"]
    if q.codebook is not None:
        tables, k = q.codebook.shape
        words = [f"codebook {k}" if tables == 1 else f"{tables} codebooks {k}"]
    if q.group_size:
        words.append(f"group {q.group_size}")
    elif len(q.scale) > 1:
        words.append("per channel")
    if q.zero_point_float is not None:
        words.append("float zero points")
    return " ".join(words)


def _output_text(node: Any, edges: Any) -> str:
    out = edges[node.outputs[0]]
    return f"{out.dtype}, dynamic int8 in" if node.attributes.get("dynamic") else str(out.dtype)


__all__ = ["CompressedModel", "stored_bytes"]
