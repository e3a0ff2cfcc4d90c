"""ONNX operators that move or select numbers: reshape, transpose, slice, concat, pad."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
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
from .values import BATCH, LEADING, Constant, Operand, SampleBuilder, Shape, Value, mixed


def _first(node: OnnxNode) -> Value:
    return as_value(node.operand(0), str(node))


def _optional_arrays(node: OnnxNode) -> list[Any]:
    return [node.operand(0)] + [node.array(i) for i in range(1, len(node.inputs))]


def _following(node: OnnxNode) -> range:
    return range(1, len(node.inputs))


def _shape(b: SampleBuilder, node: OnnxNode) -> Operand:
    return _known(b, node, lambda shape: shape_array(node, shape))


def _size(b: SampleBuilder, node: OnnxNode) -> Operand:
    return _known(b, node, lambda shape: np.asarray(math.prod(shape), np.int64))


def _known(b: SampleBuilder, node: OnnxNode, function: Callable[[Shape], Any]) -> Constant:
    """What follows from the shape: for one sample, and for many where that differs."""
    x = _first(node)
    array, wide = function(x.shape), function(x.wide_shape)
    differs = b.open and not np.array_equal(array, wide)
    return Constant(array, node.outputs[0], wide=wide if differs else None)


def wide_array(node: OnnxNode, index: int) -> Any:
    """A shape that is given as an input, for WIDE samples."""
    value = node.operand(index)
    assert isinstance(value, Constant)
    return value.array if value.wide is None else value.wide


def _reshape(b: SampleBuilder, node: OnnxNode) -> Operand:
    x = _first(node)
    wanted = node.array(1) if node.opset >= 5 else np.asarray(node.integers("shape"))
    shape = resolve_shape(x.shape, wanted, bool(node.integer("allowzero", 0)), str(node))
    wide = None
    if b.open:
        many = wide_array(node, 1) if node.opset >= 5 else wanted
        with contextlib.suppress(ImportFormatError):  # it holds for one sample only
            wide = resolve_shape(x.wide_shape, many, bool(node.integer("allowzero", 0)), str(node))
    return b.reshaped(x, shape, b.batch_after(x, shape, wide, str(node)), node.outputs[0])


def _flatten(b: SampleBuilder, node: OnnxNode) -> Operand:
    x = _first(node)
    axis = node.integer("axis", 1)
    axis += len(x.shape) if axis < 0 else 0
    if not 0 <= axis <= len(x.shape):
        raise ImportFormatError(f"{node}: axis {axis} does not fit shape {x.shape}")
    shape, wide = ((math.prod(s[:axis]), math.prod(s[axis:])) for s in (x.shape, x.wide_shape))
    batch = b.batch_after(x, shape, wide, str(node)) if b.open or axis else None
    return b.reshaped(x, shape, batch, node.outputs[0])


def _squeeze(b: SampleBuilder, node: OnnxNode) -> Operand:
    x, *extra = _optional_arrays(node)
    axes = node.axes(extra)
    if axes is None and x.batch is not None:  # "all unit axes" means those of the sample
        axes = [i for i, d in enumerate(x.shape) if d == 1 and i != x.batch.axis]
        extra = [np.asarray(axes, np.int64)]
    shape = squeezed_shape(node, x.shape, extra)
    batch = x.batch
    if batch is not None:
        gone = set(axes_of(axes, len(x.shape), str(node)))
        if b.open and batch.axis in gone:
            raise mixed(str(node), "it drops the axis of the batch")
        batch = (
            None if batch.axis in gone else batch.at(batch.axis - sum(a < batch.axis for a in gone))
        )
    return b.reshaped(x, shape, batch, node.outputs[0])


def _unsqueeze(b: SampleBuilder, node: OnnxNode) -> Operand:
    x, *extra = _optional_arrays(node)
    shape = unsqueezed_shape(node, x.shape, extra)
    batch = x.batch
    if batch is not None:
        new = set(axes_of(node.axes(extra), len(shape), str(node)))
        batch = batch.at([i for i in range(len(shape)) if i not in new][batch.axis])
    return b.reshaped(x, shape, batch, node.outputs[0])


def apply_transpose(
    b: SampleBuilder, x: Value, perm: list[int], name: str = "", output_name: str = ""
) -> Value:
    """Permute axes; moving only unit axes is a change of shape."""
    shape = tuple(x.shape[p] for p in perm)
    batch = None if x.batch is None else x.batch.at(perm.index(x.batch.axis))
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
    for r in ranges:
        b.check_apart(x, r[0], what)
    ranges = [r for r in ranges if r[1:] != (0, x.shape[r[0]], 1)]
    if not ranges:
        return x
    for axis, start, end, step in ranges:
        if len(range(start, end, step)) == 0:
            raise UnsupportedError(f"{what}: the result is empty along axis {axis}")
    reversed_ = [r for r in ranges if r[3] < 0]
    ranges = [r for r in ranges if r[3] > 0]
    for i, (axis, *bounds) in enumerate(reversed_):
        index = Constant(np.arange(*bounds, dtype=np.int64), "index")
        names = (name, output_name) if i + 1 == len(reversed_) and not ranges else ("", "")
        x = apply_gather(b, x, index, axis, what, names[0], names[1])
    if not ranges:
        return x
    form = b.form_for_axes(x, [r[0] for r in ranges], what)
    attributes = {
        "axes": [r[0] + form.shift for r in ranges],
        "starts": [r[1] for r in ranges],
        "ends": [r[2] for r in ranges],
        "steps": [r[3] for r in ranges],
    }
    edge = b.node("slice", [b.arranged(x, form.native)], attributes, name, output_name)
    return b.value(edge, form.shift, x.batch, output_name)


def apply_gather(
    b: SampleBuilder,
    x: Value,
    index: Constant,
    axis: int,
    what: str,
    name: str = "",
    output_name: str = "",
) -> Value:
    """Entries of an axis; `index` holds numbers >= 0 and takes the place of the axis."""
    form = b.form_for_axes(x, [axis], what)
    edges = [b.arranged(x, form.native), b.constant(index)]
    edge = b.node("gather", edges, {"axis": axis + form.shift}, name, output_name)
    batch = x.batch
    if batch is not None and batch.axis > axis:
        batch = batch.at(batch.axis + len(index.shape) - 1)
    return b.value(edge, form.shift, batch, output_name)


def _slice(b: SampleBuilder, node: OnnxNode) -> Operand:
    x = _first(node)
    ranges = slice_ranges(node, x.shape, _optional_arrays(node) if node.opset >= 10 else [])
    if b.open:
        extra = [x, *(wide_array(node, i) if node.optional(i) else None for i in _following(node))]
        wide = slice_ranges(node, x.wide_shape, extra if node.opset >= 10 else [])
        pairs = [
            (r, w)
            for r, w in zip(ranges, wide, strict=True)
            if r[1:] != (0, x.shape[r[0]], 1) or w[1:] != (0, x.wide_shape[w[0]], 1)
        ]
        if any(r != w for r, w in pairs):
            raise mixed(str(node))
        ranges = [r for r, _ in pairs]
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
    if any(len(o.shape) != len(x.shape) for o in operands):
        raise ImportFormatError(f"{node}: ranks of the operands differ")
    b.common_batch(operands, len(x.shape), str(node))
    edges = []
    for o in operands:
        native = (BATCH, *o.shape[1 - form.shift :]) if b.batched else o.shape
        if isinstance(o, Value):
            edges.append(b.arranged(o, native))
        else:  # a token in front of a sequence: the same for every sample
            edge = b.constant(o, (1, *native[1:]) if b.batched else native)
            edges.append(b.node("expand", [edge], {"shape": list(native)}) if b.batched else edge)
    edge = b.node("concat", edges, {"axis": axis + form.shift}, node.name, node.outputs[0])
    return b.value(edge, form.shift, x.batch, node.outputs[0])


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
    return b.value(edge, form.shift, x.batch, node.outputs[0])


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
        batch = data.batch
        if batch is not None and batch.axis > axis:
            batch = batch.at(batch.axis + index.ndim - 1)
        return b.reshaped(part, shape, batch, node.outputs[0])
    chosen = Constant(index, indices.name, indices.origin)
    return apply_gather(b, data, chosen, axis, str(node), node.name, node.outputs[0])


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
    return Value(edge, indices.native + rest, indices.shape + rest, indices.batch, node.outputs[0])


def _expand(b: SampleBuilder, node: OnnxNode) -> Operand:
    x = _first(node)
    shape = bounded(np.broadcast_shapes(x.shape, bounded(_required(node, 1), str(node))), str(node))
    y = _expanded(b, x, shape, node)
    if b.open:
        try:
            wide = np.broadcast_shapes(x.wide_shape, bounded(wide_array(node, 1), str(node)))
        except ValueError:
            wide = ()
        if wide != y.wide_shape:
            raise mixed(str(node))
    return y


def _expanded(b: SampleBuilder, x: Value, shape: Shape, node: OnnxNode) -> Value:
    shift = len(shape) - len(x.shape)
    batch = None if x.batch is None else x.batch.at(x.batch.axis + shift)
    padded = (1,) * shift + x.shape
    if padded == shape:
        return b.reshaped(x, shape, batch)
    if batch is not None and shape[batch.axis] != padded[batch.axis]:
        raise mixed(str(node), "it repeats the samples")
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
            b.check_apart(x, axis, str(node))
            batch = x.batch
            later = batch.at(batch.axis + (batch.axis > axis)) if batch is not None else None
            final = (*x.shape[:axis], count * x.shape[axis], *x.shape[axis + 1 :])
            opened = (*x.shape[:axis], 1, *x.shape[axis:])
            wide = (*x.shape[:axis], count, *x.shape[axis:])
            x = b.reshaped(_expanded(b, b.reshaped(x, opened, later), wide, node), final, batch)
    return x


def _depth_to_space(b: SampleBuilder, node: OnnxNode) -> Operand:
    x = _first(node)
    n, c, h, w, k = *_image(b, node, x), node.integer("blocksize")
    if k < 1 or c % (k * k):
        raise ImportFormatError(f"{node}: blocksize {k} does not divide {c} channels")
    if node.text("mode", "DCR") == "CRD":
        y = apply_transpose(
            b, b.reshaped(x, (n, c // k // k, k, k, h, w), LEADING), [0, 1, 4, 2, 5, 3]
        )
    else:
        y = apply_transpose(
            b, b.reshaped(x, (n, k, k, c // k // k, h, w), LEADING), [0, 3, 4, 1, 5, 2]
        )
    return b.reshaped(y, (n, c // k // k, h * k, w * k), LEADING, node.outputs[0])


def _space_to_depth(b: SampleBuilder, node: OnnxNode) -> Operand:
    x = _first(node)
    n, c, h, w, k = *_image(b, node, x), node.integer("blocksize")
    if k < 1 or h % k or w % k:
        raise ImportFormatError(f"{node}: blocksize {k} does not divide {h} x {w}")
    y = apply_transpose(b, b.reshaped(x, (n, c, h // k, k, w // k, k), LEADING), [0, 3, 5, 1, 2, 4])
    return b.reshaped(y, (n, c * k * k, h // k, w // k), LEADING, node.outputs[0])


def _image(b: SampleBuilder, node: OnnxNode, x: Value) -> Shape:
    b.check_leading(x, str(node))
    if len(x.shape) != 4:
        raise ImportFormatError(f"{node}: input must have 4 dimensions, got shape {x.shape}")
    return x.shape


SHAPING: dict[str, Converter] = {
    "Concat": _concat,
    "DepthToSpace": _depth_to_space,
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "Pad": _pad,
    "Reshape": _reshape,
    "Shape": _shape,
    "Size": _size,
    "Slice": _slice,
    "SpaceToDepth": _space_to_depth,
    "Split": _split,
    "Squeeze": _squeeze,
    "Tile": _tile,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}

__all__ = ["SHAPING", "apply_gather", "apply_slice", "apply_transpose", "wide_array"]
