"""What a network costs on a target: measured where this machine can, else modelled."""

from __future__ import annotations

from typing import Any

from ..base.error import UnsupportedError
from ..exporters.c import CODE_BYTES, footprint
from ..targets.budget import Budget
from ..targets.cost_model import model_energy, model_latency
from ..targets.energy_meter import Energy
from ..targets.target import Target
from .layers import activation_peak_bytes, layer_costs
from .measure import Latency
from .model import graph_of, precision_of
from .on_emulator import EmulatedRun
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
    energy: Energy | None = None,
    emulated: EmulatedRun | None = None,
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
    energy : Energy or None
        Measured here; counts as above.
    emulated : EmulatedRun or None
        Goes before the model: its memory as it is, its instructions times the core's cycles.

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
    seconds, ram, ram_source = latency.median_s, peak_memory_bytes, source
    formula, sources = "", []
    cycles = target.latency_model.cycles_per_instruction
    flash = size_bytes
    if source == "modelled":
        layers = layer_costs(graph, precision=precision_of(model))
        estimate = model_latency(target, layers, threads=threads)
        seconds, formula = estimate.value, estimate.formula
        sources.append(estimate.source)
        ram = activation_peak_bytes(graph)
        ram += int(graph.constant_bytes) if target.weights_in_ram else 0
        if target.is_microcontroller:
            ram, flash = _generated(graph, target, ram)
    if emulated is not None and emulated.instructions is not None:
        ram, ram_source = emulated.ram_bytes, "emulated"
        flash = emulated.code_bytes + emulated.weight_bytes
        if cycles is not None:
            seconds = emulated.instructions * cycles / target.clock_hz
            formula = (
                f"{emulated.instructions:,} instructions counted under QEMU ({emulated.core}) x "
                f"{cycles:g} cycles / {target.clock_hz / 1e6:g} MHz"
            )
    modelled = model_energy(target, seconds, threads=threads)
    joules, energy_source, energy_formula = modelled.value, "modelled", modelled.formula
    if source == "measured" and energy is not None:
        joules, energy_source, energy_formula = energy.joules, "measured", ""
        sources.append(energy.source)
    else:
        sources.append(modelled.source)
    limits = Budget() if budget is None else target.constraints.merge(budget)
    figures = {
        "size": size_bytes,
        "ram": ram,
        "flash": flash,
        "latency": seconds,
        "energy": joules,
        "accuracy_drop": accuracy_drop,
    }
    found = {"ram": ram_source, "flash": ram_source, "latency": source, "energy": energy_source}
    return TargetFigures(
        target=target.name,
        latency_s=seconds,
        energy_j=joules,
        ram_bytes=ram,
        latency_source=source,
        ram_source=ram_source,
        energy_source=energy_source,
        latency_formula=formula,
        energy_formula=energy_formula,
        sources=tuple(sources),
        budget=limits,
        misses=limits.misses(figures, found),
        emulated=emulated,
        flash_bytes=flash,
    )


def _generated(graph: Any, target: Target, ram: int) -> tuple[int, int]:
    """RAM and flash of the network's C code; of float networks, which have none, an estimate."""
    try:
        found = footprint(graph, target)
    except (UnsupportedError, ValueError):
        return ram, int(graph.constant_bytes) + CODE_BYTES
    return found.ram_bytes, found.flash_bytes


__all__ = ["target_figures"]
