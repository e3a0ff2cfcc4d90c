"""Which nodes of a captured network are trained with their rounding."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from .. import _core
from ..base.error import UnsupportedError
from ..compress.qat_scheme import Scheme
from ..compress.trained_graph import LAYERS
from .captured import Captured
from .quantized_operator import OPERATORS

_MOST_NAMES = 5  # of layers in a message


def place(captured: Captured, scheme: Scheme, name: str) -> tuple[Any, Scheme]:
    """Place quantizers where post-training quantization does and the captured module has a value.

    Operators that one side has in several parts and the other in one (attention, group
    normalization) have edges between them that are no value of the module; they stay in float, as
    a warning says.

    Parameters
    ----------
    captured : Captured
    scheme : Scheme
    name : str
        Of the module, for messages.

    Returns
    -------
    placement : Placement
    scheme : Scheme
        With a rule for each node that stays in float.

    Raises
    ------
    UnsupportedError
        If nothing is left to quantize.
    """
    nodes, edges = captured.graph.nodes, captured.graph.edges
    left: list[Any] = []
    while True:
        placement = _core.graph.place_quantizers(captured.graph, scheme.rules)
        found = sorted(set(_without_value(captured, placement)))
        if not found:
            break
        left += [nodes[n] for n in found]
        outputs = {edges[nodes[n].outputs[0]].name: 0 for n in found}
        others = {
            pattern: bits for pattern, bits in scheme.layers.items() if pattern not in outputs
        }
        scheme = replace(scheme, layers={**others, **outputs})  # the last rule counts
    left.sort(key=lambda node: node.op not in LAYERS)
    names = ", ".join(_readable(node, edges) for node in left[:_MOST_NAMES])
    names += " and others" if len(left) > _MOST_NAMES else ""
    why = f"{names}: no value of the captured module equals what the int8 network rounds there"
    if not any(placement.quantized):
        reasons = sorted({r for r in placement.reasons if r}) or ["it has no layer"]
        raise UnsupportedError(
            f"prepare_qat: {name} has nothing to quantize: {why if left else reasons[0]}"
        )
    if left:
        warnings.warn(f"prepare_qat: {name} keeps in float {why}", stacklevel=4)
    return placement, scheme


def _without_value(captured: Captured, placement: Any) -> Iterator[int]:
    """Quantized nodes that need the value of an edge to which none corresponds."""
    nodes, edges = captured.graph.nodes, captured.graph.edges
    made = {node.outputs[0]: n for n, node in enumerate(nodes)}
    for n, node in enumerate(nodes):
        if not placement.quantized[n]:
            continue
        inputs = [i for i in node.inputs if i >= 0 and not edges[i].is_constant]
        for edge in inputs if placement.group_of[node.outputs[0]] >= 0 else []:
            maker = made.get(edge)
            rounded = maker is not None and placement.quantized[maker] and _rounds(nodes[maker])
            if placement.group_of[edge] >= 0 and not rounded and edge not in captured.node_of:
                yield n
        if node.outputs[0] not in captured.node_of and _needs_output(node, placement):
            yield n


def _rounds(node: Any) -> bool:
    return node.op in LAYERS or (node.op in OPERATORS and not node.attributes.get("ceil_mode"))


def _needs_output(node: Any, placement: Any) -> bool:
    out = node.outputs[0]
    group = placement.group_of[out]
    if _rounds(node) or out in placement.groups[group].sources:
        return True
    return any(placement.group_of[i] not in (group, -1) for i in node.inputs if i >= 0)


def _readable(node: Any, edges: Any) -> str:
    """The parameter that a user knows, or the node."""
    origins = [edges[i].origin for i in node.inputs if i >= 0 and edges[i].is_constant]
    known = next((origin for origin in origins if origin), None)
    return f"{node.op} {node.name}" + (f" ({known})" if known else "")


__all__ = ["place"]
