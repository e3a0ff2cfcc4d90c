"""Second-order rounding of a whole network, layer after layer, from unlabeled samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..graph import Graph
from ..quantization import QParams, dequantize, quantize
from ..reconstruction import Moments, RoundedMatrix, normal_equations, round_matrix
from .calibrate import Progress
from .level_grid import LevelCodes, LevelGrid, round_to_levels
from .one_layer import layer_session, observe_layer, own_parameters
from .round_kept import round_kept
from .walk import Walk, most_between
from .weight_matrix import LAYERS, from_rows, row_qparams, to_rows

# Most bytes of the activations between two layers that are kept at once, over all samples.
_MOST_BYTES = 1 << 29
_MOST_BIAS = 2.0**30  # of a code: the products of the layer fill the rest of 32 bits


@dataclass(frozen=True)
class WeightGrid:
    """The codes that a layer's weight may become.

    Attributes
    ----------
    bits : int
        2 to 8.
    group_size : int
        Weights of one output that share a scale; 0: all of them.
    narrow : bool
        Symmetric codes, as int8 kernels want them.
    one_scale : bool
        One scale for the whole weight.
    half_scales : bool
        Scales are float16 values.
    float_zero_point : bool
        Scales have zero points, as floats.
    bias_step : float
        Scale of the layer's quantized input; 0 where it is float. The bias is rounded to 32 bits at
        this times the weight's scales, which must be wide enough for it.
    """

    bits: int = 4
    group_size: int = 0
    narrow: bool = False
    one_scale: bool = False
    half_scales: bool = True
    float_zero_point: bool = False
    bias_step: float = 0.0


@dataclass(frozen=True)
class RepairedLayer:
    """Codes, parameters and bias of one layer.

    Attributes
    ----------
    codes : ndarray of int8, or uint8 of a codebook
        Of the weight's shape.
    qparams : QParams
    values : ndarray of float32
        What the codes stand for.
    bias : ndarray of float32, or None
        None where the layer has none.
    error, nearest_error : float
        Mean squared error that the rounding adds to the layer's output, as a share of the output's
        variance, and what rounding to nearest would add; 0 for layers that were rounded to nearest.
    bits : float
        What an adaptive coder spends on codes that were chosen with that in mind; 0 for others.
    """

    codes: NDArray[Any]
    qparams: Any
    values: NDArray[np.float32]
    bias: NDArray[np.float32] | None
    error: float
    nearest_error: float
    bits: float = 0.0


def repair_weights(
    graph: Graph,
    grids: Mapping[str, WeightGrid | LevelGrid],
    batches: Any,
    *,
    nearest: Mapping[str, Any] | None = None,
    sweeps: int = 10,
    threads: int = 0,
    progress: Progress | None = None,
) -> dict[str, RepairedLayer]:
    """Round the weights of layers so that the network's outputs stay.

    Layer after layer in the order of execution: the inputs come from the network whose earlier
    layers are rounded already, the targets from the float network, so that each layer makes good
    what those before it did (a layer in front of a residual sum also what the shortcut did). The
    weights are refitted to the targets by least squares, rounded by GPTQ with coordinate descent
    (:func:`tersor.reconstruction.round_matrix`, or on a set of levels
    :func:`tersor.reconstruction.round_by_rate`), and the bias takes what is left of the mean.

    Parameters
    ----------
    graph : Graph
        Float, canonical. Not changed.
    grids : mapping of str to WeightGrid or LevelGrid
        By node; others keep their weights. Nodes that cannot be rounded so (`why_nearest`) are
        left out.
    batches : iterable of lists of ndarray
        One array per input.
    nearest : mapping of str to WeightFormat, optional
        Float layers whose weights are rounded to nearest; their biases take what is left of the
        mean too.
    sweeps : int, default 10
        Most passes of coordinate descent.
    threads : int, default 0
        0 follows :func:`tersor.set_threads`. Results do not depend on it.
    progress : callable, optional
        Called as ``progress("round", layers done, layers)``.

    Returns
    -------
    dict of str to RepairedLayer
        By node.
    """
    plain = nearest or {}
    names = {n for n, g in grids.items() if not why_nearest(graph, n, g)} | set(plain)
    todo = [i for i, node in enumerate(graph.nodes) if node.name in names]
    done: dict[str, RepairedLayer] = {}
    exact, rounded = Walk(graph, batches, threads), Walk(graph, batches, threads)
    for count, index in enumerate(todo):
        if progress is not None:
            progress("round", count, len(todo))
        node = graph.nodes[index]
        exact.advance(index)
        rounded.advance(index)
        if node.name in plain:
            layer = _nearest_layer(graph, index, plain[node.name], exact, rounded, threads)
        else:
            layer = _repair_layer(graph, index, grids[node.name], exact, rounded, sweeps, threads)
        weight, bias = own_parameters(graph, node)
        rounded.session.update_weights(weight.name, layer.values)
        if bias is not None and layer.bias is not None:
            rounded.session.update_weights(bias.name, layer.bias)
        done[node.name] = layer
    if progress is not None:
        progress("round", len(todo), len(todo))
    return done


def why_nearest(graph: Graph, name: str, grid: WeightGrid | LevelGrid | None = None) -> str:
    """Say why a layer's weight cannot be rounded by what samples show.

    Parameters
    ----------
    graph : Graph
    name : str
        Of a node.
    grid : WeightGrid or LevelGrid, optional
        Asked for; without it, whether its bias can be repaired at least.

    Returns
    -------
    str
        Empty where it can.
    """
    node, edges = next(n for n in graph.nodes if n.name == name), graph.edges
    if node.op not in LAYERS or node.inputs[0] < 0:
        return "it is no layer with a weight"
    weight = edges[node.inputs[1]]
    if not weight.is_constant or weight.dtype != "float32":
        return "its weight is not a float32 constant"
    if edges[node.inputs[0]].dtype != "float32" or edges[node.inputs[0]].is_constant:
        return "its input is not float32"
    if sum(node.inputs[1] in other.inputs for other in graph.nodes) > 1:
        return "its weight is also used otherwise"
    if len(node.inputs) > 2 and node.inputs[2] >= 0 and not edges[node.inputs[2]].is_constant:
        return "its bias is not constant"
    if node.op == "matmul" and len(weight.shape) != 2:
        return "its weight is several matrices"
    if not np.isfinite(weight.constant).all():
        return "its weight is not finite"
    if grid is None:
        return ""
    grouped = node.attributes.get("groups", 1) != 1
    if isinstance(grid, LevelGrid):
        transposed = node.op == "conv_transpose" and grouped
        return "it is a transposed convolution with groups" if transposed else ""
    if node.op == "conv_transpose" and (grouped or grid.group_size):
        return "it is a transposed convolution with groups"
    return "one scale holds for several groups" if grouped and grid.one_scale else ""


def _repair_layer(
    graph: Graph,
    index: int,
    grid: WeightGrid | LevelGrid,
    exact: Walk,
    rounded: Walk,
    sweeps: int,
    threads: int,
) -> RepairedLayer:
    node = graph.nodes[index]
    weight, bias = own_parameters(graph, node)
    w = np.asarray(weight.constant)
    rows = to_rows(node, w)
    groups, outputs, columns = rows.shape
    moments = Moments(columns, groups=groups, outputs=outputs, threads=threads)
    for x, targets in _samples(graph, index, exact, rounded, threads):
        observe_layer(moments, node, w, x, targets)
    # A bias that other nodes use too has to fit as well.
    whole = graph.edges[node.inputs[2]] if len(node.inputs) > 2 and node.inputs[2] >= 0 else None
    least = _least_scale(grid.bias_step, whole, groups, outputs, columns)
    if isinstance(grid, LevelGrid):
        return _level_layer(node, w, moments, grid, least, bias is not None, threads)
    if not _fits_half(rows, grid.bits):
        grid = replace(grid, half_scales=False)
    done, shift = [], []
    for g in range(groups):
        problem = normal_equations(moments, rows[g], group=g, centred=bias is not None)
        if rows[g].all() or grid.float_zero_point:
            found = _round(problem.target, problem.hessian, grid, least[g], sweeps, threads)
        else:
            found = round_kept(problem, rows[g] != 0, grid, least[g], threads)
        done.append(found)
        shift.append(problem.best_bias(found.values()))
    power = max(float(moments.target_variance.sum()), 1e-30)
    zeros = [d.zero_point for d in done if d.zero_point is not None]
    return RepairedLayer(
        from_rows(node, np.stack([d.codes for d in done]), w.shape),
        row_qparams(
            node,
            w.ndim,
            np.concatenate([d.scale for d in done]),
            bits=grid.bits,
            narrow=grid.narrow,
            group_size=grid.group_size,
            one_scale=grid.one_scale,
            zero_point=np.concatenate(zeros) if zeros else None,
        ),
        from_rows(node, np.stack([d.values() for d in done]), w.shape),
        None if bias is None else np.concatenate(shift).astype(np.float32),
        sum(d.error for d in done) / power,
        sum(d.nearest_error for d in done) / power,
    )


def _level_layer(
    node: Any,
    w: NDArray[Any],
    moments: Moments,
    grid: LevelGrid,
    least: NDArray[np.float64],
    centred: bool,
    threads: int,
) -> RepairedLayer:
    """Weights on levels; pruned ones stay 0."""
    rows = to_rows(node, w)
    problems = [
        normal_equations(moments, rows[g], group=g, centred=centred) for g in range(len(rows))
    ]
    power = max(float(moments.target_variance.sum()), 1e-30)
    done = round_to_levels(
        np.stack([p.target for p in problems]),
        np.stack([p.hessian for p in problems]),
        grid,
        power,
        kept=rows != 0,
        least=least,
        threads=threads,
    )
    shift = [p.best_bias(v) for p, v in zip(problems, done.values, strict=True)]
    return leveled_layer(
        node, w.shape, done, np.concatenate(shift).astype(np.float32) if centred else None, power
    )


def leveled_layer(
    node: Any,
    shape: tuple[int, ...],
    done: LevelCodes,
    bias: NDArray[np.float32] | None,
    power: float,
) -> RepairedLayer:
    """Put the rows of a layer back into its weight.

    Parameters
    ----------
    node : Node
    shape : tuple of int
        Of the weight.
    done : LevelCodes
    bias : ndarray of float32, or None
    power : float
        Variance of the output.

    Returns
    -------
    RepairedLayer
    """
    axis = {"conv_transpose": 1, "matmul": len(shape) - 1}.get(node.op, 0)
    several = len(done.qparams["scale"]) > 1
    return RepairedLayer(
        from_rows(node, done.codes, shape),
        QParams(**done.qparams, axis=axis if several else None),
        from_rows(node, done.values, shape),
        bias,
        done.error / power,
        0.0,
        done.bits,
    )


def _nearest_layer(
    graph: Graph, index: int, format: Any, exact: Walk, rounded: Walk, threads: int
) -> RepairedLayer:
    """Weights rounded to nearest; the bias takes the mean of what that changes."""
    native: Any = graph
    node = graph.nodes[index]
    weight, bias = own_parameters(graph, node)
    q = native.weight_code_qparams(node.name, format)
    codes = quantize(np.asarray(weight.constant), q)
    values = dequantize(codes, q)
    shift = None
    if bias is not None:
        layer = layer_session(graph, node, threads, weight=values)
        axis = -1 if node.op in ("dense", "matmul") else 1
        total, count = np.zeros(len(bias.constant)), 0
        for x, targets in _samples(graph, index, exact, rounded, threads):
            lost = np.moveaxis(np.asarray(targets - layer(x), np.float64), axis, 0)
            total += lost.reshape(len(total), -1).sum(axis=1)
            count += lost.size // len(total)
        shift = (np.asarray(bias.constant) + total / max(1, count)).astype(np.float32)
    return RepairedLayer(codes, q, values, shift, 0.0, 0.0)


def _least_scale(
    bias_step: float, bias: Any, groups: int, outputs: int, columns: int
) -> NDArray[np.float64]:
    """Scales that a 32-bit bias needs, shape (groups, outputs)."""
    if bias is None or bias_step == 0:
        return np.zeros((groups, outputs))
    # The repaired bias differs by at most the products that the layer sums, which fill the rest of
    # the 32 bits: columns * 255 * 127 codes beside 2^30.
    room = 1 + columns * 2.0**-15
    least = np.abs(np.asarray(bias.constant, np.float64)) * room / (bias_step * _MOST_BIAS)
    # The bias's own scale must be a normal float (quantize_weights.cpp).
    return np.maximum(least, 2.0**-125 / bias_step).reshape(groups, outputs)


def _fits_half(w: NDArray[np.float32], bits: int) -> bool:
    """Whether scales of float16 are fine enough (``fit_half`` in graph/weight_codes.cpp)."""
    scale = np.abs(w).max(axis=-1) / (1 << (bits - 1))
    most = float(scale.max(initial=0))
    # float16 has 11 bits from 2^-14 on, 7 from 2^-18 on; channels 2^12 smaller count for nothing.
    least = 2.0**-18 if bits <= 4 else 2.0**-14
    if most == 0:
        return True
    fine = (scale >= least) | (scale < most * 2.0**-12)
    return 2.0**-14 <= most <= 2.0**14 and bool(fine.all())


def _round(
    target: NDArray[np.float64],
    hessian: NDArray[np.float64],
    grid: WeightGrid,
    least: NDArray[np.float64],
    sweeps: int,
    threads: int,
) -> RoundedMatrix:
    return round_matrix(
        target,
        hessian,
        grid.bits,
        group_size=grid.group_size or None,
        narrow=grid.narrow,
        one_scale=grid.one_scale,
        float_zero_point=grid.float_zero_point,
        least_scale=least if least.any() else None,
        scale_dtype="float16" if grid.half_scales else "float32",
        sweeps=sweeps,
        threads=threads,
    )


def _samples(
    graph: Graph, index: int, exact: Walk, rounded: Walk, threads: int
) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    """Inputs of the layer in the rounded network, and what it should make of them."""
    node, edges = graph.nodes[index], graph.edges
    name, beside = edges[node.inputs[0]].name, _shortcut(graph, index)
    layer = layer_session(graph, node, threads)
    for right, got in zip(exact.values, rounded.values, strict=True):
        targets = layer(right[name])
        if beside is not None:
            targets = targets + (right[beside] - got[beside])
        yield got[name], targets


def _shortcut(graph: Graph, index: int) -> str | None:
    """The other side of the sum that alone reads the layer, if the layer can make it good."""
    node, edges = graph.nodes[index], graph.edges
    if node.attributes.get("activation", "none") != "none":
        return None
    out = node.outputs[0]
    readers = [n for n in graph.nodes if out in n.inputs]
    if len(readers) != 1 or readers[0].op != "add" or out in graph.output_ids:
        return None
    others = [i for i in readers[0].inputs if i != out]
    if (
        len(others) != 1
        or edges[others[0]].is_constant
        or edges[others[0]].shape != edges[out].shape
    ):
        return None
    made = next((i for i, n in enumerate(graph.nodes) if others[0] in n.outputs), -1)
    return edges[others[0]].name if made < index else None


def set_float_weights(graph: Any, layers: Mapping[str, RepairedLayer]) -> None:
    """Give a float graph the values that the codes stand for, and the biases, in place.

    Parameters
    ----------
    graph : Graph
    layers : mapping of str to RepairedLayer
        By node.
    """
    for node in graph.nodes:
        if node.name in layers:
            graph.set_constant(node.inputs[1], layers[node.name].values)
            _set_bias(graph, node, layers[node.name].bias)


def set_weight_codes(graph: Any, layers: Mapping[str, RepairedLayer]) -> None:
    """Give the float layers of a graph the codes, and the biases, in place.

    Parameters
    ----------
    graph : Graph
    layers : mapping of str to RepairedLayer
        By node.
    """
    for node in graph.nodes:
        if node.name in layers:
            found = layers[node.name]
            graph.set_weight_codes(node.name, found.codes, found.qparams)
            _set_bias(graph, node, found.bias)


def set_int8_codes(graph: Any, layers: Mapping[str, RepairedLayer]) -> None:
    """Give the int8 layers of a graph the codes, and biases at the new scales, in place.

    Parameters
    ----------
    graph : Graph
        Of ``apply_quantization``.
    layers : mapping of str to RepairedLayer
        By node, of narrow grids without groups, or of codebooks of int8 codes.
    """
    edges = graph.edges
    for node in graph.nodes:
        if node.name not in layers or edges[node.inputs[0]].qparams is None:
            continue
        found = layers[node.name]
        if len(node.inputs) > 2 and node.inputs[2] >= 0:
            step = np.float32(edges[node.inputs[0]].qparams.scale[0]) * found.qparams.scale
            old = edges[node.inputs[2]]
            bias = found.bias
            if bias is None:
                bias = np.asarray(old.constant) * np.asarray(old.qparams.scale, np.float64)
            codes = np.rint(bias / np.float64(step))
            graph.set_constant(node.inputs[2], codes.astype(np.int32))
            graph.set_qparams(
                node.inputs[2],
                QParams(
                    scale=step.tolist(),
                    zero_point=[0] * len(step),
                    bits=32,
                    axis=None if found.qparams.axis is None else 0,
                ),
            )
        graph.set_weight_codes(node.name, found.codes, found.qparams)


def _set_bias(graph: Any, node: Any, bias: NDArray[np.float32] | None) -> None:
    """Give a float node its bias, in place.

    Parameters
    ----------
    graph : Graph
    node : Node
    bias : ndarray of float32, or None
        None changes nothing.
    """
    if bias is not None:
        graph.set_constant(node.inputs[2], bias)


def most_samples(graph: Any) -> int:
    """Return how many samples' activations between two layers fit the memory that this may use.

    Parameters
    ----------
    graph : Graph

    Returns
    -------
    int
        At least 32.
    """
    return max(32, _MOST_BYTES // (2 * 4 * most_between(graph)))


__all__ = [
    "RepairedLayer",
    "WeightGrid",
    "leveled_layer",
    "most_samples",
    "repair_weights",
    "set_float_weights",
    "set_int8_codes",
    "set_weight_codes",
    "why_nearest",
]
