"""What a network costs on a target: measured where this machine can, else modelled."""

from __future__ import annotations

from typing import Any

from ..targets.budget import Budget
from ..targets.cost_model import model_energy, model_latency
from ..targets.target import Target
from .layers import activation_peak_bytes, layer_costs
from .measure import Latency
from .model import graph_of, precision_of
from .variant import TargetFigures


def target_figures(
    model: Any,
    target: Target,
    budget: Budget | None,
    *,
    size_bytes: int,
    latency: Latency,
    peak_memory_bytes: int,
    accuracy_drop: float | None = None,
    threads: int = 1,
) -> TargetFigures:
    """Return what a network costs on a target, and where it misses its budget.

    Parameters
    ----------
    model : Graph or CompressedModel
    target : Target
    budget : Budget or None
        Goes before the target's own constraints, line by line; None checks nothing at all.
    size_bytes : int
        Of the saved file.
    latency : Latency
        Measured here; counts where this machine has the target's instruction set.
    peak_memory_bytes : int
        Of a session here at batch 1; counts as above.
    accuracy_drop : float or None
        Share; None where it was not measured.
    threads : int
        Cores in use on the target.

    Returns
    -------
    TargetFigures

    Raises
    ------
    ValueError
        If the budget asks for an accuracy drop and there is none.
    """
    graph = graph_of(model)
    source = "measured" if target.runs_here() else "modelled"
    seconds, ram = latency.median_s, peak_memory_bytes
    formula, sources = "", []
    if source == "modelled":
        layers = layer_costs(graph, precision=precision_of(model))
        estimate = model_latency(target, layers, threads=threads)
        seconds, formula = estimate.value, estimate.formula
        sources.append(estimate.source)
        ram = activation_peak_bytes(graph)
        ram += int(graph.constant_bytes) if target.weights_in_ram else 0
    energy = model_energy(target, seconds, threads=threads)
    limits = Budget() if budget is None else target.constraints.merge(budget)
    figures = {
        "size": size_bytes,
        "ram": ram,
        "latency": seconds,
        "energy": energy.value,
        "accuracy_drop": accuracy_drop,
    }
    return TargetFigures(
        target=target.name,
        latency_s=seconds,
        energy_j=energy.value,
        ram_bytes=ram,
        latency_source=source,
        ram_source=source,
        latency_formula=formula,
        energy_formula=energy.formula,
        sources=(*sources, energy.source),
        budget=limits,
        misses=limits.misses(figures, {"ram": source, "latency": source, "energy": "modelled"}),
    )


__all__ = ["target_figures"]
