"""From which sparsity on layers run faster, one by one and in a sentence per kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..report.model import zeros_of
from ..runtime.sparse_pays import SPARSE_DTYPES, break_even, conv_shape, has_winograd
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
    edges, found = graph.edges, []
    for index, node in enumerate(graph.nodes):
        if node.op not in _OPS or not edges[node.inputs[1]].is_constant:
            continue
        weight = edges[node.inputs[1]]
        data = edges[node.inputs[0]].dtype
        zeros, size = zeros_of(weight)
        dtype = "int8" if data in _CODES or node.attributes.get("dynamic") else "float32"
        shapes = [conv_shape(graph, node, rows) for rows in (1, micro_batch)]
        shape, kind = shapes[0], _kind(node, weight.shape)
        why = _no_sparse_form(shape, kind, dtype, target)
        shares: list[float | None] = [None, None]
        if not why:
            if dtype == "float32" and shape is not None and has_winograd(shape):
                kind += " in Winograd's form"
            shares = [break_even(each, dtype=dtype) for each in shapes if each is not None]
            why = _NEVER if shares == [None, None] else ""
        found.append(
            LayerAdvice(
                name=node.name,
                op=node.op,
                origin=weight.origin,
                kind=kind,
                macs=int(graph.macs_of(index)),
                sparsity=zeros / max(1, size),
                pays_from=shares[0],
                pays_from_batch=shares[1],
                kernel=kernels.get(node.name, ""),
                why_not=why,
            )
        )
    return found


def _no_sparse_form(shape: Any, kind: str, dtype: str, target: Target | None) -> str:
    if target is not None and target.isa == "armv7e-m":
        return f"there is no sparse kernel for {target.isa}"
    if dtype not in SPARSE_DTYPES:
        return f"the session has no sparse {dtype} kernel"
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
    groups: dict[tuple[str, str], list[LayerAdvice]] = {}
    for layer in layers:
        groups.setdefault((layer.kind, layer.why_not), []).append(layer)
    findings = []
    for (kind, why), group in groups.items():
        macs = sum(layer.macs for layer in group)
        text = f"{kind}, {macs / total:.0%} of the MACs: "
        if why:
            text += f"zeros save bytes of the file but no time, {why}"
        else:
            text += _faster_from(group, micro_batch)
            if "Winograd" in kind:
                text += "; that dense form needs 2 to 3 times fewer products"
        names = tuple(layer.name for layer in group)
        by_table = "table" if here else "modelled"
        source = by_table if why in ("", _NEVER) else "graph"
        findings.append((macs, Finding("sparsity", not why, names, text, source)))
    return [finding for _, finding in sorted(findings, key=lambda item: -item[0])]


def _faster_from(group: list[LayerAdvice], micro_batch: int) -> str:
    single, batch = ([getattr(g, a) for g in group] for a in ("pays_from", "pays_from_batch"))
    ready = sum(
        layer.pays_from is not None and layer.sparsity >= layer.pays_from for layer in group
    )
    now = f" ({ready} of {len(group)} already)" if ready else ""
    if single == batch:
        return f"faster {_range(single)}{now}"
    return (
        f"faster {_range(single)} with one sample{now}, {_range(batch)} in batches of {micro_batch}"
    )


def _range(values: list[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "at no sparsity"
    low, high = min(known), max(known)
    text = f"from {100 * low:.0f} to {high:.0%}" if high > low else f"from {low:.0%}"
    text += " of zeros on"
    never = len(values) - len(known)
    return text + (f" ({never} of {len(values)} never)" if never else "")


__all__ = ["advise_layers", "sparsity_findings"]
