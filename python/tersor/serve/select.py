"""Tiered delivery: the best variant of a network that a device can take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..base.error import BudgetError
from ..data.load import as_dataset
from ..report.evaluate import accuracy as share_right
from ..report.evaluate import prepare_dataset, run_batches
from ..report.inputs import random_inputs
from ..report.layers import layer_costs
from ..report.measure import Latency, measure_latency
from ..report.model import file_bytes, graph_of, open_session, precision_of
from ..report.on_target import target_figures
from ..report.variant import TargetFigures
from ..targets.budget import Budget
from ..targets.target import Target
from ..targets.units import format_bytes, format_seconds

if TYPE_CHECKING:
    from ..base.printed_table import PrintedTable

# Fewer than a report takes: a choice needs no quantiles.
_WARMUP, _RUNS = 3, 30


@dataclass(frozen=True)
class Candidate:
    """A variant as a device sees it.

    Attributes
    ----------
    name : str
    size_bytes : int
        Of the saved file.
    accuracy : float or None
        Share in [0, 1].
    figures : TargetFigures or None
        Latency, memory and energy on the device, measured where this machine can, else modelled;
        None where the profile has no speed for the variant's arithmetic.
    reasons : tuple of str
        Why the device cannot take it; empty where it can.
    """

    name: str
    size_bytes: int
    accuracy: float | None
    figures: TargetFigures | None
    reasons: tuple[str, ...]

    @property
    def fits(self) -> bool:
        """Whether the device can take it."""
        return not self.reasons


@dataclass(frozen=True)
class Selection:
    """What :func:`select` chose, and why.

    Attributes
    ----------
    name : str
        Of the variant.
    model : Graph or CompressedModel
    device : str
    candidates : tuple of Candidate
        All variants, in the order given.
    """

    name: str
    model: Any
    device: str
    candidates: tuple[Candidate, ...]

    @property
    def chosen(self) -> Candidate:
        """The candidate that was chosen."""
        return next(c for c in self.candidates if c.name == self.name)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data.

        Returns
        -------
        dict
        """
        return {
            "device": self.device,
            "chosen": self.name,
            "candidates": [
                {
                    "name": c.name,
                    "size_bytes": c.size_bytes,
                    "accuracy": c.accuracy,
                    "reasons": list(c.reasons),
                    "figures": None if c.figures is None else c.figures.to_dict(),
                }
                for c in self.candidates
            ],
        }

    def table(self) -> PrintedTable:
        """Return the candidates as a table.

        Returns
        -------
        PrintedTable
        """
        from ..base.printed_table import PrintedTable

        table = PrintedTable(title=f"{self.device}: {self.name}", title_justify="left")
        for name in ("variant", "size", "accuracy", "latency", "RAM", "why not"):
            table.add_column(name, justify="left" if name in ("variant", "why not") else "right")
        for c in self.candidates:
            table.add_row(
                f"[bold]{c.name}[/]" if c.name == self.name else c.name,
                format_bytes(c.size_bytes),
                "" if c.accuracy is None else f"{100 * c.accuracy:.2f} %",
                _latency(c.figures),
                "" if c.figures is None else format_bytes(c.figures.ram_bytes),
                "; ".join(c.reasons),
            )
        return table


def select(
    variants: Mapping[str, Any],
    device: str | Path | Target,
    *,
    budget: Budget | Mapping[str, Any] | str | None = None,
    accuracy: Mapping[str, float] | None = None,
    data: Any = None,
    threads: int = 1,
) -> Selection:
    """Choose the best variant that a device can take.

    A variant fits where its file fits the device's storage, its activations (and weights, where
    the device loads them) its memory, its arithmetic is one that the device has, and every line of
    the profile's constraints and of `budget` holds. Of those the most accurate one is chosen, of
    equals the fastest; without accuracies the last one in the mapping, which goes from base to
    enhanced.

    Parameters
    ----------
    variants : mapping of str to Graph or CompressedModel
    device : str, Path or Target
    budget : Budget, mapping or str, optional
        What must hold beside the profile's constraints, such as ``"latency=50ms,size=10MB"``. An
        accuracy drop counts from the best variant.
    accuracy : mapping of str to float, optional
        Known accuracy of each variant, share in [0, 1].
    data : Dataset, path or pair (x, y), optional
        To measure accuracy on where it is not known.
    threads : int
        Cores in use.

    Returns
    -------
    Selection

    Raises
    ------
    BudgetError
        If no variant fits; the message says why each one does not.
    ValueError
        If there are no variants, or some accuracies are known and others are not.

    Examples
    --------
    >>> import tersor
    >>> from tersor.zoo import load_digits_data, load_digits_network
    >>> network = load_digits_network()
    >>> int8 = tersor.compress(network, recipe="int8", calibration=load_digits_data("calibration"))
    >>> select({"base": int8, "enhanced": network}, "mcu").name
    'base'
    """
    target = Target.load(device)
    if not variants:
        raise ValueError("select: variants must hold at least one network, got none")
    known = _accuracies(variants, accuracy, data)
    best = max(known.values()) if known else None
    limits = Budget.parse(budget)
    candidates = []
    for name, model in variants.items():
        right = known.get(name)
        drop = None if best is None or right is None else best - right
        candidates.append(_candidate(name, model, target, limits, right, drop, threads))
    fitting = [c for c in candidates if c.fits]
    if not fitting:
        listed = "".join(f"\n  {c.name}: {'; '.join(c.reasons)}" for c in candidates)
        misses = tuple(miss for c in candidates if c.figures for miss in c.figures.misses)
        raise BudgetError(f"select: no variant fits {target.name}{listed}", misses)
    chosen = fitting[-1]
    if known:
        chosen = max(
            fitting, key=lambda c: (c.accuracy or 0.0, -c.figures.latency_s if c.figures else 0.0)
        )
    return Selection(chosen.name, variants[chosen.name], target.name, tuple(candidates))


def _accuracies(
    variants: Mapping[str, Any], accuracy: Mapping[str, float] | None, data: Any
) -> dict[str, float]:
    if accuracy is not None:
        if missing := [name for name in variants if name not in accuracy]:
            raise ValueError(f"select: accuracy must name every variant, {missing[0]!r} is missing")
        return {name: float(accuracy[name]) for name in variants}
    if data is None:
        return {}
    dataset = as_dataset(data, "test")
    if dataset.y is None:
        raise ValueError("select: data must have labels, got none")
    found = {}
    for name, model in variants.items():
        outputs = run_batches(open_session(model), prepare_dataset(dataset, model)())
        found[name] = share_right(outputs, dataset.y)
    return found


def _candidate(
    name: str,
    model: Any,
    target: Target,
    limits: Budget,
    accuracy: float | None,
    drop: float | None,
    threads: int,
) -> Candidate:
    size, reasons = file_bytes(model), []
    layers = layer_costs(graph_of(model), precision=precision_of(model))
    if lacking := sorted({layer.format for layer in layers if layer.macs} - set(target.formats)):
        reasons.append(f"computes in {lacking[0]}, the device in {', '.join(target.formats)}")
    if target.flash_bytes is not None and size > target.flash_bytes:
        reasons.append(f"size is {format_bytes(size)}, storage {format_bytes(target.flash_bytes)}")
    known = target.latency_model.macs_per_cycle
    figures = None
    if target.runs_here() or not lacking or "fp32" in known:
        figures = _figures(model, target, limits, size, drop, threads)
        if figures.ram_bytes > target.ram_bytes:
            needed, there = format_bytes(figures.ram_bytes), format_bytes(target.ram_bytes)
            reasons.append(f"needs {needed} of memory, the device has {there}")
        reasons += [str(miss) for miss in figures.misses]
    return Candidate(name, size, accuracy, figures, tuple(reasons))


def _figures(
    model: Any, target: Target, limits: Budget, size: int, drop: float | None, threads: int
) -> TargetFigures:
    latency, peak = Latency.from_times([0.0], warmup=0), 0
    if target.runs_here():
        session = open_session(model, threads)
        one = random_inputs(graph_of(model), 1)
        latency = measure_latency(lambda: session(*one), warmup=_WARMUP, runs=_RUNS)
        peak = session.peak_memory_bytes
    return target_figures(
        model,
        target,
        limits,
        size_bytes=size,
        latency=latency,
        peak_memory_bytes=peak,
        accuracy_drop=drop,
        threads=threads,
    )


def _latency(figures: TargetFigures | None) -> str:
    if figures is None:
        return ""
    return f"{format_seconds(figures.latency_s)} ({figures.latency_source})"


__all__ = ["Candidate", "Selection", "select"]
