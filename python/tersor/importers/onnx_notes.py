"""What tersor writes beside an ONNX network, so that it comes back as it was."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ..data.preprocess import Preprocess
from ..graph.graph import Graph
from .errors import ImportFormatError

ORIGIN = "tersor.origin"  # of an initializer: the framework's name of the parameter
PREPROCESS = "tersor.preprocess"  # of the model: how raw data becomes its input, JSON
NARROW_WEIGHTS = "tersor.narrow_weights"  # of the model: layer -> float16 or bfloat16, JSON
ROUNDING = "tersor.rounding"  # of the model: nodes that only spell out how a session rounds, JSON


def remove_rounding(network: Any) -> None:
    """Take out the nodes that say how codes are rounded: a session does that by itself.

    Parameters
    ----------
    network : onnx_ir.Model

    Raises
    ------
    ImportFormatError
        If the note is not what tersor writes.
    """
    text = network.metadata_props.get(ROUNDING)
    if text is None:
        return
    try:
        names = json.loads(text)
    except (ValueError, RecursionError):
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ImportFormatError("import: metadata of tersor is not valid: rounding must be names")
    wanted = set(names)
    found = {node.name: node for node in network.graph if node.name in wanted}
    for name in names:
        node = found.pop(name, None)
        if node is None:
            continue
        if name.endswith(":rounding") and node.op_type == "Add":
            node.outputs[0].replace_all_uses_with(node.inputs[0])
        if not node.outputs[0].uses() and not node.outputs[0].is_graph_output():
            network.graph.remove(node, safe=True)


def restore_notes(graph: Graph, properties: Mapping[str, str]) -> None:
    """Apply the metadata of a model to the graph that it became.

    Parameters
    ----------
    graph : Graph
    properties : mapping of str to str

    Raises
    ------
    ImportFormatError
        If they are not what tersor writes.
    """
    try:
        if PREPROCESS in properties:
            preprocess = _object(properties[PREPROCESS])
            Preprocess.parse(preprocess or None)
            graph.preprocess = preprocess
        if NARROW_WEIGHTS in properties:
            names: dict[str, list[str]] = {}
            for node, dtype in _object(properties[NARROW_WEIGHTS]).items():
                names.setdefault(str(dtype), []).append(node)
            known = {node.name for node in graph.nodes}
            for dtype, nodes in names.items():
                graph.narrow_weights(dtype, [name for name in nodes if name in known])
    except (TypeError, ValueError, RecursionError) as error:
        raise ImportFormatError(f"import: metadata of tersor is not valid: {error}") from None


def _object(text: str) -> dict[str, Any]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise TypeError(f"it must hold an object, got {type(value).__name__}")
    return value


__all__ = [
    "NARROW_WEIGHTS",
    "ORIGIN",
    "PREPROCESS",
    "ROUNDING",
    "remove_rounding",
    "restore_notes",
]
