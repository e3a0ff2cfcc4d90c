"""Weights of generated C in the order in which its kernels read them: ``cpp/tersor/codegen``."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .c_plan import Constant
from .c_values import padded, wrapped

_LEAST_CODES = 512  # weights; below, a codebook and its slower loop gain too little
_MARK = 64  # conv_c99.h: a channel that needs tersor_scale in full

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Window:
    """Geometry and weights of a layer; a dense layer is a window of one position.

    Attributes
    ----------
    x, y : tuple of int
        Height, width, channels of input and output.
    kernel, stride, dilation, pads : tuple of int
        Down, across; pads above and at the left.
    weight : ndarray of int8, shape (outputs, height, width, inputs of a group)
    """

    x: tuple[int, int, int]
    y: tuple[int, int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    pads: tuple[int, int]
    groups: int
    weight: NDArray[np.int8]

    @property
    def depth(self) -> int:
        """Products of one output."""
        return int(self.weight[0].size)

    @property
    def depthwise(self) -> bool:
        """Whether every channel is a group of its own."""
        return self.groups == self.x[2] > 1


@dataclass(frozen=True)
class Steps:
    """From sums to codes, by output channel: biases, multipliers, zero points, limits."""

    bias: Integers
    mantissa: NDArray[np.int32]
    shift: NDArray[np.int8]
    zero_in: int
    zero_out: int
    low: int
    high: int


def choose(window: Window, steps: Steps, kernels: str, adds: bool, fast_sum: bool) -> str:
    """Return the kernel of a layer.

    Parameters
    ----------
    window : Window
    steps : Steps
    kernels : {"portable", "dsp"}
    adds : bool
        Whether there is a residual.
    fast_sum : bool
        Whether tersor_add_row covers that addition.

    Returns
    -------
    str
    """
    dsp = kernels == "dsp"
    # What the epilogues in assembly cover: SSAT clamps to all codes, SMMULR needs sums below 2^30.
    plain = (
        (steps.low, steps.high) == (-128, 127)
        and bool((steps.shift < 0).all())
        and int(_largest(window, steps).max()) < 2**30
    )
    if window.depthwise:
        alike = window.x[2] == window.y[2] and window.x[2] % 4 == 0
        return "depthwise_dsp" if dsp and alike and plain and window.depth > 2 else "depthwise"
    if not dsp or window.groups > 1:
        return "conv"
    if window.x[:2] == window.y[:2] == (1, 1) and window.kernel == (1, 1) and not adds:
        return "dense_dsp" if plain and window.y[2] % 4 == 0 else "dense_dsp_any"
    if not (plain and fast_sum):
        return "conv_dsp_any"
    # 12 instructions for a block that is kept, 7.5 for one of a dense row; offsets have 16 bits.
    if (_blocks(window) != 0).any(-1).mean() < 0.5 and 4 * _up(window.depth, 4) < 2**16:
        return "conv_sparse_dsp"
    if window.y[2] % 2:
        return "conv_dsp_any"
    values = np.unique(window.weight)
    few = window.weight.size >= _LEAST_CODES and len(values) <= 16
    ends = window.depth % 4 == 0 or len(values) < 16 or 0 in values
    return "conv_codes_dsp" if few and ends else "conv_dsp"


def scratch_bytes(window: Window, kernel: str, depth: int, adds: bool) -> int:
    """Return the scratch memory of a layer.

    Parameters
    ----------
    window : Window
    kernel : str
    depth : int
        As packed.
    adds : bool
        Whether there is a residual.

    Returns
    -------
    int
    """
    if kernel == "conv":
        return depth
    if kernel == "depthwise_dsp":
        return 4 * depth + window.x[2]
    if kernel.startswith("dense") or kernel == "depthwise":
        return 0
    codes = 2 * window.y[2] if adds and kernel != "conv_dsp_any" else 0
    behind = max(depth if window.x[2] % 4 else 0, codes)
    return 4 * depth + (_up(behind, 4) + 4 * 256 if kernel == "conv_codes_dsp" else behind)


def pack(window: Window, steps: Steps, kernel: str) -> tuple[list[Constant], int]:
    """Return the tables of a layer, and the products of one output as packed.

    Parameters
    ----------
    window : Window
    steps : Steps
    kernel : str

    Returns
    -------
    tuple of list of Constant and int
    """
    if kernel == "conv":
        return _pack_conv(window, steps)
    if kernel == "depthwise":
        rows = np.ascontiguousarray(window.weight.reshape(window.y[2], -1).T)
        return _tables(rows, steps.bias, steps), window.depth
    folded = _without_zero(window, steps)
    if kernel == "depthwise_dsp":
        return _pack_depthwise_dsp(window, folded, steps)
    depth, group = _up(window.depth, 4), 4 if kernel.startswith("dense") else 2
    weights = _interleaved(window, group)
    if kernel == "conv_codes_dsp":
        codes, codebook = _coded(window)
        tables = [_weights(codes), Constant("codebook", codebook)]
        return [*tables, Constant("bias", _by_groups(folded, steps, 2))], depth
    if kernel == "conv_sparse_dsp":
        return _pack_sparse(window, folded, steps), depth
    if kernel == "dense_dsp":
        return [_weights(weights), Constant("bias", _by_groups(folded, steps, 4))], depth
    if kernel == "conv_dsp":
        return [_weights(weights), Constant("bias", _by_groups(folded, steps, 2))], depth
    many = _up(len(folded), group)
    return _tables(weights, padded(folded, many), steps, _marked(window, steps)), depth


def _tables(
    weights: NDArray[np.int8],
    bias: Integers,
    steps: Steps,
    shift: NDArray[np.int8] | None = None,
) -> list[Constant]:
    return [
        _weights(weights),
        Constant("bias", wrapped(bias)),
        Constant("mantissa", padded(steps.mantissa, len(bias))),
        Constant("shift", padded(steps.shift if shift is None else shift, len(bias))),
    ]


def _weights(values: NDArray[np.int8]) -> Constant:
    return Constant("weights", np.ascontiguousarray(values).ravel(), aligned=True)


def _without_zero(window: Window, steps: Steps) -> Integers:
    """Biases with what the zero point of the input adds to a sum of plain products."""
    sums: Integers = window.weight.reshape(len(steps.bias), -1).sum(1, dtype=np.int64)
    return steps.bias - steps.zero_in * sums


def _largest(window: Window, steps: Steps) -> Integers:
    """Bound of the absolute value of a sum, and of what it passes on the way."""
    sums: Integers = np.abs(window.weight.reshape(len(steps.bias), -1).astype(np.int64)).sum(1)
    # Plain products of codes, with the folded bias.
    return np.abs(_without_zero(window, steps)) + 128 * sums


def _pack_conv(window: Window, steps: Steps) -> tuple[list[Constant], int]:
    rows = window.weight.reshape(window.y[2], -1).astype(np.int64) + 128
    # (x + 128) * (w + 128) summed; 128 times the sum of x + 128 is known when it runs.
    known = 128 * 128 * window.depth - 128 * rows.sum(1)
    depth = _up(window.depth, 8)
    wide = np.zeros((len(rows) + 1, depth), np.uint8)
    wide[: len(rows), : window.depth] = rows
    bias = padded(_without_zero(window, steps) + known, len(rows) + 1)
    return _tables(wide.view(np.int8), bias, steps, _marked(window, steps)), depth


def _interleaved(window: Window, rows: int) -> NDArray[np.int8]:
    """[output / rows][k / 4][output % rows][k % 4]."""
    outputs, depth = window.y[2], _up(window.depth, 4)
    wide = np.zeros((_up(outputs, rows), depth), np.int8)
    wide[:outputs, : window.depth] = window.weight.reshape(outputs, -1)
    return np.asarray(wide.reshape(-1, rows, depth // 4, 4).transpose(0, 2, 1, 3), np.int8)


def _blocks(window: Window) -> NDArray[np.int8]:
    """Weights as [output][k / 4][k % 4]."""
    outputs, depth = window.y[2], _up(window.depth, 4)
    wide = np.zeros((outputs, depth), np.int8)
    wide[:, : window.depth] = window.weight.reshape(outputs, -1)
    return wide.reshape(outputs, -1, 4)


def _pack_sparse(window: Window, bias: Integers, steps: Steps) -> list[Constant]:
    """Return the blocks that are not all 0, where their inputs lie, and the table of channels."""
    blocks = _blocks(window)
    kept = (blocks != 0).any(-1)
    counts = kept.sum(1, dtype=np.int64)
    right = -steps.shift.astype(np.int64) - 1
    table = np.stack([bias, steps.mantissa.astype(np.int64), right, counts], 1)
    # Four products of both positions are 16 bytes. A table is never empty.
    places = np.append(16 * np.nonzero(kept)[1], 0).astype(np.uint16)
    values = np.concatenate([blocks[kept].ravel(), np.zeros(4, np.int8)])
    return [
        _weights(values),
        Constant("blocks", places),
        Constant("bias", wrapped(table.ravel())),
    ]


def _coded(window: Window) -> tuple[NDArray[np.int8], NDArray[np.int8]]:
    """Return 4-bit codes as tersor_conv_codes_dsp reads them, and their 16 values."""
    values, codes = np.unique(window.weight, return_inverse=True)
    codebook = padded(values.astype(np.int8), 16)
    outputs, depth = window.y[2], _up(window.depth, 4)
    # Inputs beyond the window are whatever was there: their weight must be 0, or their code any
    # whose value is 0; where 0 is no value, the window is a multiple of 4 or the layer is int8.
    wide = np.full((outputs, depth), int(np.argmax(codebook == 0)), np.uint8)
    wide[:, : window.depth] = codes.reshape(outputs, -1)
    groups = wide.reshape(-1, 2, depth // 4, 4).transpose(0, 2, 1, 3)
    pairs = groups[..., :2] | groups[..., 2:] << 4
    return np.ascontiguousarray(pairs).view(np.int8), codebook


def _by_groups(bias: Integers, steps: Steps, group: int) -> NDArray[np.int32]:
    """Return the table of tersor_rows: biases of a group, then a multiplier and shift of each."""
    right = -steps.shift.astype(np.int64) - 1
    pairs = np.stack([steps.mantissa.astype(np.int64), right], 1).reshape(-1, 2 * group)
    return wrapped(np.concatenate([bias.reshape(-1, group), pairs], 1).ravel())


def _pack_depthwise_dsp(window: Window, bias: Integers, steps: Steps) -> tuple[list[Constant], int]:
    taps = _up(window.depth, 3)
    wide = np.zeros((window.y[2], taps), np.int8)
    wide[:, : window.depth] = window.weight.reshape(window.y[2], -1)
    right = -steps.shift.astype(np.int64) - 1
    columns = [v.reshape(-1, 4) for v in (bias, steps.mantissa.astype(np.int64), right)]
    table = Constant("bias", wrapped(np.concatenate(columns, 1).ravel()))
    return [_weights(wide.reshape(-1, 4, taps).transpose(0, 2, 1)), table], taps


def _marked(window: Window, steps: Steps) -> NDArray[np.int8]:
    """Mark the channels that tersor_scale_down does not cover."""
    exponents = np.clip(-steps.shift.astype(np.int64) - 1, 0, 31)
    half = np.where(steps.shift < 0, np.int64(1) << exponents, 0)
    plain = (steps.shift < 0) & (_largest(window, steps) + half < 2**31 - 1)
    return np.where(plain, steps.shift, steps.shift.astype(np.int16) + _MARK).astype(np.int8)


def _up(n: int, to: int) -> int:
    return -(-n // to) * to


__all__ = ["Steps", "Window", "choose", "pack", "scratch_bytes"]
