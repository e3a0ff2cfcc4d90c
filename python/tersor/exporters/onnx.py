"""ONNX files: float operators, and QuantizeLinear / DequantizeLinear around those on codes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from .. import __version__
from ..base.error import UnsupportedError
from ..graph.graph import Graph
from ..importers.onnx_notes import NARROW_WEIGHTS, PREPROCESS, ROUNDING
from .decode import with_widened, without_codebooks
from .files import write_file
from .onnx_operators import EMITTERS, ON_CODES, activated
from .onnx_rounding import add_rounding, rounds_twice, unsigned_edges
from .onnx_writer import OnnxWriter, holds, require_onnx, unsupported

OPSET = 21  # the first with 4-bit codes and blocks of them
_IR_VERSION = 10
_MOST_BYTES = (1 << 31) - 1  # of a protobuf message


def write(
    graph: Graph,
    path: Path,
    *,
    dtype: Literal["float32", "float16"] | None = None,
    rounding: Literal["session", "runtime"] = "session",
) -> dict[str, str]:
    """Write an ``.onnx`` file.

    Parameters
    ----------
    graph : Graph
    path : Path
    dtype : {"float32", "float16"}, optional
        Element type in which the weights of float layers are stored; runtimes compute with float32
        either way. By default as in the graph.
    rounding : {"session", "runtime"}
        How codes are rounded in int8 layers: as a session does, in operators that the file spells
        out, or as the runtime does in the integer kernels that it then can use. The second is
        faster and moves a few codes by one: of the classes of ResNet-20 99.2 % stay.

    Returns
    -------
    dict of str to str
        Layers whose weights ONNX cannot hold as they are, and what was written.

    Raises
    ------
    UnsupportedError
        An operator has no ONNX form, or the file would be beyond 2 GB.
    """
    model, decoded = to_onnx(graph, dtype=dtype, rounding=rounding)
    size = model.ByteSize()
    if size > _MOST_BYTES:
        raise UnsupportedError(
            f"export: an ONNX file must be at most {_MOST_BYTES:,} bytes, got {size:,}; "
            f"dtype='float16' halves it"
        )
    write_file(path, model.SerializeToString(deterministic=True))
    return decoded


def to_onnx(
    graph: Graph,
    *,
    dtype: Literal["float32", "float16"] | None = None,
    rounding: Literal["session", "runtime"] = "session",
) -> tuple[Any, dict[str, str]]:
    """Convert to an ``onnx.ModelProto``.

    Parameters
    ----------
    graph : Graph
    dtype : {"float32", "float16"}, optional
    rounding : {"session", "runtime"}
        As for :func:`write`.

    Returns
    -------
    model : onnx.ModelProto
    decoded : dict of str to str
        As :func:`write` returns.
    """
    onnx = require_onnx()
    if rounding not in ("session", "runtime"):
        raise ValueError(f"export: rounding must be session or runtime, got {rounding!r}")
    given = graph
    graph, decoded = without_codebooks(graph)
    graph = with_float_type(graph, dtype)
    w = OnnxWriter(graph)
    w.decoded |= decoded
    w.unsigned = unsigned_edges(graph)
    inputs = [_value_info(w, i) for i in graph.input_ids]
    added: list[str] = []
    for node in graph.nodes:
        _emit(w, node, rounding, added)
    outputs = [_output(w, edge, place) for place, edge in enumerate(graph.output_ids)]
    body = onnx.helper.make_graph(w.nodes, "tersor", inputs, outputs, w.initializers)
    opset = onnx.helper.make_opsetid("", OPSET)
    model = onnx.helper.make_model(
        body, opset_imports=[opset], ir_version=_IR_VERSION,
        producer_name="tersor", producer_version=__version__,
    )  # fmt: skip
    notes = {ROUNDING: json.dumps(added)} if added else {}
    if graph.preprocess:
        notes[PREPROCESS] = json.dumps(graph.preprocess, sort_keys=True)
    if narrow := _narrow_weights(graph):
        notes[NARROW_WEIGHTS] = json.dumps(narrow, sort_keys=True)
    onnx.helper.set_model_props(model, notes)
    # int4 weights stay so; those of int8 layers are uint8 where activations are.
    packed = {n.name for n in graph.nodes if len(n.inputs) > 1 and n.inputs[1] not in w.unsigned}
    return model, with_widened(given, w.decoded, packed=packed)


def with_float_type(graph: Graph, dtype: str | None) -> Graph:
    """Return the graph with its float weights stored in another type.

    Parameters
    ----------
    graph : Graph
        Not changed.
    dtype : {"float32", "float16"} or None
        None keeps them as they are.

    Returns
    -------
    Graph

    Raises
    ------
    ValueError
        On another type.
    """
    if dtype is None:
        return graph
    if dtype not in ("float32", "float16"):
        raise ValueError(f"export: dtype must be float32 or float16, got {dtype!r}")
    graph = graph.clone()
    graph.widen_constants()
    if dtype == "float16":
        graph.narrow_weights("float16")
    return graph


def _emit(w: OnnxWriter, node: Any, rounding: str, added: list[str]) -> None:
    out = node.outputs[0]
    edge = w.edges[out]
    if node.op == "quantize":
        w.quantized(w.value(node.inputs[0]), out, node.name)
        return
    if node.op == "requantize":
        w.quantized(w.real(node.inputs[0]), out, node.name)
        return
    if node.op == "dequantize":
        w.dequantized(node.inputs[0], edge.name, node.name)
        return
    if node.op not in EMITTERS:
        raise unsupported("ONNX", node, "the exporter does not know it")
    _note(w, node)
    inputs = ["" if i < 0 else w.real(i) for i in node.inputs]
    while inputs and not inputs[-1]:
        inputs.pop()
    coded = edge.qparams is not None
    emit = EMITTERS[node.op]
    if coded and node.op in ON_CODES and len(w.edges[node.inputs[0]].shape) > 2:
        emit = ON_CODES[node.op]
    result = w.fresh(f"{edge.name}:float") if coded else edge.name
    rounded = coded and rounding == "session" and rounds_twice(w, node)
    active = node.attributes.get("activation", "none") != "none"
    before = w.fresh(f"{result}:linear") if active else result
    product = w.fresh(f"{result}:product") if rounded else before
    emit(w, node, inputs, product)
    if rounded:
        added += add_rounding(w, node, product, before)
    if active:
        activated(w, node, before, result)
    if coded:
        w.quantized(result, out)


def _note(w: OnnxWriter, node: Any) -> None:
    """Remember what a layer loses."""
    if node.attributes.get("dynamic"):
        w.decoded[node.name] = "its input is not quantized in each call; it is computed in float"
    for index in node.inputs:
        edge = w.edges[index] if index >= 0 else None
        if edge is not None and edge.is_constant and edge.qparams is not None and holds(edge):
            w.decoded[node.name] = f"float32 weights instead of {edge.qparams.bits}-bit codes"
            w.decoded[node.name] += f" ({holds(edge)})"


def _value_info(w: OnnxWriter, edge: int, name: str = "") -> Any:
    e = w.edges[edge]
    dtype = "uint8" if edge in w.unsigned else e.dtype
    kind = w.onnx.helper.np_dtype_to_tensor_dtype(_numpy_type(dtype))
    shape = ["N" if d is None else d for d in e.shape]
    return w.onnx.helper.make_tensor_value_info(name or e.name, kind, shape)


def _output(w: OnnxWriter, edge: int, place: int) -> Any:
    """An output; one that is returned twice has a name of its own there."""
    name = str(w.edges[edge].name)
    if edge in w.graph.output_ids[:place] or edge in w.graph.input_ids:
        name = w.node("Identity", [name], w.fresh(f"{name}:again"))
    return _value_info(w, edge, name)


def _numpy_type(name: str) -> Any:
    import ml_dtypes
    import numpy as np

    return np.dtype(ml_dtypes.bfloat16 if name == "bfloat16" else name)


def _narrow_weights(graph: Graph) -> Mapping[str, str]:
    """Layers whose weight is stored in 16 bits, by name."""
    edges = graph.edges
    return {
        node.name: edges[i].dtype
        for node in graph.nodes
        for i in node.inputs[1:2]
        if i >= 0 and edges[i].is_constant and edges[i].dtype in ("float16", "bfloat16")
    }


__all__ = ["OPSET", "to_onnx", "with_float_type", "write"]
