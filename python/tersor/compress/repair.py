"""Second-order rounding of a whole network, layer after layer, from unlabeled samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..graph import Graph
from ..quantization import QParams
from ..reconstruction import Moments, RoundedMatrix, normal_equations, round_matrix
from ..runtime import Session
from .calibrate import Progress
from .layer_format import LayerFormat
from .round_kept import round_kept
from .walk import Walk, most_between

# Most bytes of the activations between two layers that are kept at once, over all samples.
_MOST_BYTES = 1 << 29
_LAYERS = ("conv", "dense")
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
    """

    bits: int = 4
    group_size: int = 0
    narrow: bool = False
    one_scale: bool = False
    half_scales: bool = True


@dataclass(frozen=True)
class RepairedLayer:
    """Codes, parameters and bias of one layer.

    Attributes
    ----------
    codes : ndarray of int8
        Of the weight's shape.
    qparams : QParams
    values : ndarray of float32
        What the codes stand for.
    bias : ndarray of float32, or None
        None where the layer has none.
    error, nearest_error : float
        Mean squared error that the rounding adds to the layer's output, as a share of the output's
        variance, and what rounding to nearest would add.
    """

    codes: NDArray[np.int8]
    qparams: Any
    values: NDArray[np.float32]
    bias: NDArray[np.float32] | None
    error: float
    nearest_error: float


def repair_weights(
    graph: Graph,
    grids: Mapping[str, WeightGrid],
    batches: Any,
    *,
    sweeps: int = 10,
    threads: int = 0,
    progress: Progress | None = None,
) -> dict[str, RepairedLayer]:
    """Round the weights of convolutions and dense layers so that the network's outputs stay.

    Layer after layer in the order of execution: the inputs come from the network whose earlier
    layers are rounded already, the targets from the float network, so that each layer makes good
    what those before it did (a layer in front of a residual sum also what the shortcut did). The
    weights are refitted to the targets by least squares, rounded by GPTQ with coordinate descent
    (:func:`tersor.reconstruction.round_matrix`), and the bias takes what is left of the mean.

    Parameters
    ----------
    graph : Graph
        Float, canonical. Not changed.
    grids : mapping of str to WeightGrid
        By node; others keep their weights. Nodes that are no convolution or dense layer with a
        constant weight of its own are left out.
    batches : iterable of lists of ndarray
        One array per input.
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
    todo = [i for i, node in enumerate(graph.nodes) if node.name in grids and _rounds(graph, i)]
    done: dict[str, RepairedLayer] = {}
    exact, rounded = Walk(graph, batches, threads), Walk(graph, batches, threads)
    for count, index in enumerate(todo):
        if progress is not None:
            progress("round", count, len(todo))
        node = graph.nodes[index]
        exact.advance(index)
        rounded.advance(index)
        layer = _repair_layer(graph, index, grids[node.name], exact, rounded, sweeps, threads)
        weight, bias = _parameters(graph, node)
        rounded.session.update_weights(weight.name, layer.values)
        if bias is not None and layer.bias is not None:
            rounded.session.update_weights(bias.name, layer.bias)
        done[node.name] = layer
    if progress is not None:
        progress("round", len(todo), len(todo))
    return done


def _rounds(graph: Graph, index: int) -> bool:
    node, edges = graph.nodes[index], graph.edges
    if node.op not in _LAYERS:
        return False
    weight = edges[node.inputs[1]]
    shared = sum(node.inputs[1] in other.inputs for other in graph.nodes) > 1
    bias = len(node.inputs) < 3 or node.inputs[2] < 0 or edges[node.inputs[2]].is_constant
    plain = edges[node.inputs[0]].dtype == "float32" and weight.dtype == "float32"
    return bool(weight.is_constant and plain and bias and not shared)


def _parameters(graph: Graph, node: Any) -> tuple[Any, Any]:
    """Edges of the weight and of the bias, None where it has none of its own."""
    edges = graph.edges
    bias = node.inputs[2] if len(node.inputs) > 2 else -1
    shared = sum(bias in other.inputs for other in graph.nodes) > 1
    return edges[node.inputs[1]], None if bias < 0 or shared else edges[bias]


def _repair_layer(
    graph: Graph,
    index: int,
    grid: WeightGrid,
    exact: Walk,
    rounded: Walk,
    sweeps: int,
    threads: int,
) -> RepairedLayer:
    node = graph.nodes[index]
    weight, bias = _parameters(graph, node)
    w = np.asarray(weight.constant)
    groups = int(node.attributes.get("groups", 1))
    rows = w.reshape(groups, len(w) // groups, -1)
    moments = Moments(rows.shape[2], groups=groups, outputs=rows.shape[1], threads=threads)
    for x, targets in _samples(graph, index, exact, rounded, threads):
        _observe(moments, node, w, x, targets)
    if not _fits_half(w, grid.bits):
        grid = replace(grid, half_scales=False)
    codes, values, scale = np.empty(w.shape, np.int8), np.empty_like(w), []
    shift = np.zeros(len(w), np.float32)
    error = nearest = 0.0
    for g in range(groups):
        problem = normal_equations(moments, rows[g], group=g, centred=bias is not None)
        if rows[g].all():
            done = _round(problem.target, problem.hessian, grid, sweeps, threads)
        else:
            done = round_kept(problem, rows[g] != 0, grid, threads)
        part = slice(g * rows.shape[1], (g + 1) * rows.shape[1])
        values[part] = done.values().reshape(values[part].shape)
        codes[part] = done.codes.reshape(codes[part].shape)
        scale.append(done.scale)
        shift[part] = problem.best_bias(done.values())
        error, nearest = error + done.error, nearest + done.nearest_error
    power = max(float(moments.target_variance.sum()), 1e-30)
    return RepairedLayer(
        codes,
        _qparams(grid, np.concatenate(scale), w.ndim),
        values,
        None if bias is None else shift,
        error / power,
        nearest / power,
    )


def _fits_half(w: NDArray[np.float32], bits: int) -> bool:
    """Whether scales of float16 are fine enough (``fit_half`` in graph/weight_codes.cpp)."""
    scale = np.abs(w.reshape(len(w), -1)).max(axis=1) / (1 << (bits - 1))
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
        scale_dtype="float16" if grid.half_scales else "float32",
        sweeps=sweeps,
        threads=threads,
    )


def _qparams(grid: WeightGrid, scale: NDArray[np.float32], rank: int) -> Any:
    axis: Any = None if grid.one_scale else 0
    if grid.group_size:
        axis = tuple(range(1, rank)) if rank > 2 else 1
    return QParams(
        scale=scale.ravel().tolist(),
        zero_point=[0] * scale.size,
        bits=grid.bits,
        narrow=grid.narrow,
        axis=axis,
        group_size=grid.group_size,
    )


def _samples(
    graph: Graph, index: int, exact: Walk, rounded: Walk, threads: int
) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    """Inputs of the layer in the rounded network, and what it should make of them."""
    node, edges = graph.nodes[index], graph.edges
    name, beside = edges[node.inputs[0]].name, _shortcut(graph, index)
    layer = _alone(graph, node, threads)
    for right, got in zip(exact.values, rounded.values, strict=True):
        targets = layer(right[name])
        if beside is not None:
            targets = targets + (right[beside] - got[beside])
        yield got[name], targets


def _alone(graph: Graph, node: Any, threads: int) -> Session:
    """The layer without its activation."""
    edges, part = graph.edges, Graph()
    x = edges[node.inputs[0]]
    inputs = [part.add_input("x", x.dtype, x.shape)]
    # A bias that other nodes use too stays as it is, so it is no part of the target.
    for edge in _parameters(graph, node):
        if edge is not None:
            inputs.append(part.add_constant(edge.name, edge.constant))
    attributes = {k: v for k, v in node.attributes.items() if k != "activation"}
    part.set_outputs([part.add_node(node.op, inputs, attributes, "layer")])
    return Session(part, threads)


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


def _observe(
    moments: Moments, node: Any, w: NDArray[Any], x: NDArray[Any], targets: NDArray[Any]
) -> None:
    if node.op == "dense":
        moments.add(x, targets)
        return
    rank = w.ndim - 2
    pads = list(node.attributes.get("pads") or [0] * (2 * rank))
    moments.add_images(
        x,
        targets,
        kernel=w.shape[2:],
        output=targets.shape[2:],
        strides=node.attributes.get("strides") or None,
        dilations=node.attributes.get("dilations") or None,
        pads=pads,
    )


def weight_grids(formats: Mapping[str, LayerFormat], rounding: str | None) -> dict[str, WeightGrid]:
    """Return what second-order rounding is asked to do.

    Parameters
    ----------
    formats : mapping of str to LayerFormat
        By node.
    rounding : {"gptq", "nearest"} or None
        None: GPTQ for weights of fewer than 8 bits.

    Returns
    -------
    dict of str to WeightGrid
        Layers with float zero points, and those of dynamic int8, are rounded to nearest.
    """
    grids: dict[str, WeightGrid] = {}
    for name, layer in formats.items():
        if rounding == "nearest" or layer.bits is None or layer.float_zero_point:
            continue
        if layer.activations == "dynamic" or layer.bits == 8:
            continue
        int8 = layer.activations == "int8"
        grids[name] = WeightGrid(
            layer.bits, layer.group_size or 0, narrow=int8, half_scales=not int8
        )
    return grids


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
        By node, of narrow grids with one scale per output.
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
            if np.abs(codes).max(initial=0) > _MOST_BIAS:
                continue  # the weight codes that are there have scales wide enough for the bias
            graph.set_constant(node.inputs[2], codes.astype(np.int32))
            graph.set_qparams(
                node.inputs[2],
                QParams(scale=step.tolist(), zero_point=[0] * len(step), bits=32, axis=0),
            )
        graph.set_constant(node.inputs[1], found.codes)
        graph.set_qparams(node.inputs[1], found.qparams)


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
    "most_samples",
    "repair_weights",
    "set_float_weights",
    "set_int8_codes",
    "set_weight_codes",
    "weight_grids",
]
