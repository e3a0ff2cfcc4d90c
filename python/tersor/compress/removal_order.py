"""In which order the channels of a network can go, and what their absence costs."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..graph import Graph
from ..reconstruction import Moments
from ..runtime import Session
from .one_layer import observe_layer
from .walk import Walk
from .weight_matrix import damped_inverse

LAYERS = ("conv", "conv_transpose", "dense")
# Inputs of a layer above which each channel is judged by itself: the inverse of a larger second
# moment takes minutes.
_MOST_COLUMNS = 4608
_RIDGE = 1e-3  # of the mean diagonal, as in normal_equations
_AT_ONCE = 32  # the share 1 / _AT_ONCE of the channels left goes between two looks at the errors


@dataclass
class RemovalOrder:
    """Interchangeable units of channels: made, passed on and read by the same operators.

    Attributes
    ----------
    units : ndarray of int
        In the order in which they go.
    errors : ndarray of float64, shape (units + 1,)
        After that many are gone: squared error of the outputs of all layers that read them, each as
        a share of its variance, when the rest of the layer makes good what it can.
    half : dict of str to (weight, bias)
        Repaired layers, by node, with the first half gone (zeros in their columns).
    """

    units: NDArray[np.int64]
    errors: NDArray[np.float64]
    half: dict[str, tuple[NDArray[np.float32], NDArray[np.float32] | None]] = field(
        default_factory=dict
    )


def unit_classes(channels: Any) -> list[NDArray[np.int64]]:
    """Group units that lie on the same edges.

    Parameters
    ----------
    channels : Channels

    Returns
    -------
    list of ndarray of int
        Units of each class, ascending; classes by their first unit.
    """
    places: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
    for edge, units in enumerate(channels.units_of):
        for unit, count in Counter(u for u in units if u >= 0).items():
            places[unit].append((edge, count))
    classes: defaultdict[tuple[Any, ...], list[int]] = defaultdict(list)
    for unit in range(len(channels.units)):
        classes[tuple(places[unit])].append(unit)
    return [np.array(units, np.int64) for units in classes.values()]


def orders_by_norm(
    graph: Graph, channels: Any, classes: Sequence[NDArray[np.int64]], power: int
) -> list[RemovalOrder]:
    """Order units by the norm of the filters that make them.

    Parameters
    ----------
    graph : Graph
    channels : Channels
    classes : sequence of ndarray of int
    power : {1, 2}
        Sum of absolute values, or of squares, as a share of the layer's.

    Returns
    -------
    list of RemovalOrder
        The error of an order is the share of the norm that is gone.
    """
    norms = np.zeros(len(channels.units))
    filters: dict[int, NDArray[np.float64]] = {}
    for u, unit in enumerate(channels.units):
        for n, channel in unit.made:
            if n not in filters:
                filters[n] = _filter_norms(graph, graph.nodes[n], power)
            norms[u] += filters[n][channel]
    return [_by_score(units, norms[units]) for units in classes]


def orders_by_score(
    graph: Graph, channels: Any, classes: Sequence[NDArray[np.int64]], scores: Any
) -> list[RemovalOrder]:
    """Order units by given scores of output channels.

    Parameters
    ----------
    graph : Graph
    channels : Channels
    classes : sequence of ndarray of int
    scores : mapping of str to array-like
        By node, one number per output channel; layers that are not named count 0.

    Returns
    -------
    list of RemovalOrder
    """
    names = [node.name for node in graph.nodes]
    for name, values in scores.items():
        if name not in names or graph.nodes[names.index(name)].op not in LAYERS:
            raise ValueError(f"prune_channels: scores must be of layers, got {name!r}")
        shape = graph.edges[graph.nodes[names.index(name)].outputs[0]].shape
        count = shape[-1] if graph.nodes[names.index(name)].op == "dense" else shape[1]
        if np.shape(values) != (count,) or not np.isfinite(np.asarray(values, float)).all():
            raise ValueError(
                f"prune_channels: scores[{name!r}] must be {count} finite numbers, got shape "
                f"{np.shape(values)}"
            )
    total = np.zeros(len(channels.units))
    for u, unit in enumerate(channels.units):
        total[u] = sum(float(scores[names[n]][c]) for n, c in unit.made if names[n] in scores)
    return [_by_score(units, total[units]) for units in classes]


def orders_by_error(
    graph: Graph,
    channels: Any,
    classes: Sequence[NDArray[np.int64]],
    batches: Any,
    *,
    threads: int,
    progress: Any = None,
) -> list[RemovalOrder]:
    """Order units by what their absence does to the layers that read them (block-wise OBS).

    Parameters
    ----------
    graph : Graph
    channels : Channels
    classes : sequence of ndarray of int
    batches : iterable of lists of ndarray
    threads : int
    progress : callable, optional
        ``progress("order", layers done, layers)``

    Returns
    -------
    list of RemovalOrder

    References
    ----------
    Hassibi and Stork, "Second Order Derivatives for Network Pruning: Optimal Brain Surgeon", 1992,
    for blocks of columns: without the columns C a layer with weights W and second moment H of its
    inputs loses tr(W_C (H^-1_CC)^-1 W_C^T), the rest having moved by -W_C (H^-1_CC)^-1 H^-1_C.
    """
    readers = _readers(graph, channels)
    walk = Walk(graph, batches, threads)
    problems: dict[int, _Reader] = {}
    for count, n in enumerate(readers):
        if progress is not None:
            progress("order", count, len(readers))
        walk.advance(n)
        problems[n] = _Reader.measure(graph, n, walk, threads)
    if progress is not None:
        progress("order", len(readers), len(readers))
    return [_greedy(channels, units, readers, problems, graph) for units in classes]


def weigh_by_outputs(
    graph: Graph,
    orders: Sequence[RemovalOrder],
    batches: Sequence[Sequence[NDArray[Any]]],
    threads: int,
) -> None:
    """Scale the errors of every order to what half of it does to the network's first output.

    Parameters
    ----------
    graph : Graph
    orders : sequence of RemovalOrder
        Changed.
    batches : sequence of lists of ndarray
        A few hundred samples.
    threads : int
    """
    session = Session(graph, threads)
    truth = _first_output(session, batches)
    power = max(float(truth.var(axis=0).sum()), 1e-30)
    nodes = {node.name: node for node in graph.nodes}
    for order in orders:
        expected = order.errors[len(order.units) // 2]
        if expected <= 0 or not order.half:
            continue
        before = []
        for name, (weight, bias) in order.half.items():
            edges = [graph.edges[i] for i in nodes[name].inputs[1:] if i >= 0]
            for edge, value in zip(edges, (weight, bias), strict=False):
                if value is not None:
                    before.append(edge)
                    session.update_weights(edge.name, value)
        error = np.square(_first_output(session, batches) - truth).mean(axis=0).sum() / power
        order.errors *= float(error) / expected
        for edge in before:
            session.update_weights(edge.name, np.asarray(edge.constant))


def _first_output(session: Session, batches: Sequence[Sequence[NDArray[Any]]]) -> NDArray[Any]:
    rows = []
    for batch in batches:
        out = session(*batch)
        out = out[0] if isinstance(out, (list, tuple)) else out
        rows.append(np.asarray(out, np.float64).reshape(len(out), -1))
    return np.concatenate(rows)


def _by_score(units: NDArray[np.int64], scores: NDArray[np.float64]) -> RemovalOrder:
    order = np.argsort(scores, kind="stable")
    return RemovalOrder(units[order], np.concatenate([[0.0], np.cumsum(scores[order])]))


def _filter_norms(graph: Graph, node: Any, power: int) -> NDArray[np.float64]:
    w = np.abs(np.asarray(graph.edges[node.inputs[1]].constant, np.float64)) ** power
    if node.op == "conv_transpose":  # [in, out / groups, ...]
        groups = int(node.attributes["groups"])
        w = w.reshape(groups, w.shape[0] // groups, w.shape[1], -1).sum(axis=(1, 3)).ravel()
    else:
        w = w.reshape(len(w), -1).sum(axis=1)
    return np.asarray(w / max(w.sum(), 1e-300))


def _readers(graph: Graph, channels: Any) -> list[int]:
    """Layers that mix what they read; a depthwise one passes its channels on."""
    found = {n for unit in channels.units for n, _ in unit.read}
    return sorted(n for n in found if not _passes_on(graph, n))


def _passes_on(graph: Graph, n: int) -> bool:
    node = graph.nodes[n]
    if node.op == "dense" or int(node.attributes["groups"]) == 1:
        return False
    return bool(graph.edges[node.inputs[1]].shape[1] == 1)


@dataclass
class _Reader:
    """Second moments of a layer's inputs (per group of the layer), and its weight.

    With `alone` every channel has a moment of its own, and the others make nothing good.
    """

    rows: NDArray[np.float64]  # [groups][outputs][columns]
    hessian: NDArray[np.float64]  # [groups][columns][columns], or [channels][spread][spread]
    mean: NDArray[np.float64]  # [groups][columns]
    power: float
    kernel: int  # columns of a channel
    alone: bool

    @classmethod
    def measure(cls, graph: Graph, n: int, walk: Walk, threads: int) -> _Reader:
        node = graph.nodes[n]
        weight = graph.edges[node.inputs[1]]
        w = np.asarray(weight.constant)
        groups = 1 if node.op == "dense" else int(node.attributes["groups"])
        if node.op == "conv_transpose":
            return cls._of_transposed(graph, node, w, walk)
        rows = w.reshape(groups, len(w) // groups, -1)
        kernel = int(np.prod(w.shape[2:]))
        columns, alone = rows.shape[2], rows.shape[2] > _MOST_COLUMNS
        if alone and groups > 1:
            raise ValueError(f"prune_channels: {node.name} must have fewer inputs per group")
        name = graph.edges[node.inputs[0]].name
        if alone:
            return cls._of_channels(rows, kernel, [v[name] for v in walk.values])
        moments = Moments(columns, groups=groups, threads=threads)
        for values in walk.values:
            observe_layer(moments, node, w, values[name])
        mean = moments.input_mean
        hessian = moments.hessian / 2 - mean[:, :, None] * mean[:, None, :]
        power = float(np.einsum("gri,gij,grj->", rows, hessian, rows, optimize=True))
        return cls(rows.astype(np.float64), hessian, mean, max(power, 1e-30), kernel, False)

    @classmethod
    def _of_channels(
        cls, rows: NDArray[Any], kernel: int, inputs: Sequence[NDArray[Any]]
    ) -> _Reader:
        """Only the spread of every column by itself."""
        total = squares = 0.0
        count = 0
        for x in inputs:
            flat = np.asarray(x, np.float64).reshape(-1, x.shape[-1]) if x.ndim == 2 else None
            if flat is None:  # a convolution: the same for all places of the kernel
                moved = np.moveaxis(np.asarray(x, np.float64), 1, -1)
                flat = np.repeat(moved.reshape(-1, x.shape[1]), kernel, axis=1)
            total, squares = total + flat.sum(axis=0), squares + np.square(flat).sum(axis=0)
            count += len(flat)
        mean = np.asarray(total / count)
        spread = np.maximum(squares / count - mean * mean, 0)
        power = float((np.square(rows[0], dtype=np.float64) @ spread).sum())
        return cls(
            rows.astype(np.float64), spread[None], mean[None], max(power, 1e-30), kernel, True
        )

    @classmethod
    def _of_transposed(cls, graph: Graph, node: Any, w: NDArray[Any], walk: Walk) -> _Reader:
        """Of a transposed convolution: channel by channel, its kernel spread over the output."""
        if int(node.attributes["groups"]) != 1:
            raise ValueError(f"prune_channels: {node.name} must have one group")
        name = graph.edges[node.inputs[0]].name
        rows = np.moveaxis(w, 0, 1).reshape(1, w.shape[1], -1)
        return cls._of_channels(rows, int(np.prod(w.shape[2:])), [v[name] for v in walk.values])

    def columns(self, channel: int, per_channel: int) -> tuple[int, NDArray[np.int64]]:
        """Group of an input channel, and its columns there."""
        width = self.rows.shape[2] // per_channel
        group, place = divmod(channel, width)
        return group, np.arange(place * per_channel, (place + 1) * per_channel)


class _Elimination:
    """One reader from which channels go one after another."""

    def __init__(self, reader: _Reader, columns: dict[int, list[tuple[int, Any]]]) -> None:
        self.reader = reader
        self.columns = columns  # unit -> [(group, columns)]
        self.rows = reader.rows.copy()
        self.groups = sorted({g for parts in columns.values() for g, _ in parts})
        self.inverse = {}
        if not reader.alone:
            for g in self.groups:
                self.inverse[g] = damped_inverse(reader.hessian[g], _RIDGE)

    def errors(self, units: Sequence[int]) -> NDArray[np.float64]:
        """What taking each unit away adds to the error."""
        out = np.zeros(len(units))
        for g in self.groups:
            parts = [np.concatenate([c for h, c in self.columns[u] if h == g]) for u in units]
            for size in {len(p) for p in parts}:
                chosen = [i for i, p in enumerate(parts) if len(p) == size]
                index = np.stack([parts[i] for i in chosen])
                w = np.moveaxis(self.rows[g][:, index], 0, 1)  # [units][outputs][size]
                if self.reader.alone:
                    out[chosen] += (w * w * self.reader.hessian[0][index][:, None, :]).sum((1, 2))
                    continue
                block = self.inverse[g][index[:, :, None], index[:, None, :]]
                solved = np.linalg.solve(block, np.swapaxes(w, 1, 2))
                out[chosen] += (np.swapaxes(w, 1, 2) * solved).sum(axis=(1, 2))
        return np.maximum(out, 0) / self.reader.power

    def remove(self, unit: int) -> None:
        """Take a unit away; the other columns make good what they can."""
        for g in self.groups:
            columns = np.concatenate([c for h, c in self.columns[unit] if h == g])
            if self.reader.alone:
                self.rows[g][:, columns] = 0
                continue
            inverse = self.inverse[g]
            step = np.linalg.solve(inverse[np.ix_(columns, columns)], inverse[columns])
            self.rows[g] -= self.rows[g][:, columns] @ step
            inverse -= inverse[:, columns] @ step
            self.rows[g][:, columns] = 0
            inverse[columns] = 0
            inverse[:, columns] = 0
            inverse[columns, columns] = 1  # never looked at again, but solvable

    def bias_shift(self) -> NDArray[np.float64]:
        """What the output's mean loses."""
        lost = self.reader.rows - self.rows
        return np.asarray(np.einsum("gri,gi->gr", lost, self.reader.mean).ravel())


def _greedy(
    channels: Any,
    units: NDArray[np.int64],
    readers: Sequence[int],
    problems: dict[int, _Reader],
    graph: Graph,
) -> RemovalOrder:
    eliminations: dict[int, _Elimination] = {}
    for n in readers:
        columns: dict[int, list[tuple[int, Any]]] = defaultdict(list)
        reader = problems[n]
        for unit in units:
            for node, channel in channels.units[int(unit)].read:
                if node == n:
                    columns[int(unit)].append(reader.columns(channel, reader.kernel))
        if columns:
            eliminations[n] = _Elimination(reader, dict(columns))
    left, gone, errors = [int(u) for u in units], [], [0.0]
    half: dict[str, Any] = {}
    while left:
        added = np.zeros(len(left))
        for elimination in eliminations.values():
            added += elimination.errors(left)
        count = max(1, len(left) // _AT_ONCE)
        for i in np.argsort(added, kind="stable")[:count]:
            gone.append(left[i])
            errors.append(errors[-1] + float(added[i]))
            for elimination in eliminations.values():
                elimination.remove(left[i])
            if len(gone) == len(units) // 2:
                half = _repaired(graph, eliminations)
        taken = set(gone)
        left = [u for u in left if u not in taken]
    return RemovalOrder(np.array(gone, np.int64), np.array(errors), half)


def _repaired(graph: Graph, eliminations: dict[int, _Elimination]) -> dict[str, Any]:
    out = {}
    for n, elimination in eliminations.items():
        node = graph.nodes[n]
        w = graph.edges[node.inputs[1]]
        if node.op == "conv_transpose":
            swapped = (w.shape[1], w.shape[0], *w.shape[2:])
            value = np.moveaxis(elimination.rows.reshape(swapped), 1, 0)
        else:
            value = elimination.rows.reshape(w.shape)
        bias = None
        if len(node.inputs) > 2 and node.inputs[2] >= 0 and node.op != "conv_transpose":
            old = np.asarray(graph.edges[node.inputs[2]].constant, np.float64)
            bias = np.float32(old + elimination.bias_shift())
        out[node.name] = (np.ascontiguousarray(value, np.float32), bias)
    return out


__all__ = [
    "LAYERS",
    "RemovalOrder",
    "orders_by_error",
    "orders_by_norm",
    "orders_by_score",
    "unit_classes",
    "weigh_by_outputs",
]
