"""A network under a budget: what int8 does not keep already is searched for."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

from ...base.threads import get_threads
from ...graph import Graph
from ...targets.budget import Miss
from ..calibrate import network_batches
from ..float_twin import float_twin
from ..model import CompressedModel
from ..recipe import Recipe
from ..removed_channels import units_text
from ..repair import most_samples
from .candidates import Candidate
from .costs import LatencyMeter, layer_seconds
from .database import LayerEntry, measure_layers
from .explain import explain
from .fit import Allocator, Column, fit, fit_accuracy, float_file
from .merge import Merger
from .shrink import Shrinker, excess_of, quick_int8, sample_batches
from .task import SearchTask, Trial, Verifier

_SAMPLES = 512
_BATCH = 64
# Bytes of a file that a recipe's line about a layer takes.
_LINE_BYTES = 40
# Lines that bits of weights change; others need fewer channels or other activations.
_BY_BITS = {"size", "flash", "accuracy_drop"}
_TIGHTER = (1.0, 0.95, 0.9)
_BY_BLOCKS = (1.0, 0.6)
_WIDTHS = 2  # multiples of which widths are kept that are tried, the largest that do


class Search:
    """A search under way: what was tried, and the best so far.

    Parameters
    ----------
    task : SearchTask
    """

    def __init__(self, task: SearchTask) -> None:
        self.task = task
        self.trials: list[Trial] = []
        self.notes: dict[str, Any] = {}
        self._verifier = Verifier(task)
        self._plain = float_twin(task.graph)
        self._entries: dict[tuple[str, str], list[LayerEntry]] = {}
        self._allocator: Allocator | None = None

    def run(self) -> CompressedModel:
        """Search.

        Returns
        -------
        CompressedModel
            The one that keeps the budget and diverges least from the float network; the smallest
            where the budget is of accuracy alone.

        Raises
        ------
        BudgetError
            If none was found; the message says by how much, why, and what would fit.
        """
        try:
            self._search()
        except KeyboardInterrupt:
            if self.best is None:
                raise
            self.notes["interrupted"] = True
        if self.task.late:
            self.notes["time_budget"] = "used up"
        best = self.best
        if best is None:
            raise explain(self.task, self.trials, self._allocator)
        for warned in best.warned:
            warnings.warn(str(warned.message), warned.category, stacklevel=5)
        model = best.model
        model.provenance["search"] = {
            "tried": [_described(trial) for trial in self.trials],
            "expected_drop": best.drop,
            **self.notes,
        }
        return model

    @property
    def best(self) -> Trial | None:
        """Of those that keep the budget, the one that is to be had."""
        kept = [trial for trial in self.trials if not trial.misses]
        if not kept:
            return None
        if set(self.task.limits.to_dict()) == {"accuracy_drop"}:
            return min(kept, key=lambda trial: trial.model.nbytes)
        return min(kept, key=lambda trial: trial.divergence)

    def _search(self) -> None:
        task = self.task
        usual = self._try(Recipe())
        small_is_asked = set(task.limits.to_dict()) == {"accuracy_drop"}
        if not usual.misses and not small_is_asked:
            return
        only_int8 = task.target is not None and task.target.formats == ("int8",)
        if not only_int8:
            exact = self._verifier.judge(task.apply(Recipe("fp32")))
            if {miss.line for miss in exact.misses} <= {"size"}:
                self.trials.append(exact)
                self._fit_float()
                return
        if {miss.line for miss in usual.misses} <= _BY_BITS:
            self._fit_codes(usual, only_int8)
            return
        self._shrink(usual)

    def _try(self, recipe: Recipe) -> Trial:
        trial = self._verifier.try_recipe(recipe)
        self.trials.append(trial)
        return trial

    def _fit_float(self) -> None:
        """Float activations: what bits the file has room for, layer by layer."""
        entries = self._measured("float")
        allocator = Allocator(entries, {e.name: list(e.candidates) for e in entries})
        self._allocator = allocator
        base = Recipe("fp32")
        if "size" in self.task.limits.to_dict():
            columns = {"size": Column("nbytes", self._fixed(self._plain, entries))}
            fit(self.task, allocator, self._verifier, columns, self.trials, base)
        elif self.task.limits.accuracy_drop is not None:
            fit_accuracy(self.task, allocator, self._verifier, self.trials, base)

    def _fit_codes(
        self, usual: Trial, only_int8: bool, base: Recipe | None = None, graph: Graph | None = None
    ) -> None:
        """Int8 activations with fewer bits, beside layers that stay in float where that is kept."""
        task, plain = self.task, self._plain if graph is None else graph
        coded = self._measured("int8", plain)
        candidates = {e.name: list(e.int8) for e in coded}
        lines = task.limits.to_dict()
        columns: dict[str, Column] = {}
        if "size" in lines:
            columns["size"] = Column("nbytes", self._fixed(plain, coded))
        if "flash" in lines and task.target is not None and task.target.is_microcontroller:
            whole = {e.name: _weight_count(plain, e.name) for e in coded}
            candidates = {
                name: [_on_device(c, whole[name]) for c in found]
                for name, found in candidates.items()
            }
            planned = sum(whole.values())
            columns["flash"] = Column("flash_bytes", (usual.figures["flash"] or 0) - planned)
        elif "flash" in lines:
            columns["flash"] = Column("nbytes", self._fixed(plain, coded))
        if not only_int8 and "latency" in lines:
            columns["latency"] = self._with_float(usual, plain, candidates)
        if not columns:
            return
        self._allocator = allocator = Allocator(coded, candidates)
        fit(task, allocator, self._verifier, columns, self.trials, base or Recipe())

    def _with_float(
        self, usual: Trial, plain: Graph, candidates: dict[str, list[Candidate]]
    ) -> Column:
        """Add candidates of float activations, and the time of all of them."""
        task = self.task
        slow, fast = (layer_seconds(g, task.target) for g in (plain, usual.model.graph))
        for entry in self._measured("float", plain):
            name = entry.name
            candidates[name] = [replace(c, seconds=fast.get(name, 0.0)) for c in candidates[name]]
            candidates[name] += [
                replace(c, seconds=slow.get(name, 0.0)) for c in entry.candidates if not c.sparsity
            ]
        known = sum(fast.get(name, 0.0) for name in candidates)
        return Column("seconds", max(0.0, (usual.figures["latency"] or 0.0) - known))

    def _shrink(self, usual: Trial) -> None:
        """Fewer layers, fewer channels, then int8; fewer bits where the file is still too large."""
        batches = sample_batches(self.task)
        self._meter = LatencyMeter(usual.model.graph)
        timed = [miss for miss in usual.misses if miss.line in ("latency", "energy")]
        merger = Merger(self.task, batches, self._meter) if timed else None
        smallest, excess = self._smallest(merger, batches)
        kept = False
        if excess <= 1:
            kept = self._try_merged(merger, timed, batches) if merger else False
            kept = kept or self._try_channels((), self._plain, batches)
        if not kept and (smallest.merged or smallest.channels):
            self._try(smallest)

    def _smallest(self, merger: Merger | None, batches: Any) -> tuple[Recipe, float]:
        """The network with the fewest blocks and channels, and how far it is beyond the limits."""
        names = tuple(merger.names) if merger else ()
        graph = merger.merged(names) if merger else self._plain
        recipe = replace(Recipe(name="searched"), merged=names)
        try:
            shrinker = Shrinker(self.task, graph, batches, self._meter)
        except ValueError:  # no channel can go
            return recipe, excess_of(quick_int8(graph, batches), self.task, self._meter)
        fewest = shrinker.fewest()
        return replace(recipe, channels=units_text(fewest)), shrinker.excess(fewest)

    def _try_merged(self, merger: Merger, timed: list[Miss], batches: Any) -> bool:
        """Whether a network with fewer blocks, and then fewer channels, was found."""
        worst = max(timed, key=lambda miss: miss.ratio)
        kept = False
        for share in _BY_BLOCKS:
            # Of what is too much, merged blocks take this share away, and channels the rest.
            for tighter in _TIGHTER if share == 1 else ():
                alone = merger.choose(worst.line, tighter * worst.limit, worst.actual)
                if not alone or self._try_small(alone, None):
                    kept |= bool(alone)
                    break
            if share == 1:
                continue
            limit = worst.actual - share * worst.excess
            names = merger.choose(worst.line, limit, worst.actual)
            if names:
                kept |= self._try_channels(names, merger.merged(names), batches)
            if self.task.late and kept:
                break
        return kept

    def _try_channels(self, merged: tuple[str, ...], graph: Graph, batches: Any) -> bool:
        """Whether a network with fewer channels was found."""
        try:
            shrinker = Shrinker(self.task, graph, batches, self._meter)
        except ValueError:  # no channel can go
            return False
        tried = set[str]()
        for tighter in _TIGHTER:
            kept, looks = False, 0
            for multiple in shrinker.multiples():
                mask = shrinker.keep(multiple, tighter)
                if mask is None:
                    continue
                looks += 1
                text = units_text(mask)
                if text not in tried:
                    tried.add(text)
                    kept |= self._try_small(merged, text)
                if looks == _WIDTHS or (self.task.late and self.best is not None):
                    break
            if kept:
                return True
        return False

    def _try_small(self, merged: tuple[str, ...], channels: str | None) -> bool:
        """Whether a smaller network keeps the budget, with fewer bits where it has to."""
        before = len(self.trials)
        trial = self._try(Recipe(name="searched", merged=merged, channels=channels))
        if trial.misses and {miss.line for miss in trial.misses} <= _BY_BITS:
            model = self.task.apply(Recipe("fp32", merged=merged, channels=channels))
            base = Recipe(merged=merged, channels=channels)
            self._fit_codes(trial, True, base, float_twin(model.graph))
        return any(not found.misses for found in self.trials[before:])

    def _measured(self, kind: str, graph: Graph | None = None) -> list[LayerEntry]:
        """What layers may become, measured at the first call."""
        plain = self._plain if graph is None else graph
        key = (kind, str(id(plain)))
        if key not in self._entries:
            task = self.task
            batches = list(
                network_batches(
                    plain,
                    task.calibration,
                    task.preprocess,
                    limit=min(_SAMPLES, most_samples(plain)),
                    seed=task.seed,
                    batch_size=_BATCH,
                )
            )
            self._entries[key] = measure_layers(
                plain,
                batches,
                kind=kind,
                cache=task.cache,
                threads=get_threads(),
                progress=task.report,
                late=lambda: task.late,
            )
        return self._entries[key]

    def _fixed(self, plain: Graph, entries: list[LayerEntry]) -> float:
        """Bytes of a file that bits of weights do not change."""
        whole, weights = float_file(plain)
        return whole - sum(weights[e.name] for e in entries) + _LINE_BYTES * len(entries)


def search(task: SearchTask) -> CompressedModel:
    """Search a network under a budget.

    Parameters
    ----------
    task : SearchTask

    Returns
    -------
    CompressedModel

    Raises
    ------
    BudgetError
        If none was found; the message says by how much, why, and what would fit.
    """
    return Search(task).run()


def _weight_count(graph: Any, name: str) -> int:
    node = next(n for n in graph.nodes if n.name == name)
    return int(graph.edges[node.inputs[1]].constant.size)


def _on_device(candidate: Candidate, weights: int) -> Candidate:
    """Bytes in flash: one a weight, half of it for 16 values, kept blocks alone where few are."""
    nbytes = weights
    if (candidate.format.bits or 8) <= 4:
        nbytes = weights // 2
    elif candidate.sparsity > 0.5:
        nbytes = round(weights * (1 - candidate.sparsity) * 1.5)
    return replace(candidate, flash_bytes=nbytes)


def _described(trial: Trial) -> dict[str, Any]:
    """A line about a trial."""
    figures = {name: value for name, value in trial.figures.items() if value is not None}
    return {
        "recipe": trial.model.recipe.name,
        **figures,
        "divergence": float(f"{trial.divergence:.4g}"),
        "keeps": not trial.misses,
    }


__all__ = ["Search", "SearchTask", "search"]
