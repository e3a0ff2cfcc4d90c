"""Convolutions and dense layers of generated C: weights in the order in which kernels read them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import _core
from .c_plan import Activation, Constant, Layer, Slide, window_ranges, window_slide
from .c_values import multipliers, padded, sum_struct, wrapped

if TYPE_CHECKING:
    from .c_lower import Lowering

_LARGEST = 32767  # 16-bit fields of tersor_window
_MARK = 64  # conv_dsp.h: a channel that needs tersor_scale in full


@dataclass(frozen=True)
class _Window:
    """Geometry of a layer; a dense layer is a window of one position."""

    x: tuple[int, int, int]  # height, width, channels
    y: tuple[int, int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    pads: tuple[int, int]
    groups: int
    weight: NDArray[np.int8]  # [output][y][x][input of its group]

    @property
    def depth(self) -> int:
        """Products of one output."""
        return int(self.weight[0].size)

    @property
    def depthwise(self) -> bool:
        return self.groups == self.x[2] > 1


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
    x, window, order = (_conv if node.op == "conv" else _dense)(walk, index, weight_edge)
    _check(walk, index, window)
    adding = walk.fused.get(index)
    last = walk.nodes[index if adding is None else adding]
    y = walk.define(last.outputs[0], order)
    inner = walk.edges[node.outputs[0]].qparams
    residual, sums = None, ""
    if adding is not None:
        other = next(e for e in last.inputs if e != node.outputs[0])
        residual = walk.ordered(other, order)
        swap = last.inputs[0] == other  # a sum does not care, its integers are made alike
        activation = last.attributes["activation"]
        sums = sum_struct(inner, residual.qparams, y.qparams, False, activation)
        assert not swap or sums
    _emit(walk, index, x, window, y, inner, residual, sums)


def _conv(walk: Lowering, index: int, weight: Any) -> tuple[Activation, _Window, tuple[int, ...]]:
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
    window = _Window(
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


def _dense(walk: Lowering, index: int, weight: Any) -> tuple[Activation, _Window, tuple[int, ...]]:
    node = walk.nodes[index]
    if node.attributes.get("dynamic"):
        raise walk.refusal(index, "quantizes its input as it runs, which needs floats")
    rank = len(walk.known[node.inputs[0]].shape)
    order = tuple(range(rank))
    x = walk.ordered(node.inputs[0], order)
    codes = np.asarray(weight.constant, np.int8)
    outputs, inputs = codes.shape
    rows = x.size // inputs
    window = _Window(
        (1, rows, inputs), (1, rows, outputs), (1, 1), (1, 1), (1, 1), (0, 0), 1,
        np.ascontiguousarray(codes[:, None, None, :]),
    )  # fmt: skip
    return x, window, order


def _check(walk: Lowering, index: int, window: _Window) -> None:
    largest = max(*window.x, *window.y, *window.kernel, *window.stride, window.depth + 3)
    if largest > _LARGEST:
        raise walk.refusal(index, f"dimensions must be at most {_LARGEST} for C, got {largest}")


def _emit(
    walk: Lowering,
    index: int,
    x: Activation,
    window: _Window,
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
    dsp = walk.program.kernels == "dsp"
    kernel = _choose(window, dsp)
    weights, folded, depth = _PACK[kernel](window, bias, x.zero_point)
    if kernel.endswith("dsp"):
        shift = _marked(window, bias, x.zero_point, mantissa, shift)
    many = len(folded)
    constants = [
        Constant("weights", weights, aligned=True),
        Constant("bias", wrapped(folded)),
        Constant("mantissa", padded(mantissa, many)),
        Constant("shift", padded(shift, many)),
    ]
    fields = [
        *window.x, *window.y, *window.kernel, *window.stride, *window.dilation, *window.pads,
        window.groups, depth, x.zero_point, int(inner.zero_point[0]), low, high,
    ]  # fmt: skip
    struct = "{weights, bias, mantissa, shift, " + ", ".join(map(str, fields)) + "}"
    slides = _slides(window, x, residual, kernel)
    sources = (x.buffer,) if residual is None else (x.buffer, residual.buffer)

    def body(at: Callable[[int], str], backwards: bool) -> list[str]:
        lines = [f"static const tersor_window p = {struct};"]
        ends = f"&p, {at(x.buffer)}, {at(y.buffer)}"
        if kernel == "dense_dsp":
            return [*lines, f"tersor_dense_dsp({ends});"]
        if kernel == "depthwise":
            return [*lines, f"tersor_depthwise({ends}, {int(backwards)});"]
        if kernel == "depthwise_dsp":
            return [*lines, f"tersor_depthwise_dsp({ends}, (int32_t*){at(-1)}, {int(backwards)});"]
        column = "uint8_t" if kernel == "conv" else "int16_t"
        if residual is None:
            added = "0, 0"
        else:
            lines.append(f"static const tersor_sum s = {sums};")
            added = f"&s, {at(residual.buffer)}"
        call = f"tersor_{kernel}({ends}, ({column}*){at(-1)}, {added}, {int(backwards)});"
        return [*lines, call]

    taps = window.kernel[0] * window.kernel[1]
    scratch = {
        "conv": depth,
        "conv_dsp": 4 * depth + (depth if window.x[2] % 4 else 0),
        "depthwise_dsp": 4 * taps + window.x[2],
    }.get(kernel, 0)
    name = node.name if residual is None else f"{node.name} + {walk.nodes[walk.fused[index]].name}"
    walk.add(
        Layer(
            name, node.op, sources, y.buffer, body, constants,
            macs=int(walk.graph.macs_of(index)), scratch=scratch, slides=slides,
        )
    )  # fmt: skip


def _choose(window: _Window, dsp: bool) -> str:
    """Return the kernel of a layer."""
    if window.depthwise:
        alike = window.x[2] == window.y[2] and window.x[2] % 4 == 0
        return "depthwise_dsp" if dsp and alike else "depthwise"
    if not dsp or window.groups > 1:
        return "conv"
    single = window.x[:2] == window.y[:2] == (1, 1) and window.kernel == (1, 1)
    return "dense_dsp" if single else "conv_dsp"


def _slides(
    window: _Window, x: Activation, residual: Activation | None, kernel: str
) -> list[Slide]:
    rows, columns = (
        window_ranges(
            window.y[i], window.x[i], window.kernel[i], window.stride[i], window.pads[i],
            window.dilation[i],
        )
        for i in (0, 1)
    )  # fmt: skip
    multiple = window.depthwise and window.x[2] != window.y[2]
    if kernel == "dense_dsp" or multiple or (window.groups > 1 and not window.depthwise):
        return []
    found = [
        window_slide(
            x.buffer, window.x, window.y, rows, columns,
            positions=2 if kernel == "conv_dsp" else 1, by_channel=window.depthwise,
        )
    ]  # fmt: skip
    if residual is not None:
        found.append(Slide(residual.buffer, 0, 0))
    return found


# ---- weights as the kernels read them: (weights, bias, depth)

Packed = tuple[NDArray[np.int8], NDArray[np.int64], int]


def _without_zero(window: _Window, bias: NDArray[np.int64], zero: int) -> NDArray[np.int64]:
    """The bias with what the zero point of the input adds to a sum of plain products."""
    sums: NDArray[np.int64] = window.weight.reshape(len(bias), -1).sum(1, dtype=np.int64)
    return bias - zero * sums


def _pack_conv(window: _Window, bias: NDArray[np.int64], zero: int) -> Packed:
    rows = window.weight.reshape(window.y[2], -1).astype(np.int64) + 128
    # (x + 128) * (w + 128) summed; 128 times the sum of x + 128 is known when it runs.
    folded = _without_zero(window, bias, zero) - 128 * rows.sum(1) + 128 * 128 * window.depth
    depth = _up(window.depth, 4)
    wide = np.zeros((len(rows) + 1, depth), np.uint8)
    wide[: len(rows), : window.depth] = rows
    return wide.view(np.int8).ravel(), padded(folded, len(rows) + 1), depth


def _pack_conv_dsp(window: _Window, bias: NDArray[np.int64], zero: int) -> Packed:
    folded = _without_zero(window, bias, zero)
    return *_interleaved(window, folded, 2), _up(window.depth, 4)


def _pack_dense_dsp(window: _Window, bias: NDArray[np.int64], zero: int) -> Packed:
    folded = _without_zero(window, bias, zero)
    return *_interleaved(window, folded, 4), _up(window.depth, 4)


def _interleaved(
    window: _Window, bias: NDArray[np.int64], rows: int
) -> tuple[NDArray[np.int8], NDArray[np.int64]]:
    """[output / rows][k / 4][output % rows][k % 4]."""
    outputs, depth = window.y[2], _up(window.depth, 4)
    wide = np.zeros((_up(outputs, rows), depth), np.int8)
    wide[:outputs, : window.depth] = window.weight.reshape(outputs, -1)
    parts = wide.reshape(-1, rows, depth // 4, 4).transpose(0, 2, 1, 3)
    return np.ascontiguousarray(parts).ravel(), padded(bias, _up(outputs, rows))


def _pack_depthwise(window: _Window, bias: NDArray[np.int64], zero: int) -> Packed:
    weights = window.weight.reshape(window.y[2], -1).T
    return np.ascontiguousarray(weights).ravel(), bias, window.depth


def _pack_depthwise_dsp(window: _Window, bias: NDArray[np.int64], zero: int) -> Packed:
    weights = window.weight.reshape(-1, 4, window.depth).transpose(0, 2, 1)
    return (
        np.ascontiguousarray(weights).ravel(),
        _without_zero(window, bias, zero),
        window.depth,
    )


_PACK: dict[str, Callable[[_Window, NDArray[np.int64], int], Packed]] = {
    "conv": _pack_conv,
    "conv_dsp": _pack_conv_dsp,
    "dense_dsp": _pack_dense_dsp,
    "depthwise": _pack_depthwise,
    "depthwise_dsp": _pack_depthwise_dsp,
}


def _up(n: int, to: int) -> int:
    return -(-n // to) * to


def _marked(
    window: _Window,
    bias: NDArray[np.int64],
    zero: int,
    mantissa: NDArray[np.int32],
    shift: NDArray[np.int8],
) -> NDArray[np.int8]:
    """Mark the channels that tersor_scale_down does not cover."""
    sums = np.abs(window.weight.reshape(len(bias), -1).astype(np.int64)).sum(1)
    largest = np.abs(bias) + sums * max(127 - zero, zero + 128)
    half = np.where(shift < 0, np.int64(1) << np.clip(-shift.astype(np.int64) - 1, 0, 62), 0)
    plain = (shift < 0) & (largest + half < 2**31 - 1)
    return np.where(plain, shift, shift.astype(np.int16) + _MARK).astype(np.int8)


__all__ = ["lower_affine"]
