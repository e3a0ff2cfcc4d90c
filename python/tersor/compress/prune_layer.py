"""One layer of a network pruned so that what follows it changes least."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..graph import Graph
from ..pruning.network_masks import structure_columns
from ..reconstruction import Moments, normal_equations, prune_matrix
from ..runtime import Session
from .one_layer import layer_session, observe_layer, own_parameters
from .walk import Walk
from .weight_matrix import damped_inverse

# Share of the Hessian's mean diagonal that keeps weights where they were. With 1,024 samples,
# ResNet-20 loses more with 1e-3 at 50 and 90 % sparsity, and with 1e-2 at 75 %.
_RIDGE = 3e-3

_Batch = tuple[NDArray[Any], NDArray[Any], NDArray[Any] | float]


@dataclass(frozen=True)
class PrunedLayer:
    """Weights of one layer after pruning.

    Attributes
    ----------
    mask : ndarray of bool
        Of the weight's shape, True where kept.
    values : ndarray of float32
        Exactly 0 where dropped.
    bias : ndarray of float32, or None
        None where the layer has none of its own.
    error : float
        Mean squared error of what the layer's readers see, as a share of its variance.
    """

    mask: NDArray[np.bool_]
    values: NDArray[np.float32]
    bias: NDArray[np.float32] | None
    error: float


@dataclass(frozen=True)
class Cut:
    """What one layer is asked to lose: as the arguments of `prune_matrix`.

    `shares` are the sparsities of the groups of a grouped convolution where they differ.
    """

    sparsity: float = 0.5
    n_m: tuple[int, int] | None = None
    block: tuple[int, int] = (1, 1)
    shares: tuple[float, ...] = ()

    @property
    def keeps_all(self) -> bool:
        """Whether nothing is dropped."""
        return self.sparsity == 0 and self.n_m is None and not any(self.shares)

    def columns(self, shape: Sequence[int]) -> NDArray[np.int64]:
        """Return the order of a weight's columns in which blocks and groups lie."""
        if self.n_m is None and self.block == (1, 1):
            return np.arange(int(np.prod(shape[1:])))
        return structure_columns(shape)


class LayerSamples:
    """What a layer sees in a network whose earlier layers changed, and what it should give.

    A layer in front of a residual sum can make good what the other side of the sum did, and where
    a ReLU follows, negative values need not be met.

    Parameters
    ----------
    graph : Graph
        The float network.
    index : int
        Of the layer's node.
    exact, changed : Walk
        In front of the layer.
    threads : int
    """

    def __init__(self, graph: Graph, index: int, exact: Walk, changed: Walk, threads: int) -> None:
        self.node = graph.nodes[index]
        self.weight, self.bias = own_parameters(graph, self.node)
        self._graph, self._exact, self._changed = graph, exact, changed
        self._batches: list[_Batch] | None = None  # looked at several times
        self._input = graph.edges[self.node.inputs[0]].name
        self._layer = layer_session(graph, self.node, threads)
        self._beside, self.relu = what_follows(graph, index)

    def layer_of(
        self, weight: NDArray[np.float32], bias: NDArray[np.float32], threads: int
    ) -> Session:
        """Return the layer, without its activation, with other weights."""
        return layer_session(self._graph, self.node, threads, weight=weight, bias=bias)

    def __iter__(self) -> Iterator[_Batch]:
        """Inputs, wanted sums, and the other side of the sum, batch by batch."""
        if self._batches is None:
            self._batches = list(self._compute())
        return iter(self._batches)

    def _compute(self) -> Iterator[_Batch]:
        for right, got in zip(self._exact.values, self._changed.values, strict=True):
            beside: NDArray[Any] | float = 0.0
            if self._beside is not None:
                beside = value_of(self._changed, got, self._beside)
            yield got[self._input], self.wanted(right), beside

    def wanted(self, right: Any) -> NDArray[Any]:
        """Return what the float network's layer and the other side of its sum give together.

        Parameters
        ----------
        right : dict of str to ndarray
            Values of `exact`.

        Returns
        -------
        ndarray
        """
        wanted = self._layer(right[self._input])
        if self._beside is not None:
            wanted = wanted + value_of(self._exact, right, self._beside)
        return np.asarray(wanted)


def prune_layer(samples: LayerSamples, cut: Cut, *, passes: int, threads: int) -> PrunedLayer:
    """Prune one layer.

    Parameters
    ----------
    samples : LayerSamples
    cut : Cut
    passes : int
        Refits after the first that take into account what the ReLU cuts off.
    threads : int

    Returns
    -------
    PrunedLayer
    """
    node = samples.node
    w = np.asarray(samples.weight.constant)
    groups = int(node.attributes.get("groups", 1))
    rows = w.reshape(groups, len(w) // groups, -1)
    moments = Moments(rows.shape[2], groups=groups, outputs=rows.shape[1], threads=threads)
    for x, wanted, beside in samples:
        observe_layer(moments, node, w, x, wanted - beside)
    mask, values = np.empty(rows.shape, np.bool_), np.empty_like(rows)
    shift = np.zeros(rows.shape[:2], np.float32)
    error = 0.0
    hessians = []
    for g in range(groups):
        problem = normal_equations(
            moments, rows[g], group=g, centred=samples.bias is not None, ridge=_RIDGE
        )
        hessians.append(problem.hessian)
        if cut.keeps_all:  # what solves the normal equations is the answer
            mask[g], values[g] = True, np.float32(problem.target)
            shift[g] = problem.best_bias(values[g])
            continue
        order = cut.columns(w.shape)
        done = prune_matrix(
            problem.target[:, order],
            problem.hessian[np.ix_(order, order)],
            cut.shares[g] if cut.shares else cut.sparsity,
            n_m=cut.n_m,
            block=cut.block,
            damping=_RIDGE,
            threads=threads,
        )
        mask[g][:, order], values[g][:, order] = done.mask, done.values
        shift[g] = problem.best_bias(values[g])
        error += done.error
    share = error / max(float(moments.target_variance.sum()), 1e-30)
    if samples.relu and passes and groups == 1 and samples.bias is not None:
        fit = _ReluFit(samples, moments, hessians[0], mask[0], threads)
        values[0], shift[0], share = fit.run(values[0], shift[0], passes)
    return PrunedLayer(
        mask.reshape(w.shape),
        values.reshape(w.shape),
        None if samples.bias is None else shift.reshape(-1),
        share,
    )


def rescale_layer(
    samples: LayerSamples, layer: PrunedLayer, *, always: bool, threads: int
) -> tuple[PrunedLayer, int]:
    """Give the channels of a layer's sums the mean and the deviation that they should have.

    That is what re-estimating the statistics of a BatchNorm does, whose scale and shift are part of
    the layer.

    Parameters
    ----------
    samples : LayerSamples
    layer : PrunedLayer
    always : bool
        Every channel, even where the squared error rises on the samples.
    threads : int

    Returns
    -------
    layer : PrunedLayer
    channels : int
        That changed.
    """
    if samples.bias is None:
        return layer, 0
    bias = np.asarray(samples.bias.constant) if layer.bias is None else layer.bias
    moved = samples.layer_of(layer.values, bias, threads)
    sums, count = np.zeros((4, len(bias))), 0
    for x, wanted, beside in samples:
        t, y = _as_rows(wanted - beside), _as_rows(moved(x))
        sums += [v.sum(axis=0, dtype=np.float64) for v in (t, t * t, y, y * y)]
        count += len(t)
    t, tt, y, yy = sums / count
    t_variance, y_variance = np.maximum(tt - t * t, 0), np.maximum(yy - y * y, 0)
    # At most tenfold: a channel that is nearly constant now would become noise.
    scale = np.sqrt(t_variance / np.maximum(y_variance, 1e-2 * t_variance + 1e-30))
    shift = t - scale * y
    before, after = _errors_after_relu(samples, moved, scale, shift)
    chosen = np.isfinite(after) & (y_variance > 0) & (always | (after < before))
    scale, shift = np.where(chosen, scale, 1), np.where(chosen, shift, 0)
    rows = scale.reshape(-1, *[1] * (layer.values.ndim - 1))
    power = float(np.square(t).sum() + t_variance.sum())
    return replace(
        layer,
        values=np.float32(layer.values * rows),
        bias=np.float32(bias * scale + shift),
        error=layer.error
        if not chosen.any()
        else float(np.where(chosen, after, before).sum()) / max(power, 1e-30),
    ), int(chosen.sum())


def _errors_after_relu(
    samples: LayerSamples, moved: Session, scale: NDArray[np.float64], shift: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Squared error of every channel without and with the change."""
    before, after, count = np.zeros(len(scale)), np.zeros(len(scale)), 0
    a, b = np.float32(scale), np.float32(shift)
    for x, wanted, beside in samples:
        t, y = _as_rows(wanted), _as_rows(moved(x))
        rest = _as_rows(np.broadcast_to(np.asarray(beside, np.float32), wanted.shape))
        for sums, values in ((before, y + rest), (after, y * a + b + rest)):
            lost = np.maximum(values, 0) - np.maximum(t, 0) if samples.relu else values - t
            sums += np.square(lost).sum(axis=0, dtype=np.float64)
        count += len(t)
    return before / count, after / count


class _ReluFit:
    """Least squares of relu(y) by majorization: a sum that is wanted negative, and is, stays.

    Each pass replaces the target of such a sum by what the layer gives, of one that should be
    negative and is not by 0, and refits; the squared error after the ReLU never rises but for the
    ridge, and the best pass is kept.
    """

    def __init__(
        self,
        samples: LayerSamples,
        moments: Moments,
        hessian: NDArray[np.float64],
        mask: NDArray[np.bool_],
        threads: int,
    ) -> None:
        self.samples, self.hessian, self.mask, self.threads = samples, hessian, mask, threads
        self.mean = moments.input_mean[0]
        self.inverse = damped_inverse(hessian, _RIDGE)

    def run(
        self, values: NDArray[np.float32], shift: NDArray[np.float32], passes: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], float]:
        best = (np.inf, values, shift)
        for number in range(passes + 1):
            cross, target_mean, error = self.look(values, shift)
            if error < best[0]:
                best = (error, values, shift)
            if number == passes:
                break
            target = values + (cross - values @ self.hessian) @ self.inverse
            values = self.kept(target)
            shift = np.float32(target_mean - values @ self.mean)
        return best[1], best[2], best[0]

    def kept(self, target: NDArray[np.float64]) -> NDArray[np.float32]:
        """Weights that are kept, refitted."""
        if self.mask.all():
            return np.asarray(target, np.float32)
        done = prune_matrix(
            target, self.hessian, mask=self.mask, damping=_RIDGE, threads=self.threads
        )
        return done.values

    def look(
        self, values: NDArray[np.float32], shift: NDArray[np.float32]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
        """Covariance of targets and inputs, mean of targets, and error after the ReLU."""
        cross = np.zeros(values.shape)
        total = np.zeros(len(values))
        lost = power = squares = 0.0
        count = 0
        for x, wanted, beside in self.samples:
            patches = _patches(self.samples.node, values, self.samples.weight.shape, x, wanted)
            out = _as_rows(wanted)
            rest = _as_rows(np.broadcast_to(np.asarray(beside, np.float32), wanted.shape))
            y = patches @ values.T + shift + rest
            after = np.maximum(out, 0)
            lost += float(np.square(after - np.maximum(y, 0)).sum())
            power, squares = power + float(after.sum()), squares + float(np.square(after).sum())
            target = np.where(out > 0, out, np.minimum(y, 0)) - rest
            cross += target.T @ patches
            total += target.sum(axis=0, dtype=np.float64)
            count += len(target)
        mean = total / count
        entries = count * len(values)
        variance = squares / entries - (power / entries) ** 2
        covariance = cross / count - np.outer(mean, self.mean)
        return covariance, mean, lost / entries / max(variance, 1e-30)


def _as_rows(y: NDArray[Any]) -> NDArray[Any]:
    """One row per output position."""
    if y.ndim == 2:
        return y
    return np.ascontiguousarray(np.moveaxis(y, 1, -1)).reshape(-1, y.shape[1])


def _patches(
    node: Any, values: NDArray[Any], shape: Any, x: NDArray[Any], wanted: NDArray[Any]
) -> NDArray[np.float32]:
    """What each output position reads, one row each."""
    if node.op == "dense":
        return np.asarray(x.reshape(-1, x.shape[-1]))
    rank = len(shape) - 2
    attributes = node.attributes
    return _core.reconstruction.gather_patches(
        np.ascontiguousarray(x, np.float32),
        list(wanted.shape[2:]),
        list(shape[2:]),
        list(attributes.get("strides") or [1] * rank),
        list(attributes.get("dilations") or [1] * rank),
        list(attributes.get("pads") or [0] * (2 * rank))[:rank],
        False,
    )


def value_of(walk: Walk, known: Any, name: str) -> NDArray[Any]:
    """Return the value of an edge, computed where it stands behind the layer.

    Parameters
    ----------
    walk : Walk
    known : dict of str to ndarray
        What is known in front of the layer; the value is added.
    name : str

    Returns
    -------
    ndarray
    """
    if name not in known:
        known[name] = walk.session.run_edges(known, [name])[name]
    return np.asarray(known[name])


def what_follows(graph: Graph, index: int) -> tuple[str | None, bool]:
    """Return the other side of the residual sum that alone reads a layer, and if a ReLU follows.

    Parameters
    ----------
    graph : Graph
    index : int
        Of the layer's node.

    Returns
    -------
    beside : str or None
        An edge.
    relu : bool
    """
    node, edges = graph.nodes[index], graph.edges
    out = node.outputs[0]
    activation = node.attributes.get("activation", "none")
    if activation != "none":
        return None, activation == "relu"
    readers = [n for n in graph.nodes if out in n.inputs]
    if len(readers) != 1 or out in graph.output_ids:
        return None, False
    reader = readers[0]
    if reader.op == "relu":
        return None, True
    others = [i for i in reader.inputs if i != out]
    if reader.op != "add" or len(others) != 1 or edges[others[0]].is_constant:
        return None, False
    if edges[others[0]].shape != edges[out].shape or _depends(graph, others[0], out):
        return None, False
    return edges[others[0]].name, reader.attributes.get("activation", "none") == "relu"


def _depends(graph: Graph, edge: int, on: int) -> bool:
    """Whether an edge is computed from another."""
    found = {on}
    for node in graph.nodes:
        if found.intersection(node.inputs):
            found.update(node.outputs)
    return edge in found


__all__ = [
    "Cut",
    "LayerSamples",
    "PrunedLayer",
    "prune_layer",
    "rescale_layer",
    "value_of",
    "what_follows",
]
