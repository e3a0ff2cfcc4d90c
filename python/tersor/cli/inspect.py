"""``tersor inspect``: what is in a network's file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .options import load_model, new_command
from .output import print_json, print_rich


def add_parser(commands: Any) -> None:
    """Add the command.

    Parameters
    ----------
    commands : object
        What ``add_subparsers`` returned.
    """
    parser = new_command(
        commands,
        "inspect",
        "show the layers of a network and where its bytes go",
        "Show a network: inputs, outputs, layers, formats; for .tersor files also recipe, lineage "
        "and where every byte goes.",
    )
    parser.add_argument("model", help="network: .onnx, .tflite, .tersor, .keras, .h5, or digits")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Load and print.

    Parameters
    ----------
    options : argparse.Namespace
    """
    from .. import artifact
    from ..report.model import graph_of

    model = load_model(options.model)
    graph = graph_of(model)
    contents = stored = None
    if Path(options.model).suffix.lower() == ".tersor":
        contents = artifact.inspect(options.model)
        stored = artifact.storage(options.model)
    if options.json:
        print_json(
            {**_describe(graph), **_describe_compressed(model), "file": contents, "storage": stored}
        )
        return
    print_rich(graph.summary() if model is graph else model.summary())
    if contents is not None and stored is not None:
        print_rich(_storage(stored))
        print_rich(_sections(contents))


def _describe(graph: Any) -> dict[str, Any]:
    edges = graph.edges
    return {
        "description": graph.description,
        "inputs": [_edge(edges[index]) for index in graph.input_ids],
        "outputs": [_edge(edges[index]) for index in graph.output_ids],
        "parameters": graph.parameters,
        "weight_bytes": graph.weight_bytes,
        "macs": graph.macs,
        "preprocess": dict(graph.preprocess),
        "layers": [
            {
                "name": node.name,
                "op": node.op,
                "attributes": node.attributes,
                "output": _edge(edges[node.outputs[0]]),
                "weights": [
                    _weight(edges[i]) for i in node.inputs if i >= 0 and edges[i].is_constant
                ],
                "macs": int(graph.macs_of(index)),
            }
            for index, node in enumerate(graph.nodes)
        ],
    }


def _edge(edge: Any) -> dict[str, Any]:
    return {"name": edge.name, "dtype": edge.dtype, "shape": list(edge.shape)}


def _weight(edge: Any) -> dict[str, Any]:
    q = edge.qparams
    if q is None:
        return _edge(edge)
    return {
        **_edge(edge),
        "bits": q.bits,
        "scales": len(q.scale),
        "group_size": q.group_size,
        "float_zero_point": q.zero_point_float is not None,
        "codebook": None if q.codebook is None else list(q.codebook.shape),
    }


def _describe_compressed(model: Any) -> dict[str, Any]:
    if not hasattr(model, "recipe"):
        return {"recipe": None}
    return {
        "recipe": model.recipe.to_dict(),
        "lineage": model.lineage,
        "notes": model.notes,
        "provenance": model.provenance,
        "content_hash": model.content_hash,
    }


_STORED = ("values", "indices", "codebook", "scales", "metadata", "bytes")
_PEERS = ("float32", "raw", "gzip", "zstd")


def _storage(stored: dict[str, Any]) -> Any:
    from rich.table import Table

    table = Table(title="bytes of every tensor", title_justify="left")
    for head in ("tensor", "structure", "type", "coding"):
        table.add_column(head)
    for head in (*_STORED, *_PEERS):
        table.add_column(head, justify="right")
    for row in stored["tensors"]:
        words = [row.get("origin", row["name"])]
        words += [str(row.get(key, "")) for key in ("structure", "dtype", "coding")]
        table.add_row(*words, *(_count(row.get(key)) for key in (*_STORED, *_PEERS)))
    total = stored["total"]
    table.add_section()
    table.add_row("total", "", "", "", *(_count(total[key]) for key in (*_STORED, *_PEERS)))
    return table


def _count(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _sections(contents: dict[str, Any]) -> Any:
    from rich.table import Table

    version = ".".join(str(part) for part in contents["version"])
    table = Table(
        title=f"file of {contents['file_bytes']:,} bytes, version {version}",
        title_justify="left",
    )
    table.add_column("section")
    table.add_column("bytes", justify="right")
    table.add_column("share", justify="right")
    for section in contents["sections"]:
        share = section["length"] / contents["file_bytes"]
        table.add_row(section["name"], f"{section['length']:,}", f"{100 * share:.1f} %")
    return table


__all__ = ["add_parser", "run"]
