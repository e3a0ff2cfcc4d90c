"""Channels that go until int8 keeps a budget of time or memory: measured here, else modelled."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...base.error import UnsupportedError
from ...base.threads import get_threads
from ...exporters.c import footprint
from ...graph import Graph
from ...graph.channels import remove_channels
from ...report.inputs import random_inputs
from ...report.layers import activation_peak_bytes, layer_costs
from ...runtime import Session
from ...targets.cost_model import model_energy, model_latency
from ...targets.target import Target
from ..calibrate import network_batches
from ..channel_budget import RemovalPlan
from ..channel_criteria import find_units, rank_units
from ..float_twin import float_twin
from ..post_training import quantize_post_training
from ..recipe import Recipe
from ..repair import most_samples
from .costs import LatencyMeter, layer_seconds
from .task import SearchTask

_SAMPLES = 512
_FEW = 32
# Vector kernels like whole vectors.
_MULTIPLES = (16, 8, 4, 2, 1)
# Of a latency: the next session may lie elsewhere in memory, which costs some percent.
_AIM = 0.99
# Without what does not change how long int8 takes.
_QUICK = Recipe(equalize=False, correct_bias=False, samples=_FEW)


class Shrinker:
    """Networks with fewer channels whose int8 form keeps limits.

    Parameters
    ----------
    task : SearchTask
    graph : Graph
        Whose channels go.
    batches : sequence of lists of ndarray
        Unlabeled samples.
    meter : LatencyMeter

    Raises
    ------
    ValueError
        If no channel can go.
    """

    def __init__(self, task: SearchTask, graph: Graph, batches: Any, meter: LatencyMeter) -> None:
        self._task, self._meter = task, meter
        self._graph = float_twin(graph)
        self._channels = find_units(self._graph, ())
        self._batches = batches
        self._seconds = layer_seconds(quick_int8(self._graph, batches), task.target)
        self._orders: list[Any] | None = None

    def _rank(self, criterion: str) -> list[Any]:
        return rank_units(
            self._graph,
            self._channels,
            criterion,
            scores=None,
            batches=self._batches,
            threads=get_threads(),
            progress=self._task.report,
        )

    def keep(self, multiple: int, tighter: float = 1.0) -> NDArray[np.bool_] | None:
        """Choose the units that stay.

        Parameters
        ----------
        multiple : int
            Of which widths are kept.
        tighter : float, default 1
            Share of the limits to aim for.

        Returns
        -------
        ndarray of bool or None
            None where not even the fewest channels keep the limits.
        """
        if self._orders is None:
            self._orders = self._rank("activation")
        plan = RemovalPlan(self._graph, self._channels, self._orders, multiple, self._seconds)

        def meets(mask: NDArray[np.bool_]) -> bool:
            return self.excess(mask) <= tighter

        return plan.fit(meets) if meets(plan.keep(range(len(plan)))) else None

    def fewest(self) -> NDArray[np.bool_]:
        """Return the units of the network with the fewest channels, by their weights alone."""
        plan = RemovalPlan(self._graph, self._channels, self._rank("l1"), 1, self._seconds)
        return plan.keep(range(len(plan)))

    def excess(self, mask: NDArray[np.bool_]) -> float:
        """Return the largest share of its limit that a figure of the int8 network takes."""
        native: Any = remove_channels(self._graph, self._channels, mask)
        return excess_of(quick_int8(native, self._batches), self._task, self._meter)

    def multiples(self) -> tuple[int, ...]:
        """Return multiples of which widths may be kept and that leave a choice, largest first."""
        if self._orders is None:
            self._orders = self._rank("activation")
        most = max(len(order.units) for order in self._orders)
        return tuple(m for m in _MULTIPLES if m < most)


def sample_batches(task: SearchTask) -> list[list[NDArray[Any]]]:
    """Return the samples by which channels and blocks are chosen.

    Parameters
    ----------
    task : SearchTask

    Returns
    -------
    list of lists of ndarray
    """
    limit = min(_SAMPLES, most_samples(task.graph))
    batches = network_batches(
        task.graph, task.calibration, task.preprocess, limit=limit, seed=task.seed
    )
    return list(batches)


def quick_int8(graph: Any, batches: Any) -> Graph:
    """Return the int8 form of a network, without what does not change how long it takes.

    Parameters
    ----------
    graph : Graph
        Float.
    batches : sequence of lists of ndarray
        The first samples give the ranges.

    Returns
    -------
    Graph
    """
    few = [x[:_FEW] for x in batches[0]]
    names = [edge.name for edge in graph.inputs]
    data = dict(zip(names, few, strict=True)) if len(names) > 1 else few[0]
    return quantize_post_training(Graph(graph), data, _QUICK).graph


def excess_of(graph: Graph, task: SearchTask, meter: LatencyMeter) -> float:
    """Return the largest share of its limit that a figure of an int8 network takes.

    Parameters
    ----------
    graph : Graph
    task : SearchTask
    meter : LatencyMeter

    Returns
    -------
    float
    """
    figures, limits = figures_of(graph, task, meter), task.limits.to_dict()
    shares = (figures[line] / limits[line] if limits[line] else math.inf for line in figures)
    return max(shares, default=0.0)


def figures_of(graph: Graph, task: SearchTask, meter: LatencyMeter) -> dict[str, float]:
    """Return the figures of an int8 network that limits ask for, but its file's size.

    Parameters
    ----------
    graph : Graph
    task : SearchTask
    meter : LatencyMeter

    Returns
    -------
    dict of str to float
        Latency and energy divided by what is aimed for.
    """
    wanted, target = task.limits.to_dict(), task.target
    found: dict[str, float] = {}
    here = target is None or target.runs_here()
    if "latency" in wanted or "energy" in wanted:
        seconds = meter.seconds(graph) / _AIM if here else _modelled(graph, target)
        found["latency"] = seconds
        if target is not None:
            found["energy"] = model_energy(target, seconds).value
    if "ram" in wanted or "flash" in wanted:
        if here:
            session = Session(graph)
            session(*random_inputs(graph, 1))
            found["ram"] = session.peak_memory_bytes
        else:
            found |= _memory(graph, target)
    return {line: value for line, value in found.items() if line in wanted}


def _modelled(graph: Graph, target: Any) -> float:
    return float(model_latency(target, layer_costs(graph)).value)


def _memory(graph: Graph, target: Target | None) -> dict[str, float]:
    assert target is not None
    ram = activation_peak_bytes(graph)
    if target.weights_in_ram:
        ram += int(graph.constant_bytes)
    if target.is_microcontroller:
        try:
            found = footprint(graph, target)
            return {"ram": found.ram_bytes, "flash": found.flash_bytes}
        except (UnsupportedError, ValueError):
            return {"ram": ram}
    return {"ram": ram}


__all__ = ["Shrinker", "excess_of", "figures_of", "quick_int8", "sample_batches"]
