"""Constants of an ONNX network: evaluated at import, and for many samples where that differs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..base.error import UnsupportedError
from ..graph.graph import Graph
from .errors import ImportFormatError
from .onnx_elementwise import Converter
from .onnx_folding import FOLDERS
from .onnx_node import OnnxNode
from .values import WIDE, Batch, Constant, Operand, SampleBuilder, Value, mixed


def first_line(error: BaseException) -> str:
    """What an error says first."""
    return (str(error).splitlines() or [""])[0][:200]


def as_native(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Float parameters as float32; the rest unchanged."""
    if array.dtype.kind == "f" or array.dtype.name == "bfloat16":
        return array.astype(np.float32, copy=False)
    return array


def fold(node: OnnxNode) -> list[Operand]:
    """An operator on constants, evaluated with NumPy."""
    constants = [x for x in node.inputs if isinstance(x, Constant)]
    if node.op in ("Transpose", "Identity") and constants[0].codes is not None:
        perm = (
            node.integers("perm", list(range(len(constants[0].shape)))[::-1])
            if node.op == "Transpose"
            else None
        )
        return [constants[0] if perm is None else constants[0].transposed(perm)]
    results = _evaluated(node, [x.array if isinstance(x, Constant) else None for x in node.inputs])
    many: list[Any] = [None] * len(results)
    if any(x.wide is not None for x in constants):  # it depends on how many samples there are
        arrays = [
            None if not isinstance(x, Constant) else x.array if x.wide is None else x.wide
            for x in node.inputs
        ]
        try:
            many = _evaluated(node, arrays)
        except ImportFormatError as error:
            raise mixed(str(node), f"for {WIDE} samples: {first_line(error)}") from error
        many = [None if _same(a, m) else m for a, m in zip(results, many, strict=True)]
    # A parameter keeps its name through a change of shape or order.
    kept = (
        constants[0].origin
        if node.op in ("Transpose", "Reshape", "Identity", "Cast", "Unsqueeze", "Squeeze")
        else ""
    )
    return [
        Constant(as_native(a), o, kept or o, wide=None if m is None else as_native(m))
        for a, m, o in zip(results, many, node.outputs, strict=False)
    ]


def computed(node: OnnxNode, convert: Converter) -> list[Operand]:
    """An operator on constants for which there is no folder: a network of its own, run at once."""
    arrays = _run_alone(node, convert)
    many: list[Any] = [None] * len(arrays)
    known = [x for x in node.inputs if isinstance(x, Constant)]
    if any(x.wide is not None for x in known):
        wide = [
            Constant(x.wide, x.name, x.origin)
            if isinstance(x, Constant) and x.wide is not None
            else x
            for x in node.inputs
        ]
        many = _run_alone(replace(node, inputs=wide), convert)
        many = [None if _same(a, m) else m for a, m in zip(arrays, many, strict=True)]
    return [Constant(a, o, o, wide=m) for a, m, o in zip(arrays, many, node.outputs, strict=False)]


def _run_alone(node: OnnxNode, convert: Converter) -> list[NDArray[Any]]:
    b = SampleBuilder(Graph(), False)
    x = node.operand(0)
    assert isinstance(x, Constant)
    edge = b.graph.add_input("x", "float32", x.shape)
    inputs = [Value(edge, x.shape, x.shape), *node.inputs[1:]]
    result = convert(b, replace(node, inputs=inputs))
    values = result if isinstance(result, list) else [result]
    edges = [b.arranged(v, v.shape) for v in values if isinstance(v, Value)]
    b.graph.set_outputs([b.node("identity", [e]) if e == edge else e for e in edges])
    b.graph.verify()
    session = _core.runtime.Session(b.graph, 1, "exact", "fp32", "reference", 0, False, {})
    return [np.asarray(a) for a in session.run([x.array.copy()], None)]


def _evaluated(node: OnnxNode, arrays: list[Any]) -> list[NDArray[Any]]:
    try:
        result = FOLDERS[node.op](node, arrays)
    except (ImportFormatError, UnsupportedError):
        raise
    except (ValueError, IndexError, TypeError, OverflowError, AttributeError) as error:
        raise ImportFormatError(f"{node}: cannot be evaluated ({first_line(error)})") from error
    return [np.asarray(a) for a in (result if isinstance(result, list) else [result])]


def _same(a: NDArray[Any], b: NDArray[Any]) -> bool:
    return np.array_equal(a, b, equal_nan=a.dtype.kind == "f")


# Inputs that say how large a result is, or nothing about its numbers.
_SIZES = {("Reshape", 1), ("Expand", 1), ("Resize", 3), ("CastLike", 0), ("CastLike", 1)}
_SIZES |= {("Slice", i) for i in range(1, 5)}
# Operators that may meet one sample's constant repeated over the batch.
_REPEATED = {"Add", "Concat", "Div", "MatMul", "Max", "Mean", "Min", "Mul", "Pow", "Sub", "Sum"}
_REPEATED |= {"Where", "PRelu"}


def settled(node: OnnxNode, index: int, x: Operand | None) -> Operand | None:
    """Input `index` if it may depend on the number of samples as it does."""
    if not isinstance(x, Constant) or x.wide is None or (node.op, index) in _SIZES:
        return x
    if all(v is None or isinstance(v, Constant) for v in node.inputs):
        return x  # the result depends on it in turn
    if node.op in _REPEATED and (batch := _repetition(x)) is not None:
        return Constant(x.array, x.name, x.origin, batch=batch)
    raise mixed(str(node), f"it computes with {x.name!r}, which depends on the size of the batch")


def _repetition(x: Constant) -> Batch | None:
    """The axis along which every sample has the same numbers."""
    assert x.wide is not None
    changed = [i for i, (d, w) in enumerate(zip(x.shape, x.wide.shape, strict=False)) if d != w]
    if len(x.shape) != x.wide.ndim or len(changed) != 1:
        return None
    axis = changed[0]
    size = x.shape[axis]
    if x.wide.shape[axis] != WIDE * size:
        return None
    samples = x.wide.reshape(*x.shape[:axis], WIDE, size, *x.shape[axis + 1 :])
    same = _same(samples, np.broadcast_to(np.expand_dims(x.array, axis), samples.shape))
    return Batch(axis, size) if same else None


__all__ = ["as_native", "computed", "first_line", "fold", "settled"]
