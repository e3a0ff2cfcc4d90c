"""``tersor.compare``: run variants of a network side by side and report what they cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..base.schema import check_integer
from ..data.dataset import Dataset
from ..data.error import DataError
from ..data.load import as_dataset
from ..data.preprocess import Preprocess
from ..runtime import Session
from ..targets.budget import Budget
from ..targets.cost_model import has_figures
from ..targets.energy_meter import EnergyMeter, open_energy_meter
from ..targets.target import Target
from .environment import describe_environment
from .evaluate import accuracy, prepare_dataset, run_batches, signal_to_noise_db, top1
from .file_parts import file_parts
from .inputs import random_inputs
from .intervals import bootstrap_accuracy, bootstrap_change
from .layers import layer_costs
from .losses import losses_of
from .measure import COUNTED_RUNS, WARMUP_RUNS, measure_latency
from .model import (
    compress_seconds,
    graph_of,
    open_session,
    parameters_of,
    precision_of,
    recipe_name,
    sparsity_of,
)
from .on_emulator import EmulatedRun, run_on_emulator
from .on_target import target_figures
from .report import Report
from .variant import Variant
from .weight_histograms import weight_histograms

# Micro-batches are 1 to 8 rows: 64 fills them on any number of threads that a laptop has.
THROUGHPUT_BATCH = 64
# Samples whose bits are compared on an emulated core; each is emulated in full.
EMULATED_SAMPLES = 8


def compare(
    variants: Mapping[str, Any],
    data: Any = None,
    target: str | Path | Target | Mapping[str, str | Path | Target | None] | None = None,
    *,
    budget: Budget | Mapping[str, Any] | str | None = None,
    baseline: str | None = None,
    preprocess: Preprocess | Mapping[str, Any] | str | Path | None = None,
    threads: int = 1,
    warmup: int = WARMUP_RUNS,
    runs: int = COUNTED_RUNS,
    title: str = "Comparison",
    emulate: bool = False,
    sensitivity: Any = None,
    progress: Callable[[str], None] | None = None,
) -> Report:
    """Measure variants of a network beside their baseline.

    Parameters
    ----------
    variants : mapping of str to Graph or CompressedModel
        What to compare, in the order of the report.
    data : Dataset, path, array or pair (x, y), optional
        For accuracy (with labels) and agreement (without). Bytes (uint8) are raw samples and go
        through preprocessing; floats are what the networks take.
    target : str, Path, Target, or mapping from variant to one of these, optional
        Devices for which latency, energy and memory are given: measured where this machine has the
        instruction set, else modelled, and labelled so.
    budget : Budget, mapping or str, optional
        Goes before the targets' own constraints, line by line; not applied to the baseline.
    baseline : str, optional
        The variant that others are compared with; the first one by default.
    preprocess : Preprocess, mapping or path, optional
        For raw samples, in place of what the variants carry.
    threads : int
        Threads of each session, at least 1.
    warmup, runs : int
        Runs before, and counted runs of the latency measurement.
    title : str
        Of the report.
    emulate : bool
        Write the network of a microcontroller as C and run it on the emulated core, where QEMU
        and the compiler are installed: counts instructions and memory.
    sensitivity : Sensitivity, optional
        From ``tersor.sensitivity``: becomes a heat map of the report.
    progress : callable, optional
        Called with the name of each variant before it is measured.

    Returns
    -------
    Report

    Raises
    ------
    ValueError
        If there is no variant, the baseline is unknown, or data do not fit.
    TypeError
        If `variants` is no mapping, or a variant is no network.

    Examples
    --------
    >>> from tersor.zoo import load_digits_data, load_digits_network
    >>> report = compare({"fp32": load_digits_network()}, data=load_digits_data())
    >>> report["fp32"].accuracy > 0.98
    True
    """
    if not isinstance(variants, Mapping):
        got = type(variants).__name__
        raise TypeError(f"compare: variants must be a mapping of name to network, got {got}")
    if not variants:
        raise ValueError("compare: variants must have at least one network, got none")
    baseline = next(iter(variants)) if baseline is None else baseline
    if baseline not in variants:
        known = ", ".join(variants)
        raise ValueError(f"compare: baseline must be one of {known}, got {baseline!r}")
    check_integer(threads, least=1, what="compare: threads")
    check_integer(warmup, least=0, what="compare: warmup")
    check_integer(runs, least=1, what="compare: runs")
    dataset = None if data is None else as_dataset(data)
    prepare = Preprocess.parse(preprocess)
    lines = Budget.parse(budget)
    rows: dict[str, Variant] = {}
    quality = None if dataset is None else _Quality(dataset, prepare)
    meter = open_energy_meter()
    # The baseline first: the others are compared with its outputs.
    for name in sorted(variants, key=lambda key: key != baseline):
        if progress:
            progress(name)
        model, is_baseline = variants[name], name == baseline
        session = _open(name, model, threads)
        variant = _measure(name, model, session, warmup, runs, meter)
        like = None if is_baseline else {h.layer: h for h in rows[baseline].weights}
        variant = replace(variant, weights=tuple(weight_histograms(graph_of(model), like).values()))
        if quality is not None:
            variant = replace(variant, **quality.of(session, model))
        chosen = target.get(name) if isinstance(target, Mapping) else target
        profile = None if chosen is None else Target.load(chosen)
        if profile is not None and (not is_baseline or _runs_on(profile, model)):
            figures = target_figures(
                model,
                profile,
                None if is_baseline else lines,
                size_bytes=variant.size_bytes,
                latency=variant.latency,
                peak_memory_bytes=variant.peak_memory_bytes,
                accuracy_drop=_drop(variant, rows.get(baseline)),
                threads=threads,
                energy=variant.energy,
                emulated=_emulate(model, profile, dataset, prepare) if emulate else None,
            )
            variant = replace(variant, on_target=figures)
        rows[name] = variant
    return Report(
        variants=tuple(rows[name] for name in variants),
        baseline=baseline,
        title=title,
        data=None if dataset is None else _describe(dataset),
        threads=threads,
        environment=describe_environment(),
        sensitivity=sensitivity,
    )


def _runs_on(target: Target, model: Any) -> bool:
    """Whether a target takes a network as it is: small devices take no floats."""
    if target.runs_here():
        return True
    return has_figures(target, layer_costs(graph_of(model), precision=precision_of(model)))


def _open(name: str, model: Any, threads: int) -> Session:
    try:
        return open_session(model, threads)
    except TypeError as error:
        raise TypeError(f"compare: variant {name!r}: {error}") from None


def _measure(
    name: str, model: Any, session: Session, warmup: int, runs: int, meter: EnergyMeter | None
) -> Variant:
    graph = graph_of(model)
    one = random_inputs(graph, 1)
    latency = measure_latency(lambda: session(*one), warmup=warmup, runs=runs, batch=len(one[0]))
    # Before anything larger runs: a session's memory only grows.
    peak = session.peak_memory_bytes
    energy = None if meter is None else meter.measure(lambda: session(*one))
    many = random_inputs(graph, THROUGHPUT_BATCH)
    few = max(1, runs // 10)
    throughput = measure_latency(lambda: session(*many), warmup=2, runs=few, batch=len(many[0]))
    file = file_parts(model)
    return Variant(
        name=name,
        recipe=recipe_name(model),
        size_bytes=file.total,
        parameters=parameters_of(graph),
        macs=sum(int(graph.macs_of(index)) for index in range(len(graph.nodes))),
        latency=latency,
        throughput=throughput,
        peak_memory_bytes=peak,
        losses=losses_of(model),
        sparsity=sparsity_of(graph),
        file=file,
        compress_seconds=compress_seconds(model),
        energy=energy,
    )


@dataclass
class _Quality:
    """Compares each network's outputs with those of the first one that it gets."""

    dataset: Dataset
    prepare: Preprocess | None
    reference: NDArray[np.float32] | None = None

    def of(self, session: Session, model: Any) -> dict[str, Any]:
        outputs = run_batches(session, prepare_dataset(self.dataset, model, self.prepare)())
        is_baseline = self.reference is None
        reference = outputs if self.reference is None else self.reference
        self.reference = reference
        if outputs.shape != reference.shape:
            raise DataError(
                f"compare: outputs must have the baseline's shape {reference.shape}, "
                f"got {outputs.shape}"
            )
        classes = outputs.ndim == 2 and outputs.shape[1] > 1
        found = {
            "agreement": float((top1(outputs) == top1(reference)).mean()) if classes else None,
            "sqnr_db": None if is_baseline else signal_to_noise_db(outputs, reference),
        }
        y = self.dataset.y
        if y is None:
            return found
        share = accuracy(outputs, y)
        correct, before = top1(outputs) == y, top1(reference) == y
        change = None if is_baseline else bootstrap_change(correct, before)
        return found | {
            "accuracy": share,
            "accuracy_interval": bootstrap_accuracy(correct),
            "change_interval": change,
        }


def _emulate(
    model: Any, target: Target, dataset: Dataset | None, prepare: Preprocess | None
) -> EmulatedRun | None:
    if dataset is None:
        return run_on_emulator(model, target, random_inputs(graph_of(model), EMULATED_SAMPLES)[0])
    batch = next(iter(prepare_dataset(dataset, model, prepare)()))
    first = batch[0] if isinstance(batch, (tuple, list)) else batch
    return run_on_emulator(model, target, np.asarray(first)[:EMULATED_SAMPLES])


def _drop(variant: Variant, base: Variant | None) -> float | None:
    if base is None or base.accuracy is None or variant.accuracy is None:
        return None
    return base.accuracy - variant.accuracy


def _describe(dataset: Dataset) -> dict[str, Any]:
    return {"name": dataset.name, "samples": len(dataset), "labeled": dataset.y is not None}


__all__ = ["compare"]
