"""The operators of generated C: each turns one node into layers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _core
from .c_affine import lower_affine
from .c_lower import Lowering, channels_last
from .c_moves import (
    axes_of,
    lower_concat,
    lower_identity,
    lower_pad,
    lower_reshape,
    lower_slice,
    lower_transpose,
    reordered,
)
from .c_plan import Activation, Constant, Layer, window_ranges, window_slide
from .c_rows import Place, Read, Rowwise, all_of, each, elementwise, gathered, read, shape_of
from .c_rows import windows as rows_of_windows
from .c_select import lower_gather, lower_matmul, lower_move
from .c_values import sum_struct, table_of_requantize


def fusions(lowering: Lowering) -> dict[int, int]:
    """Pairs of a residual addition and the convolution whose result it takes last."""
    producers = {node.outputs[0]: i for i, node in enumerate(lowering.nodes)}
    outputs = set(lowering.graph.output_ids)
    found: dict[int, int] = {}
    for index, node in enumerate(lowering.nodes):
        if node.op != "add":
            continue
        edges = [lowering.edges[e] for e in node.inputs]
        made = [producers.get(e, -1) for e in node.inputs]
        if edges[0].shape != edges[1].shape or made[0] == made[1] or min(made) < 0:
            continue
        host = max(made)
        edge = lowering.nodes[host].outputs[0]
        depthwise = int(lowering.nodes[host].attributes.get("groups", 1)) != 1
        if lowering.nodes[host].op != "conv" or depthwise or edge in outputs:
            continue
        if lowering.consumers[edge] == [index] and len(edges[0].shape) in (3, 4):
            found[index] = host
            found[host] = index
    return found


# ---- sums, products, tables


def _lower_add(walk: Lowering, index: int) -> None:
    if index in walk.fused:
        return  # its convolution has written it
    node = walk.nodes[index]
    a, b, period, constants = _pair(walk, index)
    y = walk.define(node.outputs[0], a.order)
    struct = sum_struct(
        a.qparams, b.qparams, y.qparams, node.op == "sub", node.attributes["activation"]
    )
    _binary(
        walk, index, "tersor_add_tensors", f"tersor_sum s = {struct}", a, b, y, period, constants
    )


def _lower_mul(walk: Lowering, index: int) -> None:
    node = walk.nodes[index]
    a, b, period, constants = _pair(walk, index)
    y = walk.define(node.outputs[0], a.order)
    real = float(np.float64(a.scale) * np.float64(b.scale) / np.float64(y.scale))
    mantissa, shift = _core.codegen.fixed_multiplier(real)
    low, high = _core.codegen.activation_codes(node.attributes["activation"], y.qparams)
    struct = (
        f"{{{mantissa}, {shift}, {a.zero_point}, {b.zero_point}, {y.zero_point}, {low}, {high}}}"
    )
    _binary(
        walk, index, "tersor_multiply_tensors", f"tersor_product s = {struct}", a, b, y, period,
        constants,
    )  # fmt: skip


def _binary(
    walk: Lowering,
    index: int,
    function: str,
    struct: str,
    a: Activation,
    b: Activation,
    y: Activation,
    period: int,
    constants: list[Constant],
) -> None:
    sources = [x.buffer for x in (a, b) if x.buffer >= 0]

    def body(at: Callable[[int], str], backwards: bool) -> list[str]:
        second = at(b.buffer) if b.buffer >= 0 else constants[0].name
        return [
            f"static const {struct};",
            f"{function}(&s, {at(a.buffer)}, {second}, {at(y.buffer)}, {y.size}, {period});",
        ]

    whole = [x for x in (a, b) if x.buffer >= 0 and x.size == y.size]

    def row(place: Place) -> list[str]:
        second = constants[0].name if b.buffer < 0 else place.at(b.buffer)
        if b in whole:
            second = place.row(b.buffer, "r", row_bytes)
        first = place.row(a.buffer, "r", row_bytes)
        return [
            f"static const {struct};",
            f"{function}(&s, {first}, {second}, y, {row_bytes}, {min(period, row_bytes)});",
        ]

    rows, row_bytes = shape_of(y)
    reads = [read(x, each(rows)) for x in whole]
    if b.buffer >= 0 and b not in whole:
        reads.append(Read(b.buffer, 1, b.size, all_of(rows, 1)))
    fits = rows > 1 and (period == y.size or row_bytes % period == 0)
    walk.add(
        Layer(
            walk.nodes[index].name, walk.nodes[index].op, tuple(sources), y.buffer, body, constants,
            slides=walk.in_place(*(x.buffer for x in whole)),
            rows=Rowwise(tuple(reads), rows, row_bytes, row) if fits and a in whole else None,
        )
    )  # fmt: skip


def _pair(walk: Lowering, index: int) -> tuple[Activation, Activation, int, list[Constant]]:
    """Return the operands, the second one repeated with a period, and its codes if constant."""
    node = walk.nodes[index]
    left, right = node.inputs
    out = tuple(int(d) for d in walk.edges[node.outputs[0]].shape[1:])

    def is_whole(edge: int) -> bool:
        e = walk.edges[edge]
        return not e.is_constant and tuple(e.shape[1:]) == out

    if not is_whole(left):
        if node.op == "sub" or not is_whole(right):
            raise walk.refusal(
                index, "the C kernel repeats its second operand only, got shapes "
                f"{walk.edges[left].shape} and {walk.edges[right].shape}",
            )  # fmt: skip
        left, right = right, left
    a = walk.activation(left)
    e = walk.edges[right]
    if not e.is_constant:
        b = walk.known[right]
        if b.shape == a.shape:
            b = walk.ordered(right, a.order)
            return a, b, a.size, []
        shape, values = b.shape, None
    else:
        shape = tuple(int(d) for d in e.shape)
        values = np.asarray(e.constant, np.int8)
        if len(shape) == len(out) + 1 and shape[0] == 1:
            shape = shape[1:]
    full = (1,) * (len(out) - len(shape)) + shape
    if len(full) != len(out):
        raise walk.refusal(index, f"cannot repeat an operand of shape {shape}")
    physical = tuple(full[i] for i in a.order)
    target = a.physical
    split = next((i for i, d in enumerate(physical) if d != 1), len(physical))
    if physical[split:] != target[split:]:
        ones = [i for i in a.order if full[i] == 1]
        a = reordered(walk, a, (*ones, *(i for i in a.order if full[i] != 1)))
        physical = tuple(full[i] for i in a.order)
    period = math.prod(physical)
    if values is not None:
        codes = values.reshape(full).transpose(a.order).ravel()
        constant = Constant("operand", codes)
        return a, Activation(e.name, -1, full, a.order, e.qparams), period, [constant]
    order = tuple(range(len(shape)))
    if sum(d != 1 for d in shape) > 1:
        order = tuple(i for i in a.order if i >= len(out) - len(shape))
        order = tuple(i - (len(out) - len(shape)) for i in order)
    return a, walk.ordered(right, order), period, []


def _lower_table(walk: Lowering, index: int) -> None:
    node = walk.nodes[index]
    x = walk.activation(node.inputs[0])
    y = walk.define(node.outputs[0], x.order)
    if node.op == "requantize":
        values = table_of_requantize(x.qparams, y.qparams)
    else:
        values = np.array(_core.codegen.unary_table(walk.graph, index), np.int8)
    table = Constant("codes", values)
    walk.add(
        Layer(
            node.name, node.op, (x.buffer,), y.buffer,
            lambda at, _: [
                f"tersor_map({table.name}, {at(x.buffer)}, {at(y.buffer)}, {y.size});"
            ],
            [table], slides=walk.in_place(x.buffer),
            rows=elementwise(
                [x], y, lambda xs, to, n: [f"tersor_map({table.name}, {xs[0]}, {to}, {n});"]
            ),
        )
    )  # fmt: skip


# ---- windows without weights


def _lower_pool(walk: Lowering, index: int) -> None:
    node = walk.nodes[index]
    a = node.attributes
    rank = len(walk.edges[node.inputs[0]].shape) - 1
    if rank not in (2, 3):
        raise walk.refusal(index, f"the C kernel has one or two dimensions, got {rank - 1}")
    order = channels_last(rank)
    x = walk.ordered(node.inputs[0], order)
    y = walk.define(node.outputs[0], order)
    height, width, channels = _plane(x)
    out_height, out_width, _ = _plane(y)
    kernel = _two(a["kernel"], 1)
    stride = _two(a["strides"], 1)
    pads = [int(p) for p in a["pads"]]
    top, left, bottom, right = pads if rank == 3 else (0, pads[0], 0, pads[1])
    padded = int(node.op == "avg_pool" and a["count_include_pad"] != 0)
    fields = [
        height, width, channels, out_height, out_width, *kernel, *stride, top, left, bottom, right,
        x.zero_point, padded,
    ]  # fmt: skip
    function = "tersor_max_pool" if node.op == "max_pool" else "tersor_average_pool"
    rows = window_ranges(out_height, height, kernel[0], stride[0], top)
    columns = window_ranges(out_width, width, kernel[1], stride[1], left)
    slide = window_slide(
        x.buffer, (height, width, channels), (out_height, out_width, channels), rows, columns,
        by_channel=True,
    )  # fmt: skip
    walk.add(
        Layer(
            node.name, node.op, (x.buffer,), y.buffer,
            lambda at, backwards: [
                f"static const tersor_pool p = {{{', '.join(map(str, fields))}}};",
                f"{function}(&p, {at(x.buffer)}, {at(y.buffer)}, {int(backwards)});",
            ],
            slides=[slide],
            rows=_pool_rows(node, x, y, fields, rows, columns),
        )
    )  # fmt: skip


def _pool_rows(
    node: Any, x: Activation, y: Activation, fields: list[int], rows: Any, columns: Any
) -> Rowwise | None:
    """Rows of a pool; an average over the whole input adds them up."""
    height, width, channels, out_height, out_width, tall, wide = fields[:7]
    top, left, bottom, right, zero, padded = fields[9:]
    everything = rows.tolist() == [[0, height]] and columns.tolist() == [[0, width]]
    if node.op == "avg_pool" and everything and (out_height, out_width) == (1, 1):
        inside = height * width
        count = min(tall, height + top + bottom) * min(wide, width + left + right)
        count = count if padded else inside
        values = [height, width, channels, count, zero * (count - inside)]
        return gathered(
            x, y, 4 * channels,
            lambda row, to, state: [
                f"static const tersor_plane p = {{{', '.join(map(str, values))}}};",
                f"tersor_average_row(&p, r, {row}, {to}, (int32_t*){state});",
            ],
        )  # fmt: skip
    function = "tersor_max_pool" if node.op == "max_pool" else "tersor_average_pool"
    return rows_of_windows(
        x, y, rows, None,
        lambda place, first, _: [
            f"static const tersor_pool p = {{{', '.join(map(str, fields))}}};",
            f"const tersor_pool row = tersor_pool_row(&p, r, {first});",
            f"{function}(&row, {place.at(x.buffer)}, y, 0);",
        ],
    )  # fmt: skip


def _plane(x: Activation) -> tuple[int, int, int]:
    """Height, width and channels of [channels, (height,) width]."""
    if len(x.shape) == 2:
        return 1, x.shape[1], x.shape[0]
    return x.shape[1], x.shape[2], x.shape[0]


def _two(values: Sequence[int], missing: int) -> list[int]:
    numbers = [int(v) for v in values]
    return [missing, *numbers] if len(numbers) == 1 else numbers


# ---- reductions and softmax along an axis


def _are_neighbours(x: Activation, axes: Sequence[int]) -> bool:
    places = sorted(x.order.index(a) for a in axes if x.shape[a] != 1)
    long = [i for i, d in enumerate(x.physical) if d != 1]
    return not places or long[long.index(places[0]) : long.index(places[-1]) + 1] == places


def _lines(x: Activation, axes: Sequence[int]) -> tuple[int, int, int]:
    """Outer, middle and inner length when the axes (logical, without batch) are the middle."""
    places = sorted(x.order.index(a) for a in axes if x.shape[a] != 1)
    physical = x.physical
    if not places:
        return math.prod(physical), 1, 1
    first, last = places[0], places[-1] + 1
    return (
        math.prod(physical[:first]),
        math.prod(physical[first:last]),
        math.prod(physical[last:]),
    )


def _lower_reduce(walk: Lowering, index: int) -> None:
    node = walk.nodes[index]
    x = walk.activation(node.inputs[0])
    axes = axes_of(node, len(x.shape))
    if -1 in axes:
        raise walk.refusal(index, "cannot reduce over the batch")
    if not _are_neighbours(x, axes):
        kept = [a for a in x.order if a not in axes]
        x = reordered(walk, x, (*kept, *(a for a in x.order if a in axes)))
    outer, count, inner = _lines(x, axes)
    rows = None
    if node.attributes["keepdims"]:
        order = x.order
    else:
        kept = [a for a in range(len(x.shape)) if a not in axes]
        order = tuple(kept.index(a) for a in x.order if a in kept)
    y = walk.define(node.outputs[0], order)
    if node.op == "reduce_max":
        text = [f"tersor_reduce_max({{x}}, {{y}}, {outer}, {count}, {inner});"]
    else:
        mantissa, shift = _core.codegen.mean_multiplier(x.qparams, y.qparams, count)
        fields = [outer, count, inner, count * x.zero_point, mantissa, shift, y.zero_point]
        text = [
            f"static const tersor_mean p = {{{{{', '.join(map(str, fields))}}}}};",
            "tersor_reduce_mean(&p, {x}, {y});",
        ]
        if outer == 1 and x.order[0] in axes:
            high = x.physical[0]
            rows = gathered(
                x, y, 4 * inner,
                lambda row, to, state: [
                    text[0].format(),
                    f"tersor_mean_row(&p, r, {high}, {row}, {to}, (int32_t*){state});",
                ],
            )  # fmt: skip
    walk.add(
        Layer(
            node.name, node.op, (x.buffer,), y.buffer,
            lambda at, _: [t.format(x=at(x.buffer), y=at(y.buffer)) for t in text],
            rows=rows,
        )
    )  # fmt: skip


def _lower_softmax(walk: Lowering, index: int) -> None:
    node = walk.nodes[index]
    x = walk.activation(node.inputs[0])
    outer, length, inner = _lines(x, axes_of(node, len(x.shape)))
    y = walk.define(node.outputs[0], x.order)
    table = Constant("exponentials", np.array(_core.codegen.softmax_table(x.scale), np.uint32))
    walk.add(
        Layer(
            node.name, node.op, (x.buffer,), y.buffer,
            lambda at, _: [
                f"tersor_softmax_lines({at(x.buffer)}, {at(y.buffer)}, {outer}, {length}, {inner}, "
                f"{table.name});"
            ],
            # Lines that lie across each other are not written in the order in which they are read.
            [table], slides=walk.in_place(x.buffer) if inner == 1 else [],
        )
    )  # fmt: skip


OPERATORS: dict[str, Callable[[Lowering, int], None]] = {
    "conv": lower_affine,
    "conv_transpose": lower_affine,
    "dense": lower_affine,
    "matmul": lower_matmul,
    "add": _lower_add,
    "sub": _lower_add,
    "mul": _lower_mul,
    **dict.fromkeys(
        (
            "relu",
            "clip",
            "leaky_relu",
            "elu",
            "sigmoid",
            "hard_sigmoid",
            "hard_swish",
            "silu",
            "gelu",
            "tanh",
            "erf",
            "exp",
            "neg",
            "abs",
            "softplus",
            "requantize",
        ),
        _lower_table,
    ),
    "max_pool": _lower_pool,
    "avg_pool": _lower_pool,
    "reduce_mean": _lower_reduce,
    "reduce_max": _lower_reduce,
    "softmax": _lower_softmax,
    "transpose": lower_transpose,
    "reshape": lower_reshape,
    "identity": lower_identity,
    "slice": lower_slice,
    "pad": lower_pad,
    "resize": lower_move,
    "gather": lower_gather,
    "concat": lower_concat,
}

Codes = NDArray[np.int8]

__all__ = ["OPERATORS", "fusions"]
