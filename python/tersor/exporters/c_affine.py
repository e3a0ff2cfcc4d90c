"""Convolutions and dense layers of generated C: weights in the order in which kernels read them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _core
from .c_plan import Activation, Layer, Slide, window_ranges, window_slide
from .c_rows import Place, windows
from .c_values import has_row, multipliers, sum_struct
from .c_weights import Steps, Window, choose, pack, scratch_bytes

if TYPE_CHECKING:
    from .c_lower import Lowering

_LARGEST = 32767  # 16-bit fields of tersor_window


def lower_affine(walk: Lowering, index: int) -> None:
    """Turn a convolution or dense layer, with the residual addition behind it, into a layer.

    Parameters
    ----------
    walk : Lowering
    index : int
        Of the node.
    """
    node = walk.nodes[index]
    weight_edge = walk.edges[node.inputs[1]]
    if not weight_edge.is_constant or weight_edge.dtype != "int8":
        raise walk.refusal(index, f"weights must be constant int8 codes, got {weight_edge.dtype}")
    if (weight_edge.qparams.zero_point != 0).any() or weight_edge.qparams.group_size:
        raise walk.refusal(
            index, "weights must have zero point 0 and a scale per tensor or channel"
        )
    geometry = {"conv": _conv, "conv_transpose": _transposed}.get(node.op, _dense)
    x, window, order = geometry(walk, index, weight_edge)
    _check(walk, index, window)
    adding = walk.fused.get(index)
    last = walk.nodes[index if adding is None else adding]
    y = walk.define(last.outputs[0], order)
    inner = walk.edges[node.outputs[0]].qparams
    residual, sums = None, ""
    if adding is not None:
        other = next(e for e in last.inputs if e != node.outputs[0])
        residual = walk.ordered(other, order)
        activation = last.attributes["activation"]
        sums = sum_struct(inner, residual.qparams, y.qparams, False, activation)
    _emit(walk, index, x, window, y, inner, residual, sums)


def _conv(walk: Lowering, index: int, weight: Any) -> tuple[Activation, Window, tuple[int, ...]]:
    from .c_lower import channels_last

    node = walk.nodes[index]
    rank = len(walk.edges[node.inputs[0]].shape) - 1
    if rank not in (2, 3):
        raise walk.refusal(index, f"the C kernel has one or two dimensions, got {rank - 1}")
    order = channels_last(rank)
    x = walk.ordered(node.inputs[0], order)
    shape = tuple(int(d) for d in walk.edges[node.outputs[0]].shape[1:])
    codes = np.asarray(weight.constant, np.int8)
    if rank == 2:
        codes = codes[:, :, None, :]
    a = node.attributes

    def two(name: str) -> tuple[int, int]:
        values = [int(v) for v in a[name]]
        return (1, values[0]) if len(values) == 1 else (values[0], values[1])

    pads = [int(p) for p in a["pads"]]
    height, width = (1, shape[1]) if rank == 2 else (shape[1], shape[2])
    window = Window(
        (1, x.shape[1], x.shape[0]) if rank == 2 else (x.shape[1], x.shape[2], x.shape[0]),
        (height, width, shape[0]),
        (codes.shape[2], codes.shape[3]),
        two("strides"),
        two("dilations"),
        (0, pads[0]) if rank == 2 else (pads[0], pads[1]),
        int(a["groups"]),
        np.ascontiguousarray(codes.transpose(0, 2, 3, 1)),
    )
    return x, window, order


def _transposed(
    walk: Lowering, index: int, weight: Any
) -> tuple[Activation, Window, tuple[int, ...]]:
    """A convolution of the input with zeros between its places, by the weights turned round."""
    from .c_lower import channels_last
    from .c_moves import spread

    node = walk.nodes[index]
    a, rank = node.attributes, len(walk.edges[node.inputs[0]].shape) - 1
    if rank not in (2, 3) or int(a["groups"]) != 1:
        raise walk.refusal(
            index, "the C kernel has one or two dimensions and one group, got "
            f"{rank - 1} and {int(a['groups'])}",
        )  # fmt: skip
    order, axes = channels_last(rank), range(rank - 1)
    x = walk.ordered(node.inputs[0], order)
    codes = np.asarray(weight.constant, np.int8)
    kernel, pads = codes.shape[2:], [int(p) for p in a["pads"]]
    strides, dilations, more = (
        [int(v) for v in a[key]] for key in ("strides", "dilations", "output_padding")
    )
    reach = [dilations[i] * (kernel[i] - 1) for i in axes]
    ends = [(reach[i] - pads[i], reach[i] - pads[rank - 1 + i] + more[i]) for i in axes]
    if min(min(end) for end in ends) < 0:
        raise walk.refusal(index, f"pads must be less than the kernel reaches, got {pads}")
    wide = spread(walk, x, strides, ends)
    turned = np.flip(codes, tuple(range(2, rank + 1))).swapaxes(0, 1)
    shape = [int(d) for d in walk.edges[node.outputs[0]].shape[1:]]
    if rank == 2:
        turned, dilations = turned[:, :, None, :], [1, *dilations]

    def plane(s: Sequence[int]) -> tuple[int, int, int]:
        return (1, s[1], s[0]) if rank == 2 else (s[1], s[2], s[0])

    window = Window(
        plane(wide.shape), plane(shape), (turned.shape[2], turned.shape[3]), (1, 1),
        (dilations[0], dilations[1]), (0, 0), 1, np.ascontiguousarray(turned.transpose(0, 2, 3, 1)),
    )  # fmt: skip
    return wide, window, order


def _dense(walk: Lowering, index: int, weight: Any) -> tuple[Activation, Window, tuple[int, ...]]:
    node = walk.nodes[index]
    if node.attributes.get("dynamic"):
        raise walk.refusal(index, "quantizes its input as it runs, which needs floats")
    rank = len(walk.known[node.inputs[0]].shape)
    order = tuple(range(rank))
    x = walk.ordered(node.inputs[0], order)
    codes = np.asarray(weight.constant, np.int8)
    outputs, inputs = codes.shape
    rows = x.size // inputs
    window = Window(
        (1, rows, inputs), (1, rows, outputs), (1, 1), (1, 1), (1, 1), (0, 0), 1,
        np.ascontiguousarray(codes[:, None, None, :]),
    )  # fmt: skip
    return x, window, order


def _check(walk: Lowering, index: int, window: Window) -> None:
    largest = max(*window.x, *window.y, *window.kernel, *window.stride, window.depth + 3)
    if largest > _LARGEST:
        raise walk.refusal(index, f"dimensions must be at most {_LARGEST} for C, got {largest}")


def _emit(
    walk: Lowering,
    index: int,
    x: Activation,
    window: Window,
    y: Activation,
    inner: Any,
    residual: Activation | None,
    sums: str,
) -> None:
    node = walk.nodes[index]
    outputs = window.y[2]
    q = walk.edges[node.inputs[1]].qparams
    mantissa, shift = multipliers(x.qparams, q, inner, outputs)
    bias = np.zeros(outputs, np.int64)
    if len(node.inputs) > 2 and node.inputs[2] >= 0:
        edge = walk.edges[node.inputs[2]]
        if not edge.is_constant or edge.dtype != "int32":
            raise walk.refusal(index, f"bias must be constant int32, got {edge.dtype}")
        bias = np.asarray(edge.constant, np.int64).ravel()
    low, high = _core.codegen.activation_codes(node.attributes["activation"], inner)
    zero = int(inner.zero_point[0])
    steps = Steps(bias, mantissa, shift, x.zero_point, zero, low, high)
    fast = residual is None or has_row(inner, residual.qparams, y.qparams)
    kernel = choose(window, steps, walk.program.kernels, residual is not None, fast)
    constants, depth = pack(window, steps, kernel)
    names = {c.name for c in constants}
    tables = ", ".join(n if n in names else "0" for n in ("weights", "bias", "mantissa", "shift"))
    fields = [
        *window.x, *window.y, *window.kernel, *window.stride, *window.dilation, *window.pads,
        window.groups, depth, x.zero_point, zero, low, high,
    ]  # fmt: skip
    struct = f"{{{tables}, {', '.join(map(str, fields))}}}"
    sources = (x.buffer,) if residual is None else (x.buffer, residual.buffer)

    tables_of = [f"static const tersor_window p = {struct};"]
    if residual is not None:
        tables_of.append(f"static const tersor_sum s = {sums};")

    def call(p: str, to: str, added: str, at: Callable[[int], str], backwards: bool) -> str:
        extra = {"conv_codes_dsp": "codebook, ", "conv_sparse_dsp": "blocks, "}.get(kernel, "")
        ends = f"{p}, {extra}{at(x.buffer)}, {to}"
        if kernel.startswith("dense"):
            return f"tersor_{kernel}({ends});"
        if kernel == "depthwise":
            return f"tersor_depthwise({ends}, {int(backwards)});"
        if kernel == "depthwise_dsp":
            return f"tersor_depthwise_dsp({ends}, (int32_t*){at(-1)}, {int(backwards)});"
        column = "uint8_t" if kernel == "conv" else "int16_t"
        added = f"&s, {added}" if added else "0, 0"
        return f"tersor_{kernel}({ends}, ({column}*){at(-1)}, {added}, {int(backwards)});"

    def body(at: Callable[[int], str], backwards: bool) -> list[str]:
        added = "" if residual is None else at(residual.buffer)
        return [*tables_of, call("&p", at(y.buffer), added, at, backwards)]

    def row(place: Place, first: str, added: str) -> list[str]:
        one = f"const tersor_window row = tersor_window_row(&p, r, {first});"
        return [*tables_of, one, call("&row", "y", added, place.at, False)]

    name = node.name if residual is None else f"{node.name} + {walk.nodes[walk.fused[index]].name}"
    walk.add(
        Layer(
            name, node.op, sources, y.buffer, body, constants,
            macs=int(walk.graph.macs_of(index)),
            scratch=scratch_bytes(window, kernel, depth, residual is not None),
            slides=_slides(window, x, residual, kernel),
            rows=None
            if kernel.startswith("dense")
            else windows(x, y, _ranges(window, 0), residual, row),
        )
    )  # fmt: skip


def _ranges(window: Window, axis: int) -> Any:
    """What each output row (axis 0) or column reads."""
    return window_ranges(
        window.y[axis], window.x[axis], window.kernel[axis], window.stride[axis],
        window.pads[axis], window.dilation[axis],
    )  # fmt: skip


def _slides(window: Window, x: Activation, residual: Activation | None, kernel: str) -> list[Slide]:
    rows, columns = _ranges(window, 0), _ranges(window, 1)
    multiple = window.depthwise and window.x[2] != window.y[2]
    if kernel.startswith("dense") or multiple or (window.groups > 1 and not window.depthwise):
        return []
    found = [
        window_slide(
            x.buffer, window.x, window.y, rows, columns,
            positions=2 if kernel.startswith("conv_") else 1,
            by_channel=window.depthwise,
        )
    ]  # fmt: skip
    if residual is not None:
        found.append(Slide(residual.buffer, 0, 0))
    return found


__all__ = ["lower_affine"]
