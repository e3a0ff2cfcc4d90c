"""Why no network keeps a budget: by how much, which layer binds, what would fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...base.error import BudgetError, UnsupportedError
from ...exporters.c import footprint
from ...report.layers import edge_bytes
from ...targets.budget import Miss, format_line
from ..model import stored_bytes
from .costs import layer_seconds
from .task import SearchTask, Trial


def explain(task: SearchTask, trials: Sequence[Trial], allocator: Any = None) -> BudgetError:
    """Return the error of a budget that no network keeps.

    Parameters
    ----------
    task : SearchTask
    trials : sequence of Trial
        At least one, none of which keeps the budget.
    allocator : Allocator, optional
        Of the bits of layers, where they were chosen.

    Returns
    -------
    BudgetError
        Its message lists the misses of the nearest network; below, line by line, the layer that
        binds and what would fit.
    """
    nearest = min(trials, key=lambda trial: (len(trial.misses), _excess(trial)))
    listed = "; ".join(str(miss) for miss in nearest.misses)
    lines = [f"budget not met: {listed}"]
    for miss in nearest.misses:
        binds = _binding(task, nearest, miss)
        if binds:
            lines.append(f"{miss.line}: {binds}")
    lines.append(f"what would fit: {_fits(task, nearest)}{_cost(nearest)}")
    return BudgetError("\n  ".join(lines), nearest.misses)


def _excess(trial: Trial) -> float:
    return sum(m.actual / m.limit if m.limit else m.actual for m in trial.misses)


def _fits(task: SearchTask, trial: Trial) -> str:
    """The lines as they would have to be."""
    words = []
    for line, limit in task.limits.to_dict().items():
        actual = trial.figures.get(line)
        if actual is not None:
            # What is measured in time comes out a little different each time.
            margin = 1.05 if line in ("latency", "energy") else 1.0
            words.append(f"{line}={format_line(line, max(limit, margin * actual), up=True)}")
    return ",".join(words)


def _cost(trial: Trial) -> str:
    if trial.drop is None:
        return ""
    return f" (about {100 * trial.drop:.1f} points of top-1 would be lost)"


def _binding(task: SearchTask, trial: Trial, miss: Miss) -> str:
    """The layer that takes most of a line, in the network nearest to the budget."""
    shares = _shares(task, trial, miss.line)
    if not shares:
        return ""
    name = max(shares, key=shares.__getitem__)
    what = format_line(miss.line, shares[name])
    total = sum(shares.values())
    if miss.line == "ram":
        return f"layer {name} binds: {what} are alive there"
    if len(shares) == 1:
        return f"layer {name} binds: {what}"
    rest = "" if miss.line != "size" else _rest(trial, total)
    return (
        f"layer {name} binds: {what} at its least, {shares[name] / total:.0%} of all layers{rest}"
    )


def _rest(trial: Trial, total: float) -> str:
    fixed = trial.model.nbytes - total
    return f"; {format_line('size', max(0.0, fixed))} of the file are no weights"


def _shares(task: SearchTask, trial: Trial, line: str) -> dict[str, float]:
    """What each layer takes of a line."""
    graph: Any = trial.model.graph
    target = task.target
    if line in ("latency", "energy"):
        seconds = layer_seconds(graph, target)
        factor = (trial.figures.get("energy") or 0) / (trial.figures.get("latency") or 1)
        return {k: v * (factor if line == "energy" else 1) for k, v in seconds.items()}
    if line in ("ram", "flash") and target is not None and target.is_microcontroller:
        try:
            found = footprint(graph, target)
        except (UnsupportedError, ValueError):
            return {}
        return dict([found.ram_layer if line == "ram" else found.flash_layer])
    edges = graph.edges
    if line == "ram":
        return {
            node.name: sum(edge_bytes(edges[i]) for i in (*node.inputs, *node.outputs) if i >= 0)
            for node in graph.nodes
        }
    if line in ("size", "flash"):
        return {
            node.name: stored_bytes(edges[node.inputs[1]])
            for node in graph.nodes
            if len(node.inputs) > 1 and node.inputs[1] >= 0 and edges[node.inputs[1]].is_constant
        }
    return {}


__all__ = ["explain"]
