"""Time of every layer with float and with int8 activations: measured here, else modelled."""

from __future__ import annotations

from typing import Any

from ...graph import Graph
from ...report.inputs import random_inputs
from ...report.layers import layer_costs
from ...runtime import Session
from ...targets.cost_model import model_latency
from ...targets.target import Target

_REPEATS = 30


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


__all__ = ["layer_seconds"]
