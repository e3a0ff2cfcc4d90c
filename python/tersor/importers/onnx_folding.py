"""Evaluation of ONNX operators on arrays known at import: shape arithmetic, masks, parameters.

Results are bounded: an operator that would make more than ``MAX_ELEMENTS`` is refused, so that a
hostile file cannot exhaust memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .errors import ImportFormatError

if TYPE_CHECKING:
    from .onnx_node import OnnxNode

Array = NDArray[Any]
MAX_ELEMENTS = 1 << 26  # 64 Mi: more than any mask or position table, small enough to hold
MAX_RANK = 16  # NumPy has 64; networks have at most 8


def bounded(shape: Any, what: str) -> tuple[int, ...]:
    """`shape` as a tuple of sizes whose product is allowed."""
    dims = tuple(int(d) for d in shape)
    if len(dims) > MAX_RANK or any(d < 0 for d in dims) or math.prod(dims) > MAX_ELEMENTS:
        raise ImportFormatError(
            f"{what}: shape {dims[:MAX_RANK]} is negative or larger than {MAX_ELEMENTS} elements"
        )
    return dims


def resolve_shape(
    shape: tuple[int, ...], wanted: Any, allow_zero: bool, what: str
) -> tuple[int, ...]:
    """The shape that ONNX Reshape gives: 0 copies a dimension, -1 takes the rest."""
    dims = [int(d) for d in wanted]
    if not allow_zero:
        if any(d == 0 and i >= len(shape) for i, d in enumerate(dims)):
            raise ImportFormatError(
                f"{what}: shape {dims} copies a dimension that the input of shape {shape} lacks"
            )
        dims = [shape[i] if d == 0 else d for i, d in enumerate(dims)]
    if len(dims) > MAX_RANK or dims.count(-1) > 1 or any(d < -1 for d in dims):
        raise ImportFormatError(f"{what}: shape {dims[:MAX_RANK]} is not a valid shape")
    size = math.prod(shape)
    if -1 in dims:
        rest = -math.prod(dims)
        if rest == 0 or size % rest:
            raise ImportFormatError(f"{what}: cannot reshape {shape} to {dims}")
        dims[dims.index(-1)] = size // rest
    if math.prod(dims) != size:
        raise ImportFormatError(f"{what}: cannot reshape {shape} to {dims}")
    return tuple(dims)


def axes_of(axes: Any, rank: int, what: str) -> tuple[int, ...]:
    """Axes made non-negative; refused when out of range or repeated."""
    result = tuple(
        int(a) + rank if a < 0 else int(a) for a in np.atleast_1d(np.asarray(axes, np.int64))
    )
    if any(not 0 <= a < rank for a in result) or len(set(result)) != len(result):
        raise ImportFormatError(
            f"{what}: axes {[int(a) for a in np.atleast_1d(axes)]} do not fit rank {rank}"
        )
    return result


def axis_of(axis: int, rank: int, what: str) -> int:
    """One axis made non-negative."""
    return axes_of([axis], rank, what)[0]


# -- one function per operator: (node, arrays) -> array or list of arrays


def _elementwise(function: Callable[..., Any]) -> Callable[[OnnxNode, list[Array]], Array]:
    def fold(node: OnnxNode, x: list[Array]) -> Array:
        bounded(np.broadcast_shapes(*(a.shape for a in x)), str(node))
        with np.errstate(all="ignore"):
            result = function(*x)
        return np.asarray(result)

    return fold


def _same_type(function: Callable[..., Any]) -> Callable[[OnnxNode, list[Array]], Array]:
    inner = _elementwise(function)
    return lambda node, x: inner(node, x).astype(x[0].dtype, copy=False)


def _divide(a: Array, b: Array) -> Array:
    if a.dtype.kind == "f":
        return np.divide(a, b)
    return np.where(b == 0, 0, np.trunc(np.divide(a, np.where(b == 0, 1, b)))).astype(a.dtype)


def _cast(node: OnnxNode, x: list[Array]) -> Array:
    from .onnx_node import numpy_dtype

    with np.errstate(all="ignore"):
        return x[0].astype(numpy_dtype(node.integer("to"), str(node)))


def _constant_of_shape(node: OnnxNode, x: list[Array]) -> Array:
    fill = node.tensor("value", np.zeros(1, np.float32))
    return np.full(bounded(x[0], str(node)), fill.reshape(-1)[0], fill.dtype)


def _range(node: OnnxNode, x: list[Array]) -> Array:
    start, limit, step = (a.reshape(-1)[0] for a in x)
    if step == 0 or not np.isfinite([float(start), float(limit), float(step)]).all():
        raise ImportFormatError(f"{node}: Range needs a finite non-zero step")
    bounded([max(0, math.ceil((float(limit) - float(start)) / float(step)))], str(node))
    return np.arange(start, limit, step, dtype=x[0].dtype)


def _gather(node: OnnxNode, x: list[Array]) -> Array:
    axis = axis_of(node.integer("axis", 0), x[0].ndim, str(node))
    bounded(x[0].shape[:axis] + x[1].shape + x[0].shape[axis + 1 :], str(node))
    return np.take(x[0], x[1].astype(np.int64), axis)


def _concat(node: OnnxNode, x: list[Array]) -> Array:
    axis = axis_of(node.integer("axis"), x[0].ndim, str(node))
    bounded([sum(a.size for a in x)], str(node))
    return np.concatenate(x, axis)


def slice_ranges(
    node: OnnxNode, shape: tuple[int, ...], x: list[Any]
) -> list[tuple[int, int, int, int]]:
    """(axis, start, end, step) of ONNX Slice, clamped to the shape; `end` is -1 past the front."""
    if node.opset < 10:
        starts, ends = node.integers("starts"), node.integers("ends")
        axes: Any = node.integers("axes", list(range(len(starts))))
        steps: Any = [1] * len(starts)
    else:
        starts, ends = (x[i].reshape(-1).tolist() for i in (1, 2))
        axes = (
            x[3].reshape(-1).tolist()
            if len(x) > 3 and x[3] is not None
            else list(range(len(starts)))
        )
        steps = x[4].reshape(-1).tolist() if len(x) > 4 and x[4] is not None else [1] * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
        raise ImportFormatError(f"{node}: starts, ends, axes and steps do not match")
    result = []
    for axis, start, end, step in zip(
        axes_of(axes, len(shape), str(node)), starts, ends, steps, strict=True
    ):
        result.append((axis, *slice(start, end, step).indices(shape[axis])))
    return result


def _slice(node: OnnxNode, x: list[Array]) -> Array:
    index = [slice(None)] * x[0].ndim
    for axis, start, end, step in slice_ranges(node, x[0].shape, x):
        index[axis] = slice(start, None if end < 0 else end, step)
    return x[0][tuple(index)]


def _squeeze(node: OnnxNode, x: list[Array]) -> Array:
    return x[0].reshape(squeezed_shape(node, x[0].shape, x[1:]))


def squeezed_shape(node: OnnxNode, shape: tuple[int, ...], extra: list[Any]) -> tuple[int, ...]:
    """Shape after ONNX Squeeze."""
    axes = node.axes(extra)
    drop = (
        {i for i, d in enumerate(shape) if d == 1}
        if axes is None
        else set(axes_of(axes, len(shape), str(node)))
    )
    if any(shape[i] != 1 for i in drop):
        raise ImportFormatError(f"{node}: cannot squeeze axes {sorted(drop)} of shape {shape}")
    return tuple(d for i, d in enumerate(shape) if i not in drop)


def unsqueezed_shape(node: OnnxNode, shape: tuple[int, ...], extra: list[Any]) -> tuple[int, ...]:
    """Shape after ONNX Unsqueeze."""
    axes = node.axes(extra)
    rank = len(shape) + len(axes or ())
    if axes is None or rank > MAX_RANK:
        raise ImportFormatError(
            f"{node}: Unsqueeze needs axes that give at most {MAX_RANK} dimensions"
        )
    rest = iter(shape)
    positions = axes_of(axes, rank, str(node))
    return tuple(1 if i in positions else next(rest) for i in range(rank))


def _expand(node: OnnxNode, x: list[Array]) -> Array:
    shape = bounded(np.broadcast_shapes(x[0].shape, bounded(x[1], str(node))), str(node))
    return np.broadcast_to(x[0], shape)


def _tile(node: OnnxNode, x: list[Array]) -> Array:
    bounded([a * int(b) for a, b in zip(x[0].shape, x[1], strict=True)], str(node))
    return np.tile(x[0], x[1])


def _split(node: OnnxNode, x: list[Array]) -> list[Array]:
    axis = axis_of(node.integer("axis", 0), x[0].ndim, str(node))
    sizes = split_sizes(node, x[0].shape[axis], x[1:])
    return np.split(x[0], np.cumsum(sizes)[:-1], axis)


def split_sizes(node: OnnxNode, size: int, extra: list[Any]) -> list[int]:
    """Sizes of the parts of ONNX Split."""
    count = len(node.outputs)
    if extra and extra[0] is not None:
        sizes = [int(v) for v in extra[0].reshape(-1)]
    elif node.has("split"):
        sizes = list(node.integers("split"))
    else:
        part = -(-size // max(1, count))
        sizes = [min(part, size - i * part) for i in range(count)]
    if len(sizes) != count or sum(sizes) != size or min(sizes, default=0) < 0:
        raise ImportFormatError(f"{node}: cannot split {size} into {sizes}")
    return sizes


def _reduce(function: Callable[..., Any]) -> Callable[[OnnxNode, list[Array]], Array]:
    def fold(node: OnnxNode, x: list[Array]) -> Array:
        axes = node.axes(x[1:])
        if not axes and node.integer("noop_with_empty_axes", 0):
            return x[0]
        axis = axes_of(axes, x[0].ndim, str(node)) if axes else None
        return np.asarray(
            function(x[0], axis=axis, keepdims=bool(node.integer("keepdims", 1)))
        ).astype(x[0].dtype)

    return fold


def _trilu(node: OnnxNode, x: list[Array]) -> Array:
    k = int(x[1].reshape(-1)[0]) if len(x) > 1 else 0
    return np.triu(x[0], k) if node.integer("upper", 1) else np.tril(x[0], k)


def _cum_sum(node: OnnxNode, x: list[Array]) -> Array:
    if node.integer("exclusive", 0) or node.integer("reverse", 0):
        raise ImportFormatError(f"{node}: exclusive or reverse CumSum is not folded")
    return np.cumsum(x[0], int(x[1].reshape(-1)[0])).astype(x[0].dtype)


def _reshape(node: OnnxNode, x: list[Array]) -> Array:
    wanted = x[1] if len(x) > 1 else node.integers("shape")
    return x[0].reshape(
        resolve_shape(x[0].shape, wanted, bool(node.integer("allowzero", 0)), str(node))
    )


def _transpose(node: OnnxNode, x: list[Array]) -> Array:
    perm = node.integers("perm", list(range(x[0].ndim))[::-1])
    if sorted(perm) != list(range(x[0].ndim)):
        raise ImportFormatError(f"{node}: perm {perm} does not fit rank {x[0].ndim}")
    return np.transpose(x[0], perm)


def _matmul(node: OnnxNode, x: list[Array]) -> Array:
    bounded([x[0].size * x[1].shape[-1]], str(node))
    return np.asarray(np.matmul(x[0], x[1]))


FOLDERS: dict[str, Callable[[OnnxNode, list[Array]], Array | list[Array]]] = {
    "Abs": _same_type(np.abs),
    "Add": _same_type(np.add),
    "And": _elementwise(np.logical_and),
    "Cast": _cast,
    "CastLike": lambda node, x: x[0].astype(x[1].dtype),
    "Ceil": _same_type(np.ceil),
    "Concat": _concat,
    "ConstantOfShape": _constant_of_shape,
    "Cos": _same_type(np.cos),
    "CumSum": _cum_sum,
    "Div": _elementwise(_divide),
    "Equal": _elementwise(np.equal),
    "Exp": _same_type(np.exp),
    "Expand": _expand,
    "Floor": _same_type(np.floor),
    "Gather": _gather,
    "Greater": _elementwise(np.greater),
    "GreaterOrEqual": _elementwise(np.greater_equal),
    "Identity": lambda node, x: x[0],
    "IsNaN": _elementwise(np.isnan),
    "Less": _elementwise(np.less),
    "LessOrEqual": _elementwise(np.less_equal),
    "Log": _same_type(np.log),
    "MatMul": _matmul,
    "Max": _same_type(lambda *x: np.stack(np.broadcast_arrays(*x)).max(0)),
    "Min": _same_type(lambda *x: np.stack(np.broadcast_arrays(*x)).min(0)),
    "Mod": _same_type(lambda a, b: np.mod(a, np.where(b == 0, 1, b))),
    "Mul": _same_type(np.multiply),
    "Neg": _same_type(np.negative),
    "Not": _elementwise(np.logical_not),
    "Or": _elementwise(np.logical_or),
    "Pow": _same_type(np.power),
    "Range": _range,
    "Reciprocal": _same_type(np.reciprocal),
    "ReduceMax": _reduce(np.max),
    "ReduceMean": _reduce(np.mean),
    "ReduceMin": _reduce(np.min),
    "ReduceProd": _reduce(np.prod),
    "ReduceSum": _reduce(np.sum),
    "Reshape": _reshape,
    "Shape": lambda node, x: shape_array(node, x[0].shape),
    "Sin": _same_type(np.sin),
    "Size": lambda node, x: np.asarray(x[0].size, np.int64),
    "Slice": _slice,
    "Split": _split,
    "Sqrt": _same_type(np.sqrt),
    "Squeeze": _squeeze,
    "Sub": _same_type(np.subtract),
    "Tile": _tile,
    "Transpose": _transpose,
    "Trilu": _trilu,
    "Unsqueeze": lambda node, x: x[0].reshape(unsqueezed_shape(node, x[0].shape, x[1:])),
    "Where": _elementwise(np.where),
}


def shape_array(node: OnnxNode, shape: tuple[int, ...]) -> Array:
    """Result of ONNX Shape with its optional start and end."""
    part = slice(node.integer("start", 0), node.integer("end", len(shape)))
    return np.asarray(shape[part], np.int64)


__all__ = [
    "FOLDERS",
    "MAX_ELEMENTS",
    "axes_of",
    "axis_of",
    "bounded",
    "resolve_shape",
    "shape_array",
    "slice_ranges",
    "split_sizes",
    "squeezed_shape",
    "unsqueezed_shape",
]
