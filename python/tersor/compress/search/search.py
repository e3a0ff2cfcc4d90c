"""A network under a budget: what int8 does not keep already is searched for."""

from __future__ import annotations

import warnings
from typing import Any

from ...base.error import BudgetError
from ...base.threads import get_threads
from ..calibrate import network_batches
from ..float_twin import float_twin
from ..model import CompressedModel
from ..recipe import Recipe
from ..repair import most_samples
from .database import LayerEntry, measure_layers
from .fit import Allocator, fit_file, float_file
from .task import SearchTask, Trial, Verifier

_SAMPLES = 512
_BATCH = 64
# Points of top-1 that int8 may be expected to lose where nothing is said about accuracy.
_MOST_LOSS = 1.0


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
        self._entries: dict[str, list[LayerEntry]] = {}

    def run(self) -> CompressedModel:
        """Search.

        Returns
        -------
        CompressedModel
            The one that keeps the budget and diverges least from the float network.

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
        best = self.best
        if best is None:
            raise self._failure()
        for warned in best.warned:
            warnings.warn(str(warned.message), warned.category, stacklevel=5)
        model = best.model
        model.provenance["search"] = {
            "tried": [_described(trial) for trial in self.trials],
            **self.notes,
        }
        return model

    @property
    def best(self) -> Trial | None:
        """Of those that keep the budget, the one nearest to the float network."""
        kept = [trial for trial in self.trials if not trial.misses]
        return min(kept, key=lambda trial: trial.divergence) if kept else None

    def entries(self, kind: str) -> list[LayerEntry]:
        """What layers may become, measured at the first call."""
        if kind not in self._entries:
            task = self.task
            limit = min(_SAMPLES, most_samples(self._plain))
            batches = list(
                network_batches(
                    self._plain,
                    task.calibration,
                    task.preprocess,
                    limit=limit,
                    seed=task.seed,
                    batch_size=_BATCH,
                )
            )
            self._entries[kind] = measure_layers(
                self._plain,
                batches,
                kind=kind,
                cache=task.cache,
                threads=get_threads(),
                progress=task.report,
            )
        return self._entries[kind]

    def _search(self) -> None:
        usual = self._verifier.try_recipe(Recipe())
        self.trials.append(usual)
        if not usual.misses:
            return
        if usual.miss("size") is not None:
            self._fit_float()

    def _fit_float(self) -> None:
        entries = self.entries("float")
        allocator = Allocator(entries, {e.name: list(e.candidates) for e in entries})
        whole, weights = float_file(self._plain)
        fixed = whole - sum(weights[e.name] for e in entries) + 40 * len(entries)
        self.trials += fit_file(self.task, allocator, self._verifier, fixed, "fp32")

    def _failure(self) -> BudgetError:
        nearest = min(self.trials, key=lambda t: (len(t.misses), _excess(t)))
        listed = "; ".join(str(miss) for miss in nearest.misses)
        return BudgetError(f"budget not met: {listed}", nearest.misses)


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


def _excess(trial: Trial) -> float:
    return sum(m.actual / m.limit if m.limit else m.actual for m in trial.misses)


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
