"""The int8 graph of a network that was trained with its rounding: parameters are taken as given."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..base.error import UnsupportedError
from ..graph.graph import Graph
from .qat_scheme import Scheme

LAYERS = ("conv", "conv_transpose", "dense")  # native operators with a weight


@dataclass(frozen=True)
class TrainedLayer:
    """Weight and bias of a layer in the native layout, BatchNorm folded in, with their codes.

    Attributes
    ----------
    weight : ndarray of float32
    bias : ndarray of float32, optional
    codes : ndarray of int8
        Of the weight.
    scale : ndarray of float32, shape (scales,)
    bits : int
    axis : int, optional
        Of the scales; None for one.
    bias_codes : ndarray of int32, optional
        At scale ``input * scale``.
    """

    weight: NDArray[np.float32]
    bias: NDArray[np.float32] | None
    codes: NDArray[np.int8]
    scale: NDArray[np.float32]
    bits: int
    axis: int | None
    bias_codes: NDArray[np.int32] | None


def trained_graph(
    graph: Graph, scheme: Scheme, groups: Mapping[int, Any], layers: Mapping[str, TrainedLayer]
) -> Graph:
    """Build the int8 graph.

    Parameters
    ----------
    graph : Graph
        The float network, canonical; its weights are overwritten.
    scheme : Scheme
    groups : mapping of int to QParams
        By group of the placement, those without given parameters.
    layers : mapping of str to TrainedLayer
        By native node.

    Returns
    -------
    Graph
    """
    placement = _core.graph.place_quantizers(graph, scheme.rules)
    _set_floats(graph, layers)
    ranges = [(0.0, 0.0)] * len(placement.groups)
    qparams = _core.graph.group_qparams(graph, placement, ranges)
    for index, group in enumerate(placement.groups):
        if group.fixed is None and index in groups:
            qparams[index] = groups[index]
    quantized = Graph(
        _core.graph.apply_quantization(
            graph, placement, qparams, dense_per_channel=scheme.dense_per_channel
        )
    )
    quantized.preprocess = dict(graph.preprocess)
    for node in quantized.nodes:
        if node.name in layers:
            _set_codes(quantized, node, layers[node.name])
    quantized.verify()
    return quantized


def _set_floats(graph: Graph, layers: Mapping[str, TrainedLayer]) -> None:
    """Give the float graph the folded weights, so that what is derived from them agrees."""
    edges = graph.edges
    for node in graph.nodes:
        found = layers.get(node.name)
        if found is None:
            continue
        for edge, value in zip(node.inputs[1:], (found.weight, found.bias), strict=False):
            if edge >= 0 and value is not None and edges[edge].shape == value.shape:
                graph.set_constant(edge, np.ascontiguousarray(value, np.float32))


def _set_codes(graph: Graph, node: Any, found: TrainedLayer) -> None:
    edges = graph.edges
    weight = node.inputs[1]
    codes = found.codes.reshape(tuple(edges[weight].shape))
    scale = np.asarray(found.scale, np.float32)
    graph.set_constant(weight, np.ascontiguousarray(codes))
    graph.set_qparams(
        weight,
        _core.quantization.QParams(
            scale=scale.tolist(),
            zero_point=[0] * len(scale),
            bits=found.bits,
            narrow=True,
            axis=found.axis,
        ),
    )
    if len(node.inputs) < 3 or node.inputs[2] < 0:
        if found.bias_codes is not None:
            raise UnsupportedError(f"layer {node.name} must have a bias in the graph, got none")
        return
    bias = node.inputs[2]
    wide = found.bias_codes
    if wide is None:
        wide = np.zeros(tuple(edges[bias].shape), np.int32)
    steps = edges[node.inputs[0]].qparams.scale[0] * scale
    graph.set_constant(bias, np.ascontiguousarray(wide))
    graph.set_qparams(
        bias,
        _core.quantization.QParams(
            scale=steps.tolist(),
            zero_point=[0] * len(steps),
            bits=32,
            axis=None if found.axis is None else 0,
        ),
    )


def weight_form(graph: Graph, node: Any, scheme: Scheme) -> tuple[int, int | None, int]:
    """Decide how a layer's weight is rounded.

    Parameters
    ----------
    graph : Graph
    node : Node
    scheme : Scheme

    Returns
    -------
    bits : int
    scales : int or None
        Their number; None for one of the whole tensor.
    axis : int
        Of the scales.
    """
    edges = graph.edges
    names = [node.name, edges[node.outputs[0]].name]
    names += [edges[i].origin for i in node.inputs[1:] if i >= 0]
    bits = scheme.bits
    for pattern, chosen in scheme.layers.items():
        if _matches(pattern, names):
            bits = chosen
    grouped = node.op == "conv_transpose" and node.attributes["groups"] != 1
    # TFLite's scheme has one scale for a dense layer of 8 bits; 4 bits need them per channel.
    each = scheme.dense_per_channel if node.op == "dense" else scheme.conv_per_channel
    one = grouped or (bits == 8 and not each)
    axis = 1 if node.op == "conv_transpose" else 0
    return bits, None if one else int(edges[node.inputs[1]].shape[axis]), axis


def _matches(pattern: str, names: Sequence[str]) -> bool:
    expression = fnmatch.translate(pattern.replace("[", "[[]"))
    return any(re.fullmatch(expression, name) for name in names)


__all__ = ["LAYERS", "TrainedLayer", "trained_graph", "weight_form"]
