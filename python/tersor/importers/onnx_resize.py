"""ONNX Resize and Upsample."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ..base.error import UnsupportedError
from .errors import ImportFormatError
from .onnx_elementwise import Converter, as_value
from .onnx_folding import axes_of, bounded
from .onnx_layers import apply_dense, apply_matmul
from .onnx_node import OnnxNode
from .onnx_shaping import apply_gather, wide_array
from .values import LEADING, Constant, Operand, SampleBuilder, Shape, Value, mixed

_COORDINATES = {
    "half_pixel": "half_pixel",
    "asymmetric": "asymmetric",
    "align_corners": "align_corners",
    "pytorch_half_pixel": "pytorch_half_pixel",
}


def _resize(b: SampleBuilder, node: OnnxNode) -> Operand:
    x = as_value(node.operand(0), str(node))
    rank = len(x.shape)
    old = node.op == "Upsample" or node.opset < 11
    scales = node.array(1 if old else 2) if len(node.inputs) > 1 else None
    sizes = None if old else node.array(3)
    if old and node.has("scales"):
        scales = np.asarray(node.reals("scales"))
    axes = (
        list(axes_of(node.integers("axes"), rank, str(node)))
        if node.has("axes")
        else list(range(rank))
    )
    full = list(x.shape)
    partial: dict[int, float] = {}  # scales that do not give whole sizes
    if sizes is not None and sizes.size == len(axes):
        for a, s in zip(axes, sizes.reshape(-1), strict=True):
            full[a] = int(s)
        if b.open:
            many = dict(zip(axes, wide_array(node, 3).reshape(-1), strict=True))
            if any(s != x.wide_shape[a] if a == 0 else s != full[a] for a, s in many.items()):
                raise mixed(str(node))
    elif scales is not None and scales.size == len(axes):
        for a, s in zip(axes, scales.reshape(-1), strict=True):
            if not 0 < float(s) < 1 << 16:
                raise ImportFormatError(f"{node}: scale {float(s)} is out of range")
            size = x.shape[a] * float(s)
            near = round(size)  # float32 may hold the scale slightly below what was meant
            full[a] = near if math.isclose(near, size, rel_tol=1e-6) else math.floor(size)
            if full[a] != near or not math.isclose(near, size, rel_tol=1e-6):
                partial[a] = float(s)
    else:
        raise ImportFormatError(f"{node}: neither scales nor sizes fit shape {x.shape}")
    shape = bounded(full, str(node))
    if (
        rank < 3
        or shape[:2] != x.shape[:2]
        or node.integer("antialias", 0)
        or node.integer("exclude_outside", 0)
    ):
        raise UnsupportedError(f"{node}: only plain resizing of the spatial axes is supported")
    mode = node.text("mode", "nearest")
    coordinates = "asymmetric" if old else node.text("coordinate_transformation_mode", "half_pixel")
    nearest = "floor" if old else node.text("nearest_mode", "round_prefer_floor")
    if mode not in ("nearest", "linear") or coordinates not in _COORDINATES:
        raise UnsupportedError(
            f"{node}: mode {mode!r} with {coordinates!r} is not supported "
            f"(nearest and linear; {', '.join(_COORDINATES)} are)"
        )
    if partial and coordinates != "align_corners":  # only that one goes by sizes alone
        scales_ = [partial.get(i, shape[i] / x.shape[i]) for i in range(2, rank)]
        return _by_axis(b, node, x, shape, scales_, (mode, coordinates, nearest))
    attributes = {
        "sizes": list(shape[2:]),
        "mode": mode,
        "coordinates": coordinates,
        "nearest": nearest,
    }
    edge = b.node("resize", [b.leading(x, str(node))], attributes, node.name, node.outputs[0])
    return b.value(edge, 0, LEADING, node.outputs[0])


def _by_axis(
    b: SampleBuilder,
    node: OnnxNode,
    x: Value,
    shape: Shape,
    scales: list[float],
    how: tuple[str, str, str],
) -> Value:
    """Resize where the scale is not output / input: a selection or a product per axis.

    The native operator goes by sizes, ONNX and PyTorch by the scale that was given.
    """
    mode, coordinates, nearest = how
    rank = len(x.shape)
    if mode == "linear" and rank > 4:
        raise UnsupportedError(
            f"{node}: scales {scales} that do not give whole sizes are supported for one or two "
            f"spatial axes"
        )
    for axis in range(2, rank):
        size, wanted = x.shape[axis], shape[axis]
        at = np.arange(wanted, dtype=np.float64)
        if coordinates == "asymmetric":
            at = at / scales[axis - 2]
        elif coordinates == "pytorch_half_pixel" and wanted == 1:
            at = np.zeros(1)
        else:
            at = (at + 0.5) / scales[axis - 2] - 0.5
        names = (node.name, node.outputs[0]) if axis == rank - 1 else ("", "")
        if mode == "nearest":
            index = np.clip(_ROUNDING[nearest](at), 0, size - 1).astype(np.int64)
            x = apply_gather(b, x, Constant(index, "index"), axis, str(node), *names)
            continue
        at = np.clip(at, 0, size - 1)
        low = np.minimum(np.floor(at).astype(np.int64), max(0, size - 2))
        weights = np.zeros((wanted, size), np.float32)
        rows = np.arange(wanted)
        weights[rows, np.minimum(low + 1, size - 1)] = at - low
        weights[rows, low] = 1 - (at - low)
        if axis == rank - 1:
            x = apply_dense(b, x, Constant(weights, "weights"), None, *names)
        else:
            x = apply_matmul(b, Constant(weights, "weights"), x, str(node))
    return x


_ROUNDING: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "round_prefer_floor": lambda at: np.ceil(at - 0.5),
    "round_prefer_ceil": lambda at: np.floor(at + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}

RESIZING: dict[str, Converter] = {"Resize": _resize, "Upsample": _resize}

__all__ = ["RESIZING"]
