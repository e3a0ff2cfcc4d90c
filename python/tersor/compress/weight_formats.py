"""Formats of float layers: stored narrow, or weights as codes.

Native half: ``cpp/tersor/graph/weight_codes.h``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from .. import _core
from ..graph import Graph
from .layer_format import LayerFormat
from .recipe import Recipe

# Share of zeros above which a weight counts as pruned.
_CHANCE = 0.02
_WEIGHTED = {"conv", "conv_transpose", "dense", "matmul"}
_LARGEST_HALF, _LEAST_HALF = 65504.0, 2.0**-14  # finite, and with all its digits
_STORAGE = {"fp16": "float16", "bf16": "bfloat16"}


def layer_formats(graph: Any, recipe: Recipe) -> dict[str, LayerFormat]:
    """What a recipe makes of each node.

    Parameters
    ----------
    graph : Graph
        Canonical.
    recipe : Recipe
        Not of values "keep".

    Returns
    -------
    dict of str to LayerFormat
        By name, every node. Weights that were pruned get no float zero points, which would turn
        their zeros into something else.

    Raises
    ------
    ValueError
        If a pattern of the recipe matches no layer.
    """
    formats = list(recipe.layers.values())
    chosen = _core.graph.match_layers(graph, list(recipe.layers))
    found = {}
    for node, i in zip(graph.nodes, chosen, strict=True):
        layer = recipe.format if i < 0 else formats[i]
        if layer.float_zero_point and _is_pruned(graph, node):
            layer = replace(layer, float_zero_point=False)
        found[node.name] = layer
    return found


def _is_pruned(graph: Any, node: Any) -> bool:
    """Whether a weight has more zeros than chance gives."""
    if node.op not in _WEIGHTED:
        return False
    weight = graph.edges[node.inputs[1]].constant
    return weight is not None and bool(np.mean(np.asarray(weight) == 0) > _CHANCE)


def layer_names(graph: Graph) -> dict[str, list[str]]:
    """List the names that patterns of a recipe match.

    Parameters
    ----------
    graph : Graph

    Returns
    -------
    dict of str to list of str
        By layer of the network that is compressed (batch normalization is part of the layer in
        front of it there): its name, its outputs, its weights in the source framework, and the
        modules that these belong to.

    Examples
    --------
    >>> import numpy as np, tersor
    >>> graph = tersor.Graph()
    >>> x = graph.add_input("x", "float32", (None, 4))
    >>> w = graph.add_constant("w", np.eye(4, dtype=np.float32), "head.0.weight")
    >>> graph.set_outputs([graph.add_node("dense", [x, w], {}, "linear", "y")])
    >>> tersor.compress.layer_names(graph)
    {'linear': ['linear', 'y', 'head.0.weight', 'head.0']}
    """
    native: Any = graph.clone()
    if all(edge.qparams is None for edge in graph.edges):
        native.canonicalize()
    return dict(_core.graph.layer_names(native))


def placement_rules(recipe: Recipe) -> list[tuple[str, str]]:
    """The recipe as rules for ``place_quantizers``: int8 activations or not."""
    rules = [] if recipe.format.activations == "int8" else [("*", "fp32")]
    for pattern, layer in recipe.layers.items():
        rules.append((pattern, "int8" if layer.activations == "int8" else "fp32"))
    return rules


def low_weight_bits(formats: dict[str, LayerFormat]) -> dict[str, int]:
    """Bits of the weights of int8 layers where they are not 8, by name."""
    return {
        name: layer.bits
        for name, layer in formats.items()
        if layer.activations == "int8"
        and layer.bits not in (None, 8)
        and not layer.is_codebook  # 8 bits where there can be none
    }


def store_float_layers(
    graph: Any, formats: dict[str, LayerFormat], *, least_squares: bool = False
) -> dict[str, str]:
    """Give the float layers of a graph the formats of their weights, in place.

    Parameters
    ----------
    graph : Graph
        Float, or with some int8 layers, which are left alone.
    formats : dict of str to LayerFormat
        By node, from `layer_formats`.
    least_squares : bool, default False
        Search ranges by squared error.

    Returns
    -------
    dict of str to str
        Layers that stay as they are though they should not, and why.
    """
    edges, codes = graph.edges, {}
    outside: dict[str, str] = {}
    narrow: dict[str, list[str]] = {dtype: [] for dtype in _STORAGE.values()}
    for node in graph.nodes:
        layer = formats.get(node.name)
        if layer is None or node.op not in _WEIGHTED or not edges[node.inputs[1]].is_constant:
            continue
        # Codes that samples chose stay; a dynamic layer with them still has to become one.
        chosen = edges[node.inputs[1]].qparams is not None and layer.activations == "dynamic"
        if edges[node.inputs[0]].dtype != "float32":
            continue
        if edges[node.inputs[1]].dtype != "float32" and not chosen:
            continue
        if layer.values in _STORAGE:
            reason = _outside_float16(edges[node.inputs[1]].constant)
            if layer.values == "fp16" and reason:
                outside[node.name] = reason
            else:
                narrow[_STORAGE[layer.values]].append(node.name)
        elif layer.weight_only or layer.activations == "dynamic":
            codes[node.name] = native_format(layer, node.op, least_squares=least_squares)
    for dtype, names in narrow.items():
        if names:
            graph.narrow_weights(dtype, names)
    left: dict[str, str] = graph.quantize_weights_only(codes)
    return left | outside


def _outside_float16(weight: Any) -> str:
    """Why weights lose more than rounding in float16; empty where they do not."""
    largest = float(np.abs(weight).max(initial=0))
    if largest > _LARGEST_HALF:
        return f"weights reach {largest:.3g}, float16 ends at 65504"
    if 0 < largest < _LEAST_HALF:
        return f"weights reach {largest:.3g} only, where float16 has few digits"
    return ""


def native_format(layer: LayerFormat, op: str, *, least_squares: bool = False) -> Any:
    """Return a layer's format as the native passes take it.

    Parameters
    ----------
    layer : LayerFormat
        Of quantized weights and float activations.
    op : str
    least_squares : bool, default False
        Search ranges by squared error.

    Returns
    -------
    WeightFormat
    """
    return _core.graph.WeightFormat(
        bits=layer.bits or 8,
        group_size=layer.group_size or 0,
        float_zero_point=layer.float_zero_point,
        least_squares=least_squares,
        dynamic=layer.activations == "dynamic" and op == "dense",
    )


__all__ = [
    "layer_formats",
    "layer_names",
    "low_weight_bits",
    "native_format",
    "placement_rules",
    "store_float_layers",
]
