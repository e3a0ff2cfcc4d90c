"""What makes ONNX Runtime's predictions those of a session: types of codes, and rounding.

A session rounds accumulators as TFLite Micro does, twice. Its float form adds copysign(h, v),
h = 2^floor(log2 m), to v = accumulator * m before the one rounding (quantization/requantize.h);
without it 0.03-0.4 % of the codes of a layer differ by one. 20 layers of ResNet-20 turn that into
0.8 % other classes (1,000 test images), with it 0.3 % are other ones. The price: the layers that
have it are computed on dequantized values.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..graph.graph import Graph
from .onnx_writer import OnnxWriter

_SUMS = ("conv", "conv_transpose", "dense", "matmul", "mul", "reduce_mean", "avg_pool")


def unsigned_edges(graph: Graph) -> set[int]:
    """Edges whose codes are written as uint8, 128 higher.

    Without VNNI, ONNX Runtime multiplies int8 with int8 or uint8 in instructions that saturate
    (top-1 of MobileNetV2: 96.4 % agree); uint8 with uint8 it widens. Codes that enter or leave the
    network stay int8, and so do the weights of layers that read such codes.

    Parameters
    ----------
    graph : Graph

    Returns
    -------
    set of int
    """
    edges = graph.edges
    ends = {*graph.input_ids, *graph.output_ids}
    kept = {i for i in ends if edges[i].qparams is not None and not _is_bytes(edges[i])}
    found = {
        i
        for i, e in enumerate(edges)
        if e.qparams is not None and not e.is_constant and e.dtype == "int8" and i not in kept
    }
    for node in graph.nodes:
        if edges[node.outputs[0]].qparams is None or node.inputs[0] in kept:
            continue
        constants = {i for i in node.inputs if i >= 0 and edges[i].is_constant}
        found |= {i for i in constants if edges[i].dtype == "int8" and edges[i].qparams is not None}
    return found


def _is_bytes(edge: Any) -> bool:
    """Whether codes are byte - 128 (byte_input.py): the file's input are the bytes."""
    q = edge.qparams
    return bool(q.scale[0] == 1 and q.zero_point[0] == -128)


def add_rounding(w: OnnxWriter, node: Any, real: str, output: str) -> list[str]:
    """Append y + copysign(h, y) behind a layer, or what makes ties of an average go outwards.

    Parameters
    ----------
    w : OnnxWriter
    node : Node
    real, output : str
        Value y, and the name of the sum.

    Returns
    -------
    list of str
        Names of the nodes that were added, the last one first.
    """
    names = [f"{node.name}:{part}" for part in ("rounding", "offset", "sign")]
    offset = w.array(_offset(w, node), w.fresh(f"{output}:offset"))
    signed = real
    if node.op == "avg_pool":  # its codes are averaged as they are: 0 is where they change sign
        q = w.edges[node.outputs[0]].qparams
        origin = np.float32(q.scale[0] * q.zero_point[0])
        center = w.array(origin, w.fresh(f"{output}:origin"))
        names.append(f"{node.name}:codes")
        signed = w.node("Add", [real, center], w.fresh(f"{output}:codes"), names[3])
    sign = w.node("Sign", [signed], w.fresh(f"{output}:sign"), names[2])
    part = w.node("Mul", [sign, offset], w.fresh(f"{output}:part"), names[1])
    w.node("Add", [real, part], output, names[0])
    return names


def rounds_twice(w: OnnxWriter, node: Any) -> bool:
    """Whether a node on codes rounds otherwise than once, half to even.

    Parameters
    ----------
    w : OnnxWriter
    node : Node

    Returns
    -------
    bool
    """
    return node.op in _SUMS and bool(_offset(w, node).any())


def _offset(w: OnnxWriter, node: Any) -> NDArray[np.float32]:
    """Per output channel, in the unit of the output."""
    x, out = w.edges[node.inputs[0]], w.edges[node.outputs[0]]
    s_out = float(out.qparams.scale[0])
    if node.op == "avg_pool":  # a quarter of the smallest difference of two averages
        return np.asarray(s_out / (4 * math.prod(node.attributes["kernel"])), np.float32)
    multiplier = np.asarray([float(x.qparams.scale[0]) / s_out])
    if node.op == "reduce_mean":
        multiplier = multiplier / math.prod(x.shape[i] for i in node.attributes["axes"])
    else:
        multiplier = multiplier * np.asarray(w.edges[node.inputs[1]].qparams.scale, np.float64)
    power = np.floor(np.log2(multiplier))
    offset = np.where(power < -1, 2.0**power, 0.0) * s_out
    if offset.size == 1:
        return np.asarray(offset.reshape(()), np.float32)
    rank = 2 if node.op == "dense" else len(out.shape)
    return offset.reshape(1, -1, *[1] * (rank - 2)).astype(np.float32)


__all__ = ["add_rounding", "rounds_twice", "unsigned_edges"]
