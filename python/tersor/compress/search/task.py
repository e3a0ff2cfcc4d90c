"""What a search is given, and the networks that it tries."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...data.preprocess import Preprocess
from ...graph import Graph
from ...runtime import Session
from ...targets.budget import Budget, Miss
from ...targets.target import Target
from ..agreement import expected_loss
from ..calibrate import Progress, network_batches
from ..limits import known_figures
from ..model import CompressedModel
from ..rate_distortion import output_divergence
from ..recipe import Recipe
from ..repair import most_samples

_VERIFY_SAMPLES = 1024
# The float network is surer of samples that it was trained on than of others, where its classes
# turn sooner: a divergence of 0.02 nats counts as a loss of one point of top-1 at least.
_NATS_PER_DROP = 2.0


@dataclass(frozen=True)
class SearchTask:
    """A network and what must hold.

    Attributes
    ----------
    graph : Graph
    target : Target or None
    limits : Budget
        The user's lines and those of the target.
    calibration : object
        Unlabeled samples; readable more than once.
    preprocess : Preprocess or None
    seed : int
    report : callable
        Of progress.
    apply : callable
        Makes a model by a recipe.
    cache : Path or None
        Folder where measurements of layers are kept.
    deadline : float
        By ``time.monotonic``; infinite without a time budget.
    """

    graph: Graph
    target: Target | None
    limits: Budget
    calibration: Any
    preprocess: Preprocess | None
    seed: int
    report: Progress
    apply: Callable[[Recipe], CompressedModel]
    cache: Path | None = None
    deadline: float = math.inf

    @property
    def late(self) -> bool:
        """Whether the time budget is used up."""
        return time.monotonic() >= self.deadline


@dataclass
class Trial:
    """A network that the search made.

    Attributes
    ----------
    model : CompressedModel
    figures : dict
        By line of a budget.
    misses : tuple of Miss
        Lines that do not hold.
    divergence : float
        Of its output from the float network's, on calibration samples.
    drop : float or None
        Of top-1, as a share, that this is expected to cost; None where the output is no classes.
    warned : list
        Warnings about it, which come if it is chosen.
    """

    model: CompressedModel
    figures: dict[str, float | None]
    misses: tuple[Miss, ...]
    divergence: float
    drop: float | None = None
    warned: list[Any] = field(default_factory=list)

    def miss(self, line: str) -> Miss | None:
        """Return the miss of a line, None where it holds."""
        return next((m for m in self.misses if m.line == line), None)


class Verifier:
    """Compares networks with the float one on calibration samples.

    Parameters
    ----------
    task : SearchTask
    """

    def __init__(self, task: SearchTask) -> None:
        self._task = task
        # Others than those by which weights are rounded, where there are enough.
        batches = list(
            network_batches(
                task.graph,
                task.calibration,
                task.preprocess,
                limit=min(_VERIFY_SAMPLES, most_samples(task.graph)),
                seed=task.seed + 1,
            )
        )
        self._batches = batches
        self._wanted = self._outputs(Session(task.graph))

    def _outputs(self, session: Session) -> NDArray[Any]:
        parts = []
        for batch in self._batches:
            output = session(*batch)
            parts.append(np.asarray(output[0] if isinstance(output, tuple) else output))
        return np.concatenate(parts)

    def try_recipe(self, recipe: Recipe) -> Trial:
        """Make a network and see what holds.

        Parameters
        ----------
        recipe : Recipe

        Returns
        -------
        Trial
        """
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            model = self._task.apply(recipe)
        return self.judge(model, warned)

    def judge(self, model: CompressedModel, warned: list[Any] | None = None) -> Trial:
        """See what holds of a network.

        Parameters
        ----------
        model : CompressedModel
        warned : list, optional
            Warnings that came while it was made.

        Returns
        -------
        Trial
        """
        task = self._task
        got = self._outputs(Session(model, precision=model.precision))
        loss = expected_loss(self._wanted, got)
        figures, sources = known_figures(model, task.target, task.limits)
        distance = output_divergence(self._wanted, got)
        drop = None if loss is None else max(loss / 100, distance / _NATS_PER_DROP)
        if task.limits.accuracy_drop is not None:
            figures["accuracy_drop"] = drop
            sources["accuracy_drop"] = "estimated"
        misses = task.limits.misses(figures, sources)
        return Trial(model, figures, misses, distance, drop, list(warned or []))


__all__ = ["SearchTask", "Trial", "Verifier"]
