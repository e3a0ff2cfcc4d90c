"""Time of layers and of networks: measured here, else modelled."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ...graph import Graph
from ...report.inputs import random_inputs
from ...report.layers import layer_costs
from ...runtime import Session
from ...targets.cost_model import model_latency
from ...targets.target import Target
from ..channels import least_seconds

_REPEATS = 30
_SESSIONS = 3


def layer_seconds(graph: Graph, target: Target | None) -> dict[str, float]:
    """Return the time of every node for one sample.

    Parameters
    ----------
    graph : Graph
        As it is executed.
    target : Target or None
        This machine where None, or where it has the target's instruction set.

    Returns
    -------
    dict of str to float
        Of a fused group all at its first node.
    """
    if target is not None and not target.runs_here():
        costs: Any = layer_costs(graph)
        return {cost.name: model_latency(target, [cost]).value for cost in costs}
    session = Session(graph)
    profile = session.profile(*random_inputs(graph, 1), repeats=_REPEATS)
    seconds: dict[str, float] = {}
    for step in profile:
        first, *others = step.node.split(" + ")
        seconds[first] = seconds.get(first, 0.0) + 1e-6 * step.time_us
        seconds |= dict.fromkeys(others, 0.0)
    return seconds


class LatencyMeter:
    """Measures networks in turn with one that does not change: a machine is not always as fast.

    Parameters
    ----------
    reference : Graph
    """

    def __init__(self, reference: Graph) -> None:
        self._call = _call(reference)
        self._least = math.inf

    def seconds(self, graph: Graph) -> float:
        """Return the seconds of one sample.

        Parameters
        ----------
        graph : Graph

        Returns
        -------
        float
            Of the fastest of three sessions, which lie elsewhere in memory, the least of many
            calls, times what the reference took at its best as a share of what it takes now.
        """
        *found, now = least_seconds([*(_call(graph) for _ in range(_SESSIONS)), self._call])
        self._least = min(self._least, now)
        return min(found) * self._least / now


def _call(graph: Graph) -> Callable[[], Any]:
    session, x = Session(graph), random_inputs(graph, 1)
    return lambda: session(*x)


__all__ = ["LatencyMeter", "layer_seconds"]
