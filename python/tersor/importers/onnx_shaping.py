"""ONNX operators that move or select numbers: reshape, transpose, slice, concat, pad, resize."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..base.error import UnsupportedError
from .errors import ImportFormatError
from .onnx_elementwise import Converter, as_value
from .onnx_folding import (
    axes_of,
    axis_of,
    bounded,
    resolve_shape,
    shape_array,
    slice_ranges,
    split_sizes,
    squeezed_shape,
    unsqueezed_shape,
)
from .onnx_node import OnnxNode
from .values import BATCH, Constant, Operand, SampleBuilder, Shape, Value


def _first(node: OnnxNode) -> Value:
    return as_value(node.operand(0), str(node))


def _optional_arrays(node: OnnxNode) -> list[Any]:
    return [node.operand(0)] + [node.array(i) for i in range(1, len(node.inputs))]


def _shape(b: SampleBuilder, node: OnnxNode) -> Operand:
    return Constant(shape_array(node, _first(node).shape), node.outputs[0])


def _size(b: SampleBuilder, node: OnnxNode) -> Operand:
    return Constant(np.asarray(math.prod(_first(node).shape), np.int64), node.outputs[0])


def _reshape(b: SampleBuilder, node: OnnxNode) -> Operand:
    x = _first(node)
    wanted = node.array(1) if node.opset >= 5 else np.asarray(node.integers("shape"))
    shape = resolve_shape(x.shape, wanted, bool(node.integer("allowzero", 0)), str(node))
    kept = x.batch_axis == 0 and shape[:1] == (1,)
    return b.reshaped(x, shape, 0 if kept else None, node.outputs[0])


def _flatten(b: SampleBuilder, node: OnnxNode) -> Operand:
    x = _first(node)
    axis = node.integer("axis", 1)
    axis += len(x.shape) if axis < 0 else 0
    if not 0 <= axis <= len(x.shape):
        raise ImportFormatError(f"{node}: axis {axis} does not fit shape {x.shape}")
    shape = (math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))
    return b.reshaped(
        x, shape, 0 if x.batch_axis == 0 and shape[0] == 1 and axis else None, node.outputs[0]
    )


def _squeeze(b: SampleBuilder, node: OnnxNode) -> Operand:
    x, *extra = _optional_arrays(node)
    axes = node.axes(extra)
    if axes is None and x.batch_axis is not None:  # "all unit axes" means those of the sample
        axes = [i for i, d in enumerate(x.shape) if d == 1 and i != x.batch_axis]
        extra = [np.asarray(axes, np.int64)]
    shape = squeezed_shape(node, x.shape, extra)
    batch = x.batch_axis
    if batch is not None:
        gone = set(axes_of(axes, len(x.shape), str(node)))
        batch = None if batch in gone else batch - sum(a < batch for a in gone)
    return b.reshaped(x, shape, batch, node.outputs[0])


def _unsqueeze(b: SampleBuilder, node: OnnxNode) -> Operand:
    x, *extra = _optional_arrays(node)
    shape = unsqueezed_shape(node, x.shape, extra)
    batch = x.batch_axis
    if batch is not None:
        new = set(axes_of(node.axes(extra), len(shape), str(node)))
        batch = [i for i in range(len(shape)) if i not in new][batch]
    return b.reshaped(x, shape, batch, node.outputs[0])


def apply_transpose(
    b: SampleBuilder, x: Value, perm: list[int], name: str = "", output_name: str = ""
) -> Value:
    """Permute axes; moving only unit axes is a change of shape."""
    shape = tuple(x.shape[p] for p in perm)
    batch = None if x.batch_axis is None else perm.index(x.batch_axis)
    form = b.natural(x.shape)
    if not b.batched or (form.shift == 0 and perm[0] == 0):
        edge = b.node("transpose", [b.arranged(x, form.native)], {"perm": perm}, name, output_name)
        return Value(edge, tuple(form.native[p] for p in perm), shape, batch, output_name)
    solid = [p for p in perm if x.shape[p] != 1]  # unit axes carry no order
    order = sorted(solid)
    if solid == order:
        return b.reshaped(x, shape, batch, output_name)
    edge = b.arranged(x, (BATCH, *(x.shape[p] for p in order)))
    edge = b.node(
        "transpose", [edge], {"perm": [0, *(1 + order.index(p) for p in solid)]}, name, output_name
    )
    return Value(edge, (BATCH, *(x.shape[p] for p in solid)), shape, batch, output_name)


def _transpose(b: SampleBuilder, node: OnnxNode) -> Operand:
    x = _first(node)
    perm = node.integers("perm", list(range(len(x.shape)))[::-1])
    if sorted(perm) != list(range(len(x.shape))):
        raise ImportFormatError(f"{node}: perm {perm} does not fit shape {x.shape}")
    return apply_transpose(b, x, perm, node.name, node.outputs[0])


def apply_slice(
    b: SampleBuilder,
    x: Value,
    ranges: list[tuple[int, int, int, int]],
    what: str,
    name: str = "",
    output_name: str = "",
) -> Value:
    """Slice by (axis, start, end, step); a range over the whole axis is dropped."""
    ranges = [r for r in ranges if r[1:] != (0, x.shape[r[0]], 1)]
    if not ranges:
        return x
    for axis, start, end, step in ranges:
        if len(range(start, end, step)) == 0:
            raise UnsupportedError(f"{what}: the result is empty along axis {axis}")
        if step < 0:
            raise UnsupportedError(f"{what}: a negative step ({step}) is not supported")
    form = b.form_for_axes(x, [r[0] for r in ranges], what)
    attributes = {
        "axes": [r[0] + form.shift for r in ranges],
        "starts": [r[1] for r in ranges],
        "ends": [r[2] for r in ranges],
        "steps": [r[3] for r in ranges],
    }
    edge = b.node("slice", [b.arranged(x, form.native)], attributes, name, output_name)
    return b.value(edge, form.shift, x.batch_axis, output_name)


def _slice(b: SampleBuilder, node: OnnxNode) -> Operand:
    x = _first(node)
    ranges = slice_ranges(node, x.shape, _optional_arrays(node) if node.opset >= 10 else [])
    return apply_slice(b, x, ranges, str(node), node.name, node.outputs[0])


def _split(b: SampleBuilder, node: OnnxNode) -> list[Operand]:
    x = _first(node)
    axis = axis_of(node.integer("axis", 0), len(x.shape), str(node))
    sizes = split_sizes(node, x.shape[axis], _optional_arrays(node)[1:])
    parts: list[Operand] = []
    start = 0
    for i, size in enumerate(sizes):
        parts.append(
            apply_slice(
                b,
                x,
                [(axis, start, start + size, 1)],
                str(node),
                f"{node.name}_{i}",
                node.outputs[i],
            )
        )
        start += size
    return parts


def _concat(b: SampleBuilder, node: OnnxNode) -> Operand:
    operands = [node.operand(i) for i in range(len(node.inputs))]
    operands = [o for o in operands if 0 not in o.shape] or operands  # an empty part adds nothing
    first = next((o for o in operands if isinstance(o, Value)), None)
    x = as_value(first if first is not None else operands[0], str(node))
    axis = axis_of(node.integer("axis"), len(x.shape), str(node))
    form = b.form_for_axes(x, [axis], str(node))
    edges = []
    for o in operands:
        if len(o.shape) != len(x.shape):
            raise ImportFormatError(f"{node}: ranks of the operands differ")
        native = (BATCH, *o.shape[1 - form.shift :]) if b.batched else o.shape
        if isinstance(o, Value):
            edges.append(b.arranged(o, native))
        else:  # a token in front of a sequence: the same for every sample
            edge = b.constant(o, (1, *native[1:]) if b.batched else native)
            edges.append(b.node("expand", [edge], {"shape": list(native)}) if b.batched else edge)
    edge = b.node("concat", edges, {"axis": axis + form.shift}, node.name, node.outputs[0])
    return b.value(edge, form.shift, x.batch_axis, node.outputs[0])


def _pad(b: SampleBuilder, node: OnnxNode) -> Operand:
    x = _first(node)
    rank = len(x.shape)
    pads = (
        node.integers("pads")
        if node.opset < 11
        else [int(v) for v in _required(node, 1).reshape(-1)]
    )
    fill = node.real("value", 0.0) if node.opset < 11 else 0.0
    if node.opset >= 11 and (given := node.array(2)) is not None and given.size:
        fill = float(given.reshape(-1)[0])
    axes: tuple[int, ...] = tuple(range(rank))
    if (given := node.array(3)) is not None:
        axes = axes_of(given, rank, str(node))
    if len(pads) != 2 * len(axes):
        raise ImportFormatError(f"{node}: {len(pads)} pads do not fit {len(axes)} axes")
    begin = {a: pads[i] for i, a in enumerate(axes)}
    end = {a: pads[i + len(axes)] for i, a in enumerate(axes)}
    cut = [
        (a, max(0, -begin[a]), x.shape[a] - max(0, -end[a]), 1)
        for a in axes
        if begin[a] < 0 or end[a] < 0
    ]
    x = apply_slice(b, x, cut, str(node))
    used = [a for a in axes if begin[a] > 0 or end[a] > 0]
    if not used:
        return x
    mode = node.text("mode", "constant")
    if mode not in ("constant", "reflect", "edge"):
        raise UnsupportedError(
            f"{node}: pad mode {mode!r} is not supported (constant, reflect, edge are)"
        )
    bounded(
        [d + max(0, begin.get(i, 0)) + max(0, end.get(i, 0)) for i, d in enumerate(x.shape)],
        str(node),
    )
    form = b.form_for_axes(x, used, str(node))
    native = [0] * (2 * len(form.native))
    for a in used:
        native[a + form.shift] = max(0, begin[a])
        native[a + form.shift + len(form.native)] = max(0, end[a])
    edge = b.node(
        "pad",
        [b.arranged(x, form.native)],
        {"pads": native, "mode": mode, "value": fill},
        node.name,
        node.outputs[0],
    )
    return b.value(edge, form.shift, x.batch_axis, node.outputs[0])


def _required(node: OnnxNode, index: int) -> Any:
    node.operand(index)
    return node.array(index)


def _gather(b: SampleBuilder, node: OnnxNode) -> Operand:
    data, indices = node.operand(0), node.operand(1)
    if isinstance(data, Constant):
        return _embedding(b, node, data, as_value(indices, str(node)))
    if not isinstance(indices, Constant):
        raise UnsupportedError(
            f"{node}: gathering computed indices from a computed tensor is not supported"
        )
    axis = axis_of(node.integer("axis", 0), len(data.shape), str(node))
    size = data.shape[axis]
    index = indices.array.astype(np.int64)
    if index.size == 0 or index.min() < -size or index.max() >= size:
        raise ImportFormatError(
            f"{node}: indices are empty or out of range for axis {axis} of shape {data.shape}"
        )
    index = np.where(index < 0, index + size, index)
    flat = index.reshape(-1)
    steps = np.diff(flat)
    if flat.size == 1 or (steps[0] > 0 and (steps == steps[0]).all()):
        step = int(steps[0]) if flat.size > 1 else 1
        part = apply_slice(
            b,
            data,
            [(axis, int(flat[0]), int(flat[-1]) + 1, step)],
            str(node),
            node.name,
            node.outputs[0],
        )
        shape = data.shape[:axis] + index.shape + data.shape[axis + 1 :]
        batch = data.batch_axis
        if batch is not None and batch > axis:
            batch += index.ndim - 1
        return b.reshaped(part, shape, batch, node.outputs[0])
    form = b.form_for_axes(data, [axis], str(node))
    edges = [
        b.arranged(data, form.native),
        b.constant(Constant(index, indices.name, indices.origin)),
    ]
    edge = b.node("gather", edges, {"axis": axis + form.shift}, node.name, node.outputs[0])
    batch = data.batch_axis
    if batch is not None and batch > axis:
        batch += index.ndim - 1
    return b.value(edge, form.shift, batch, node.outputs[0])


def _embedding(b: SampleBuilder, node: OnnxNode, table: Constant, indices: Value) -> Operand:
    axis = axis_of(node.integer("axis", 0), len(table.shape), str(node))
    if axis != 0:
        raise UnsupportedError(
            f"{node}: gathering from a constant along axis {axis} is not supported (0 is)"
        )
    edge = b.node(
        "gather", [b.constant(table), indices.edge], {"axis": 0}, node.name, node.outputs[0]
    )
    rest = table.shape[1:]
    return Value(
        edge, indices.native + rest, indices.shape + rest, indices.batch_axis, node.outputs[0]
    )


def _expand(b: SampleBuilder, node: OnnxNode) -> Operand:
    x = _first(node)
    shape = bounded(np.broadcast_shapes(x.shape, bounded(_required(node, 1), str(node))), str(node))
    return _expanded(b, x, shape, node)


def _expanded(b: SampleBuilder, x: Value, shape: Shape, node: OnnxNode) -> Value:
    shift = len(shape) - len(x.shape)
    batch = None if x.batch_axis is None else x.batch_axis + shift
    padded = (1,) * shift + x.shape
    if padded == shape:
        return b.reshaped(x, shape, batch)
    if batch is not None and shape[batch] != 1:
        raise UnsupportedError(f"{node}: the batch axis cannot be expanded")
    form = b.natural(shape)
    edge = b.arranged(x, (BATCH, *padded[1 - form.shift :]) if b.batched else padded)
    edge = b.node("expand", [edge], {"shape": list(form.native)}, node.name, node.outputs[0])
    return b.value(edge, form.shift, batch, node.outputs[0])


def _tile(b: SampleBuilder, node: OnnxNode) -> Operand:
    x = _first(node)
    repeats = [int(v) for v in _required(node, 1).reshape(-1)]
    if len(repeats) != len(x.shape) or min(repeats, default=1) < 1:
        raise ImportFormatError(f"{node}: repeats {repeats} do not fit shape {x.shape}")
    bounded([d * r for d, r in zip(x.shape, repeats, strict=True)], str(node))
    for axis, count in enumerate(repeats):
        if count > 1:  # [.., d, ..] -> [.., 1, d, ..] -> [.., count, d, ..] -> [.., count * d, ..]
            final = (*x.shape[:axis], count * x.shape[axis], *x.shape[axis + 1 :])
            opened = (*x.shape[:axis], 1, *x.shape[axis:])
            wide = (*x.shape[:axis], count, *x.shape[axis:])
            x = b.reshaped(_expanded(b, b.reshaped(x, opened), wide, node), final)
    return x


def _depth_to_space(b: SampleBuilder, node: OnnxNode) -> Operand:
    x = _first(node)
    n, c, h, w, k = *_image(node, x), node.integer("blocksize")
    if k < 1 or c % (k * k):
        raise ImportFormatError(f"{node}: blocksize {k} does not divide {c} channels")
    if node.text("mode", "DCR") == "CRD":
        y = apply_transpose(b, b.reshaped(x, (n, c // k // k, k, k, h, w), 0), [0, 1, 4, 2, 5, 3])
    else:
        y = apply_transpose(b, b.reshaped(x, (n, k, k, c // k // k, h, w), 0), [0, 3, 4, 1, 5, 2])
    return b.reshaped(y, (n, c // k // k, h * k, w * k), 0, node.outputs[0])


def _space_to_depth(b: SampleBuilder, node: OnnxNode) -> Operand:
    x = _first(node)
    n, c, h, w, k = *_image(node, x), node.integer("blocksize")
    if k < 1 or h % k or w % k:
        raise ImportFormatError(f"{node}: blocksize {k} does not divide {h} x {w}")
    y = apply_transpose(b, b.reshaped(x, (n, c, h // k, k, w // k, k), 0), [0, 3, 5, 1, 2, 4])
    return b.reshaped(y, (n, c * k * k, h // k, w // k), 0, node.outputs[0])


def _image(node: OnnxNode, x: Value) -> Shape:
    if len(x.shape) != 4:
        raise ImportFormatError(f"{node}: input must have 4 dimensions, got shape {x.shape}")
    return x.shape


_COORDINATES = {
    "half_pixel": "half_pixel",
    "asymmetric": "asymmetric",
    "align_corners": "align_corners",
    "pytorch_half_pixel": "pytorch_half_pixel",
}


def _resize(b: SampleBuilder, node: OnnxNode) -> Operand:
    x = _first(node)
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
    if sizes is not None and sizes.size == len(axes):
        for a, s in zip(axes, sizes.reshape(-1), strict=True):
            full[a] = int(s)
    elif scales is not None and scales.size == len(axes):
        for a, s in zip(axes, scales.reshape(-1), strict=True):
            if not 0 < float(s) < 1 << 16:
                raise ImportFormatError(f"{node}: scale {float(s)} is out of range")
            full[a] = math.floor(x.shape[a] * float(s))
            if not math.isclose(full[a], x.shape[a] * float(s), rel_tol=1e-5):
                raise UnsupportedError(
                    f"{node}: scale {float(s)} of {x.shape[a]} does not give a whole number"
                )
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
    attributes = {
        "sizes": list(shape[2:]),
        "mode": mode,
        "coordinates": coordinates,
        "nearest": nearest,
    }
    edge = b.node("resize", [b.leading(x, str(node))], attributes, node.name, node.outputs[0])
    return b.value(edge, 0, 0, node.outputs[0])


SHAPING: dict[str, Converter] = {
    "Concat": _concat,
    "DepthToSpace": _depth_to_space,
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "Pad": _pad,
    "Reshape": _reshape,
    "Resize": _resize,
    "Shape": _shape,
    "Size": _size,
    "Slice": _slice,
    "SpaceToDepth": _space_to_depth,
    "Split": _split,
    "Squeeze": _squeeze,
    "Tile": _tile,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Upsample": _resize,
}

__all__ = ["SHAPING", "apply_slice", "apply_transpose"]
