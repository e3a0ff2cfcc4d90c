"""TFLite files: NHWC, int8 by TFLite's own scheme. For LiteRT and TFLite Micro."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np

from .. import __version__
from ..base.error import UnsupportedError
from ..graph.graph import Graph
from .decode import with_widened, without_codebooks
from .files import write_file
from .onnx import with_float_type
from .physical import Order, Physical, channels_last
from .tflite_elementwise import ELEMENTWISE
from .tflite_emit import refuse
from .tflite_layers import LAYERS
from .tflite_shaping import SHAPING
from .tflite_writer import Tensor, require_tflite

_EMITTERS = {**ELEMENTWISE, **LAYERS, **SHAPING}
_MOST_BYTES = (1 << 31) - 1  # of a FlatBuffer
_SPATIAL = {"conv", "conv_transpose", "max_pool", "avg_pool", "resize", "batch_norm"}
_ROW_MAJOR = {"dense", "matmul", "layer_norm", "gather", "reshape", "expand", "transpose"}


def write(
    graph: Graph,
    path: Path,
    *,
    dtype: Literal["float32", "float16"] | None = None,
    ends: Literal["float32", "int8"] = "float32",
    layout: Literal["channels_last", "source"] = "channels_last",
) -> dict[str, str]:
    """Write a ``.tflite`` file.

    Parameters
    ----------
    graph : Graph
    path : Path
    dtype : {"float32", "float16"}, optional
        Element type in which the weights of float layers are stored; by default as in the graph.
    ends : {"float32", "int8"}
        Types of the inputs and outputs of an int8 network: floats, or the codes themselves.
    layout : {"channels_last", "source"}
        Axes of image inputs and outputs: as TFLite wants them, so that nothing is transposed, or
        as the network has them.

    Returns
    -------
    dict of str to str
        Layers whose weights TFLite cannot hold as they are, and what was written.

    Raises
    ------
    UnsupportedError
        An operator has no TFLite form, or the file would be beyond 2 GB.
    """
    data, decoded = to_tflite(graph, dtype=dtype, ends=ends, layout=layout)
    write_file(path, data)
    return decoded


def to_tflite(
    graph: Graph,
    *,
    dtype: Literal["float32", "float16"] | None = None,
    ends: Literal["float32", "int8"] = "float32",
    layout: Literal["channels_last", "source"] = "channels_last",
) -> tuple[bytes, dict[str, str]]:
    """Convert to the bytes of a ``.tflite`` file.

    Parameters
    ----------
    graph : Graph
    dtype : {"float32", "float16"}, optional
    ends : {"float32", "int8"}
    layout : {"channels_last", "source"}
        As for :func:`write`.

    Returns
    -------
    data : bytes
    decoded : dict of str to str
        As :func:`write` returns.
    """
    require_tflite()
    for name, value, known in (
        ("ends", ends, ("float32", "int8")),
        ("layout", layout, ("channels_last", "source")),
    ):
        if value not in known:
            raise ValueError(f"export: {name} must be {' or '.join(known)}, got {value!r}")
    given = graph
    graph, decoded = without_codebooks(graph)
    graph = with_float_type(graph, dtype)
    if sum(e.constant.nbytes for e in graph.edges if e.is_constant) > _MOST_BYTES:
        raise UnsupportedError("export: a TFLite file must be at most 2 GB; dtype='float16' helps")
    p = Physical(graph)
    p.decoded |= decoded
    skipped = _inputs(p, ends, layout)
    for node in graph.nodes:
        if node.outputs[0] in skipped:
            continue
        if node.op not in _EMITTERS:
            raise refuse(node, "the exporter does not know it")
        _EMITTERS[node.op](p, node)
    _outputs(p, ends, layout)
    p.model.remove_unused()
    return p.model.encode(f"tersor {__version__}"), with_widened(given, p.decoded)


def _inputs(p: Physical, ends: str, layout: str) -> set[int]:
    """Add the inputs; returns edges that are inputs of the file in place of what makes them."""
    skipped = set()
    for source in p.graph.input_ids:
        edge = source
        quantizers = [n for n in p.graph.nodes if source in n.inputs]
        if ends == "int8" and quantizers and all(n.op == "quantize" for n in quantizers):
            edge = quantizers[0].outputs[0]
            skipped.add(edge)
            if len(quantizers) > 1:
                raise refuse(quantizers[1], "an int8 input that is quantized in several ways")
        order = p.identity(edge)
        if layout == "channels_last" and _meets_image_layer(p, edge):
            order = channels_last(len(order))
        tensor = p.like(edge, p.shape(edge, order), p.edges[source].name)
        p.model.inputs.append(tensor)
        if ends == "float32" and edge == source and _is_bytes(p.edges[edge]):
            tensor = _from_bytes(p, edge, tensor, order)
        p.bind(edge, tensor, order)
    return skipped


def _is_bytes(edge: Any) -> bool:
    """Whether codes are byte - 128 (byte_input.py)."""
    q = edge.qparams
    return q is not None and q.scale[0] == 1 and q.zero_point[0] == -128


def _from_bytes(p: Physical, edge: int, tensor: int, order: Order) -> int:
    """Make an input uint8; returns its int8 codes."""
    given = p.model.tensors[tensor]
    given.dtype, given.zero_point = "uint8", np.zeros(1, np.int64)
    codes = p.like(edge, p.shape(edge, order), f"{p.edges[edge].name}/codes")
    return p.operator("QUANTIZE", [tensor], codes, 1, "Quantize")


def _outputs(p: Physical, ends: str, layout: str) -> None:
    nodes = {n.outputs[0]: n for n in p.graph.nodes}
    for place, out in enumerate(p.graph.output_ids):
        name, edge = p.edges[out].name, out
        if ends == "int8" and nodes[out].op == "dequantize":
            edge = nodes[out].inputs[0]
        order: Order = p.order_of(edge)
        flat = edge in p.flat
        keep = layout == "channels_last" and order == channels_last(len(order)) and not flat
        tensor = p.ask(edge, order if keep else p.identity(edge))
        if tensor in p.model.inputs or tensor in p.model.outputs:
            tensor = _copied(p, tensor, f"{name}/{place}")
        p.model.tensors[tensor].name = p.name(name) if place else name
        p.model.outputs.append(tensor)


def _copied(p: Physical, tensor: int, name: str) -> int:
    before = p.model.tensors[tensor]
    after = p.model.tensor(
        Tensor(p.name(name), before.dtype, before.shape, None, before.scale, before.zero_point)
    )
    sizes = p.integers(before.shape, "shape")
    return p.operator("RESHAPE", [tensor, sizes], after, 1, "Reshape")


def _meets_image_layer(p: Physical, edge: int) -> bool:
    """Whether an edge reaches an operator on images before one that needs the graph's order."""
    if len(p.edges[edge].shape) < 3:
        return False
    seen, wanted = {edge}, [edge]
    while wanted:
        current = wanted.pop()
        for node in p.graph.nodes:
            if current not in node.inputs:
                continue
            if node.op in _SPATIAL:
                return True
            out: Any = node.outputs[0]
            same = len(p.edges[out].shape) == len(p.edges[edge].shape)
            if node.op not in _ROW_MAJOR and same and out not in seen:
                seen.add(out)
                wanted.append(out)
    return False


__all__ = ["to_tflite", "write"]
