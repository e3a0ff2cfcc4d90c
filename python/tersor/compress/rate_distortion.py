"""How many bits each layer gets: one price of a bit for the whole network."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..graph import Graph
from ..reconstruction import Moments, normal_equations
from ..runtime import Session
from .agreement import kl_divergence
from .calibrate import Progress
from .level_grid import LevelCodes, LevelGrid, round_to_levels
from .one_layer import layer_session, observe_layer, own_parameters
from .walk import Walk
from .weight_matrix import from_rows, to_rows

# Share of the output's variance that the noise of a layer has while its importance is measured.
_PROBE = 0.004
_PROBE_SAMPLES = 256
# Prices tried until the bits come out, and how near is near enough.
_MOST_TRIALS, _NEAR = 6, 0.004


@dataclass(frozen=True)
class RatedLayer:
    """A layer on its own, as the float network sees it.

    Attributes
    ----------
    target : ndarray, shape (groups, outputs, columns)
    hessian : ndarray, shape (groups, columns, columns)
    power : float
        Variance of the output.
    kept : ndarray of bool, the shape of `target`
        Weights that are not 0.
    importance : float
        What noise of the layer's output counts in the network's, per share of its variance.
    """

    target: NDArray[np.float64]
    hessian: NDArray[np.float64]
    power: float
    kept: NDArray[np.bool_]
    importance: float = 1.0


class RateAllocation:
    """Prices of bits for the layers of a network, and what they come to.

    The sum over layers of importance x noise of its output, as a share of its variance, plus price
    x bits is made small: a layer's bit then costs ``price / importance``. The importance is the
    root of (divergence of the network's output, per share of noise), measured by rounding the
    layer alone; the root stands between equal shares and the measurement, which small noise of one
    layer alone exaggerates.

    Parameters
    ----------
    graph : Graph
        Float, canonical.
    names : sequence of str
        Of its layers.
    batches : sequence of lists of ndarray
        Unlabeled samples, one array per input.
    threads : int, default 0
        0 follows :func:`tersor.set_threads`. Results do not depend on it.
    progress : callable, optional
        Called as ``progress("allocate", layers done, layers)``.

    Attributes
    ----------
    layers : dict of str to RatedLayer
    """

    def __init__(
        self,
        graph: Graph,
        names: Sequence[str],
        batches: Sequence[Sequence[NDArray[Any]]],
        threads: int = 0,
        progress: Progress | None = None,
    ) -> None:
        self._threads = threads
        self.layers: dict[str, RatedLayer] = {}
        walk = Walk(graph, batches, threads)
        wanted = [i for i, node in enumerate(graph.nodes) if node.name in set(names)]
        for count, index in enumerate(wanted):
            if progress is not None:
                progress("allocate", count, len(wanted))
            walk.advance(index)
            self.layers[graph.nodes[index].name] = rated_layer(graph, index, walk, threads)
        self._weigh(graph, batches)

    @property
    def weights(self) -> int:
        """Of all layers."""
        return sum(layer.target.size for layer in self.layers.values())

    def grids(self, price: float) -> dict[str, LevelGrid]:
        """Return what the layers may become at a price.

        Parameters
        ----------
        price : float
            Of one bit.

        Returns
        -------
        dict of str to LevelGrid
        """
        return {name: LevelGrid(0, price / layer.importance) for name, layer in self.layers.items()}

    def bits(self, price: float) -> float:
        """Return about how many bits all layers take at a price.

        Parameters
        ----------
        price : float

        Returns
        -------
        float
        """
        grids = self.grids(price)
        return sum(self._round(name, grid).bits for name, grid in grids.items())

    def price(self, bits: float) -> float:
        """Return the price at which the layers take about so many bits.

        Parameters
        ----------
        bits : float
            Of all layers.

        Returns
        -------
        float
        """
        # An error of 6 dB a bit; where it starts hardly matters.
        price = _PROBE * 2 * math.log(2) / self.weights * 4 ** (3 - bits / self.weights)
        known: list[tuple[float, float]] = []
        for _ in range(_MOST_TRIALS):
            got = max(1.0, self.bits(price))
            known.append((math.log(got), math.log(price)))
            if abs(got / bits - 1) < _NEAR:
                break
            price = math.exp(_next_price(known, math.log(bits)))
        return math.exp(min(known, key=lambda p: abs(p[0] - math.log(bits)))[1])

    def _round(self, name: str, grid: LevelGrid) -> LevelCodes:
        layer = self.layers[name]
        return round_to_levels(
            layer.target,
            layer.hessian,
            grid,
            layer.power,
            kept=layer.kept,
            quick=True,
            threads=self._threads,
        )

    def _weigh(self, graph: Graph, batches: Sequence[Sequence[NDArray[Any]]]) -> None:
        head = [np.concatenate(parts)[:_PROBE_SAMPLES] for parts in zip(*batches, strict=True)]
        session = Session(graph, self._threads)
        wanted = _first(session(*head))
        nodes = {node.name: node for node in graph.nodes}
        for name, layer in self.layers.items():
            price = _PROBE * 2 * math.log(2) / layer.target.size
            codes = self._round(name, LevelGrid(0, price))
            weight = graph.edges[nodes[name].inputs[1]]
            values = from_rows(nodes[name], codes.values, weight.constant.shape)
            session.update_weights(weight.name, np.ascontiguousarray(values, np.float32))
            effect = output_divergence(wanted, _first(session(*head)))
            session.update_weights(weight.name, weight.constant)
            noise = max(codes.error / layer.power, 1e-12)
            self.layers[name] = replace(layer, importance=math.sqrt(max(effect, 1e-9) / noise))


def corrected_price(known: Mapping[float, float], bits: float) -> float:
    """Return the price to try next, from what prices came to.

    Parameters
    ----------
    known : mapping of float to float
        Bits by price, at least one.
    bits : float
        Wanted.

    Returns
    -------
    float
    """
    points = [(math.log(got), math.log(price)) for price, got in known.items()]
    return math.exp(_next_price(points, math.log(bits)))


def _next_price(points: list[tuple[float, float]], wanted: float) -> float:
    """Secant in logarithms, (bits, price) each; the slope is that of rates between 1 and 8 bits."""
    near = sorted(points, key=lambda p: abs(p[0] - wanted))[:2]
    slope = -3.0
    if len(near) == 2 and near[0][0] != near[1][0]:
        slope = (near[1][1] - near[0][1]) / (near[1][0] - near[0][0])
    return near[0][1] + min(-1.0, max(-9.0, slope)) * (wanted - near[0][0])


def rated_layer(graph: Graph, index: int, walk: Walk, threads: int) -> RatedLayer:
    """Return what a layer sees and gives, of importance 1.

    Parameters
    ----------
    graph : Graph
        Float, canonical.
    index : int
        Of the layer's node.
    walk : Walk
        In front of it.
    threads : int

    Returns
    -------
    RatedLayer
    """
    node = graph.nodes[index]
    weight, bias = own_parameters(graph, node)
    w = np.asarray(weight.constant)
    rows = to_rows(node, w)
    groups, outputs, columns = rows.shape
    # Which inputs meet which weight of a transposed convolution, its output tells.
    layer = layer_session(graph, node, threads) if node.op == "conv_transpose" else None
    moments = Moments(columns, groups=groups, outputs=outputs if layer else 0, threads=threads)
    for known in walk.values:
        x = known[graph.edges[node.inputs[0]].name]
        observe_layer(moments, node, w, x, None if layer is None else layer(x))
    problems = [
        normal_equations(moments, rows[g], group=g, centred=bias is not None) for g in range(groups)
    ]
    hessian = np.stack([p.hessian for p in problems])
    target = rows.astype(np.float64)
    power = float(np.einsum("goi,gij,goj->", target, hessian, target, optimize=True))
    # Six digits: the last ones of a product may differ between machines.
    return RatedLayer(target, hessian, max(float(f"{power:.6g}"), 1e-30), rows != 0)


def output_divergence(wanted: NDArray[Any], got: NDArray[Any]) -> float:
    """Return how far outputs are from others.

    Parameters
    ----------
    wanted, got : ndarray

    Returns
    -------
    float
        Divergence of classes' probabilities in nats; of other outputs half of the noise, as a share
        of the variance.
    """
    if wanted.ndim == 2 and wanted.shape[1] > 1:
        return kl_divergence(wanted, got)
    exact = np.asarray(wanted, np.float64)
    return float(0.5 * np.square(exact - got).mean() / max(float(exact.var()), 1e-30))


def _first(output: Any) -> NDArray[Any]:
    return np.asarray(output[0] if isinstance(output, tuple) else output)


__all__ = [
    "RateAllocation",
    "RatedLayer",
    "corrected_price",
    "output_divergence",
    "rated_layer",
]
