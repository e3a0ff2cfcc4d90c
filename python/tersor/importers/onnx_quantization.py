"""ONNX QuantizeLinear and DequantizeLinear: nodes that a native pass folds into edge types."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..base.error import UnsupportedError
from .errors import ImportFormatError
from .onnx_elementwise import Converter, as_value
from .onnx_folding import axis_of
from .onnx_node import OnnxNode
from .values import Codes, Constant, Operand, SampleBuilder, Value, signed_qparams


def _parameters(node: OnnxNode) -> tuple[NDArray[np.float32], NDArray[np.int64], str]:
    """Scales, zero points (as many) and the type of the codes."""
    scale, zero = node.array(1), node.array(2)
    if scale is None or scale.size == 0 or not np.isfinite(scale).all() or (scale <= 0).any():
        raise ImportFormatError(f"{node}: scale must be finite and > 0")
    if node.integer("block_size", 0):
        raise UnsupportedError(f"{node}: blocked quantization is not supported")
    dtype = "uint8" if zero is None else zero.dtype.name
    zeros = np.zeros(scale.size, np.int64) if zero is None else zero.reshape(-1).astype(np.int64)
    if zeros.size != scale.size:
        raise ImportFormatError(f"{node}: scale and zero point differ in length")
    return scale.reshape(-1).astype(np.float32), zeros, dtype


def _per_tensor(node: OnnxNode) -> tuple[float, int, str]:
    scale, zero, dtype = _parameters(node)
    if scale.size != 1 or dtype not in ("int8", "uint8"):
        raise UnsupportedError(
            f"{node}: activations must be quantized per tensor to 8 bits, got {scale.size} scales "
            f"and {dtype}"
        )
    return float(scale[0]), int(zero[0]), dtype


def _quantize(b: SampleBuilder, node: OnnxNode) -> Operand:
    """uint8 codes become int8 codes 128 lower: the same real values."""
    known = node.operand(0)
    if isinstance(known, Constant):
        return _quantized_constant(node, known)
    scale, zero, dtype = _per_tensor(node)
    x = as_value(known, str(node))
    q = signed_qparams([scale], [zero - 128 if dtype == "uint8" else zero])
    edge = b.graph.add_node("quantize", [x.edge], {}, node.name, node.outputs[0], q)
    return Value(edge, x.native, x.shape, x.batch, node.outputs[0])


def _quantized_constant(node: OnnxNode, x: Constant) -> Constant:
    scale, zero, dtype = _parameters(node)
    wide = _wide(node, x, scale.size)
    limits = np.iinfo(dtype)
    codes = np.rint(x.array / scale.reshape(wide)) + zero.reshape(wide)
    return Constant(np.clip(codes, limits.min, limits.max).astype(dtype), x.name, x.origin)


def _wide(node: OnnxNode, x: Constant, count: int) -> list[int]:
    """The shape in which scales broadcast to x."""
    wide = [1] * len(x.shape)
    if count > 1:
        axis = node.integer("axis", 1)
        axis += len(x.shape) if axis < 0 else 0
        if not 0 <= axis < len(x.shape) or x.shape[axis] != count:
            raise ImportFormatError(f"{node}: {count} scales do not fit shape {x.shape}")
        wide[axis] = count
    return wide


def _dequantize(b: SampleBuilder, node: OnnxNode) -> Operand:
    x = node.operand(0)
    if isinstance(x, Constant):
        return _constant(node, x)
    scale, zero, dtype = _per_tensor(node)
    edge = b.graph.edge(x.edge)
    if edge.qparams is None and x.edge in b.graph.input_ids and dtype == edge.dtype == "int8":
        b.graph.set_qparams(x.edge, signed_qparams([scale], [zero]))  # codes come from outside
        edge = b.graph.edge(x.edge)
    if edge.qparams is None:
        raise UnsupportedError(
            f"{node}: {x.name!r} is not made by QuantizeLinear; integer operators are not supported"
        )
    if not np.isclose(edge.qparams.scale[0], scale, rtol=1e-6) or edge.qparams.zero_point[0] != (
        zero - 128 if dtype == "uint8" else zero
    ):
        raise UnsupportedError(
            f"{node}: parameters differ from those that {x.name!r} was quantized with"
        )
    out = b.node("dequantize", [x.edge], {}, node.name, node.outputs[0])
    return Value(out, x.native, x.shape, x.batch, node.outputs[0])


# Types of codes and what makes them signed.
_SHIFTS = {"int8": 0, "uint8": 128, "int32": 0, "int4": 0, "uint4": 8, "int2": 0, "uint2": 2}


def _constant(node: OnnxNode, x: Constant) -> Constant:
    dtype = x.array.dtype.name
    block = node.integer("block_size", 0)
    if block:
        scale, zero, axis = _blocked(node, x, block)
        block = min(block, x.shape[axis])
        wide_scale = np.repeat(scale, block, axis).take(range(x.shape[axis]), axis)
        wide_zero = np.repeat(zero, block, axis).take(range(x.shape[axis]), axis)
    else:
        scale, zero, _ = _parameters(node)
        wide = _wide(node, x, scale.size)
        axis = _axis_of_scales(node, wide, scale.size)
        wide_scale, wide_zero = scale.reshape(wide), zero.reshape(wide)
    real = (x.array.astype(np.int64) - wide_zero).astype(np.float32) * wide_scale
    codes = None
    if dtype in _SHIFTS:
        shift = _SHIFTS[dtype]
        array = (x.array.astype(np.int64) - shift).astype(np.int32 if dtype == "int32" else np.int8)
        bits = int(dtype.removeprefix("u").removeprefix("int"))
        codes = Codes(array, scale, (zero - shift).astype(np.int32), axis, bits, block)
    return Constant(real.astype(np.float32), x.name, x.origin, codes)


def _axis_of_scales(node: OnnxNode, wide: list[int], count: int) -> int:
    """-1 for one scale for the tensor; a vector of one belongs to an axis of one channel."""
    if count > 1:
        return wide.index(count)
    given = node.array(1)
    if given is None or given.ndim != 1 or not node.has("axis"):
        return -1
    axis = axis_of(node.integer("axis"), len(wide), str(node))
    return axis if node.operand(0).shape[axis] == 1 else -1


def _blocked(
    node: OnnxNode, x: Constant, block: int
) -> tuple[NDArray[np.float32], NDArray[np.int64], int]:
    """Scales and zero points of the array's rank, blocks along the axis."""
    axis = axis_of(node.integer("axis", 1), len(x.shape), str(node))
    scale, zero = node.array(1), node.array(2)
    expected = list(x.shape)
    expected[axis] = -(-x.shape[axis] // block) if block > 0 else 0
    if scale is None or list(scale.shape) != expected or scale.size == 0:
        raise ImportFormatError(
            f"{node}: scale must have shape {expected} for blocks of {block}, got "
            f"{None if scale is None else list(scale.shape)}"
        )
    if not np.isfinite(scale.astype(np.float64)).all() or (scale <= 0).any():
        raise ImportFormatError(f"{node}: scale must be finite and > 0")
    zeros = np.zeros(scale.shape, np.int64) if zero is None else zero.astype(np.int64)
    if zeros.shape != scale.shape:
        raise ImportFormatError(f"{node}: scale and zero point differ in shape")
    return scale.astype(np.float32), zeros, axis


QUANTIZATION: dict[str, Converter] = {"DequantizeLinear": _dequantize, "QuantizeLinear": _quantize}

__all__ = ["QUANTIZATION"]
