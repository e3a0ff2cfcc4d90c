"""Whether a compressed model keeps its budget and the constraints of its target."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..report.measure import measure_latency
from ..report.on_target import target_figures
from ..runtime import Session
from ..targets.budget import Budget
from ..targets.target import Target
from .model import CompressedModel

# Of a latency that is too long.
_MORE_MEASUREMENTS = 3
_MEASURED = ("ram", "flash", "latency", "energy")


def check_askable(target: Target | None, budget: Budget, *, evaluated: bool) -> None:
    """Refuse a line that will have no figure, before anything long begins.

    Parameters
    ----------
    target : Target or None
    budget : Budget
        Goes before the target's constraints.
    evaluated : bool
        Whether accuracy is measured.

    Raises
    ------
    ValueError
        If the budget asks for an accuracy drop and nothing is evaluated, or for energy without a
        target.
    """
    limits = budget if target is None else target.constraints.merge(budget)
    if limits.accuracy_drop is not None and not evaluated:
        raise ValueError(
            "compress: evaluate must be given where the budget asks for accuracy_drop (labeled "
            "samples or a function), got None"
        )
    if limits.energy is not None and target is None:
        raise ValueError(
            "compress: target must be given where the budget asks for energy, got None"
        )


def check_limits(
    model: CompressedModel, target: Target | None, budget: Budget, figures: Mapping[str, float]
) -> None:
    """Raise BudgetError unless every line of the budget and of the target's constraints holds.

    Parameters
    ----------
    model : CompressedModel
    target : Target or None
        Latency and memory are measured here where this machine has its instruction set, else
        modelled.
    budget : Budget
        Goes before the target's constraints.
    figures : mapping
        ``accuracy_before`` and ``accuracy`` where they were measured.

    Raises
    ------
    BudgetError
        If a line does not hold; the message says by how much.
    """
    limits = budget if target is None else target.constraints.merge(budget)
    known, sources = known_figures(model, target, limits)
    known["accuracy_drop"] = None
    if "accuracy" in figures:
        known["accuracy_drop"] = figures["accuracy_before"] - figures["accuracy"]
    elif "accuracy_drop" in figures:
        known["accuracy_drop"] = figures["accuracy_drop"]
        sources["accuracy_drop"] = "estimated"
    if target is not None:
        listed = [vars(miss) for miss in limits.misses(known, sources)]
        model.provenance["on_target"] |= {"budget": limits.to_dict(), "misses": listed}
    limits.check(known, sources)


def known_figures(
    model: CompressedModel, target: Target | None, limits: Budget
) -> tuple[dict[str, float | None], dict[str, str]]:
    """Return what is known of a model without labels: its file, and what the limits ask for.

    Parameters
    ----------
    model : CompressedModel
        Notes what it costs on the target.
    target : Target or None
    limits : Budget
        What must hold.

    Returns
    -------
    figures : dict of str to float or None
        By line.
    sources : dict of str to str
        "measured" or "modelled".
    """
    known: dict[str, float | None] = {"size": model.nbytes}
    if target is None and not any(line in limits.to_dict() for line in _MEASURED):
        return known, {}
    session = Session(model, precision=model.precision)
    batch = {
        name: np.zeros([1 if d is None else d for d in edge.shape], edge.dtype)
        for name, edge in zip(session.input_names, model.graph.inputs, strict=True)
    }
    latency = measure_latency(lambda: session(batch))
    for _ in range(_MORE_MEASUREMENTS):  # other work on the machine only adds
        if limits.latency is None or latency.median_s <= limits.latency:
            break
        again = measure_latency(lambda: session(batch))
        latency = min(latency, again, key=lambda found: found.median_s)
    if target is None:
        ram = session.peak_memory_bytes
        known |= {"ram": ram, "flash": model.nbytes, "latency": latency.median_s}
        return known, {}
    costs = target_figures(
        model,
        target,
        None,
        size_bytes=model.nbytes,
        latency=latency,
        peak_memory_bytes=session.peak_memory_bytes,
    )
    known |= {"ram": costs.ram_bytes, "latency": costs.latency_s, "energy": costs.energy_j}
    known["flash"] = costs.flash_bytes
    sources = {
        "ram": costs.ram_source,
        "flash": costs.ram_source,
        "latency": costs.latency_source,
        "energy": costs.energy_source,
    }
    model.provenance["on_target"] = costs.to_dict()
    return known, sources


__all__ = ["check_askable", "check_limits", "known_figures"]
