"""From which sparsity on layers run faster, one by one and in a sentence per kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..report.model import zeros_of
from ..runtime.sparse_pays import break_even, conv_shape, has_winograd
from ..targets.target import Target
from .advice_result import Finding, LayerAdvice

_OPS = ("conv", "conv_transpose", "dense", "matmul")
_CODES = ("int8", "uint8")
_NEVER = "its dense form is faster at any sparsity"


def advise_layers(
    graph: Any, kernels: Mapping[str, str], micro_batch: int, target: Target | None
) -> list[LayerAdvice]:
    """Return what is known of every layer with weights.

    Parameters
    ----------
    graph : Graph
        Canonical.
    kernels : mapping of str to str
        Kernel of each node.
    micro_batch : int
    target : Target or None

    Returns
    -------
    list of LayerAdvice
    """
    edges = graph.edges
    return [
        _advise_layer(graph, index, kernels.get(node.name, ""), micro_batch, target)
        for index, node in enumerate(graph.nodes)
        if node.op in _OPS and edges[node.inputs[1]].is_constant
    ]


def _advise_layer(
    graph: Any, index: int, kernel: str, micro_batch: int, target: Target | None
) -> LayerAdvice:
    node, edges = graph.nodes[index], graph.edges
    weight, data = edges[node.inputs[1]], edges[node.inputs[0]]
    dynamic = bool(node.attributes.get("dynamic"))
    dtype = "int8" if dynamic or data.dtype in _CODES else "float32"
    shapes = [conv_shape(graph, node, rows) for rows in (1, micro_batch)]
    shape, kind = shapes[0], _kind(node, weight.shape)
    why = _no_sparse_form(shape, kind, dynamic, target)
    shares: list[float | None] = [None, None]
    blocks = None
    if shape is not None and not why:
        if has_winograd(shape, dtype=dtype):
            kind += " in Winograd's form"
        shares = [break_even(each, dtype=dtype) for each in shapes if each is not None]
        if target is None or "int8" in target.formats:
            blocks = break_even(shape, dtype="int8")
        why = _NEVER if shares == [None, None] and blocks is None else ""
    return LayerAdvice(
        name=node.name,
        op=node.op,
        origin=weight.origin,
        kind=kind,
        macs=int(graph.macs_of(index)),
        dtype=dtype,
        sparsity=_empty_blocks(weight) if dtype == "int8" else _zeros(weight),
        pays_from=shares[0],
        pays_from_batch=shares[1],
        pays_from_int8=blocks,
        kernel=kernel,
        why_not=why,
    )


def _no_sparse_form(shape: Any, kind: str, dynamic: bool, target: Target | None) -> str:
    if target is not None and target.isa == "armv7e-m":
        return f"there is no sparse kernel for {target.isa}"
    if dynamic:
        return "the session quantizes its input in each call and runs it dense"
    return f"the session runs {kind} dense" if shape is None else ""


def _kind(node: Any, shape: Any) -> str:
    if node.op != "conv":
        return {"conv_transpose": "transposed convolutions", "dense": "dense layers"}.get(
            node.op, "matrix products"
        )
    groups = node.attributes["groups"]
    if groups > 1:
        return "depthwise convolutions" if shape[1] == 1 else "grouped convolutions"
    kind = "x".join(map(str, shape[2:])) + " convolutions"
    strides = sorted(set(node.attributes["strides"]))
    if strides != [1]:
        kind += " with stride " + "x".join(map(str, strides))
    return kind


def _zeros(edge: Any) -> float:
    zeros, size = zeros_of(edge)
    return zeros / max(1, size)


def _empty_blocks(edge: Any) -> float:
    """Share of the blocks of four input channels that are all 0; of weights where 4 do not fit."""
    values = np.asarray(edge.constant)
    if values.ndim < 2 or values.shape[1] % 4 != 0 or values.size == 0:
        return _zeros(edge)
    blocks = values.reshape(values.shape[0], values.shape[1] // 4, 4, -1)
    return float(1 - blocks.any(axis=2).mean())


def sparsity_findings(
    layers: list[LayerAdvice], micro_batch: int, target: Target | None
) -> list[Finding]:
    """Return a sentence for each kind of layer.

    Parameters
    ----------
    layers : list of LayerAdvice
    micro_batch : int
    target : Target or None

    Returns
    -------
    list of Finding
        Those with most multiply-accumulates first.
    """
    total = max(1, sum(layer.macs for layer in layers))
    here = target is None or target.runs_here()
    groups: dict[tuple[str, str, str], list[LayerAdvice]] = {}
    for layer in layers:
        groups.setdefault((layer.kind, layer.why_not, layer.dtype), []).append(layer)
    findings = []
    for (kind, why, _), group in groups.items():
        macs = sum(layer.macs for layer in group)
        text = f"{kind}, {macs / total:.0%} of the MACs: "
        if why:
            text += f"zeros save bytes of the file but no time, {why}"
        else:
            text += _faster_from(group, micro_batch)
            if "Winograd" in kind:
                text += " (that dense form needs 2 to 3 times fewer products)"
        names = tuple(layer.name for layer in group)
        by_table = "table" if here else "modelled"
        source = by_table if why in ("", _NEVER) else "graph"
        findings.append((macs, Finding("sparsity", not why, names, text, source)))
    return [finding for _, finding in sorted(findings, key=lambda item: -item[0])]


def _faster_from(group: list[LayerAdvice], micro_batch: int) -> str:
    unit = "empty 1x4 blocks" if group[0].dtype == "int8" else "zeros"
    single, batch = ([getattr(g, a) for g in group] for a in ("pays_from", "pays_from_batch"))
    ready = sum(
        layer.pays_from is not None and layer.sparsity >= layer.pays_from for layer in group
    )
    now = f" ({ready} of {len(group)} already)" if ready else ""
    if single == batch:
        text = f"faster {_range(single, unit)}{now}"
    else:
        many = f"{_range(batch, unit)} in batches of {micro_batch}"
        text = f"faster {_range(single, unit)} with one sample{now}, {many}"
    blocks = [layer.pays_from_int8 for layer in group]
    if unit == "zeros" and any(share is not None for share in blocks):
        text += f"; in int8 {_range(blocks, 'empty 1x4 blocks')}"
    return text


def _range(values: list[float | None], unit: str) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "at no sparsity"
    low, high = min(known), max(known)
    text = f"from {100 * low:.0f} to {high:.0%}" if high > low else f"from {low:.0%}"
    text += f" of {unit} on"
    never = len(values) - len(known)
    return text + (f" ({never} of {len(values)} never)" if never else "")


__all__ = ["advise_layers", "sparsity_findings"]
