"""From measured candidates to a network whose file has the size that was asked for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ... import artifact
from ...graph import Graph
from ...targets.budget import Budget
from ..model import stored_bytes
from ..pruning_recipe import Pruning
from ..recipe import Recipe
from .candidates import Candidate
from .database import LayerEntry
from .knapsack import Allocation, allocate_budgets
from .task import SearchTask, Trial, Verifier

# A file is full from this share of its budget on; how often what codes come to is corrected.
_FULL = 0.985
_MOST_TRIALS = 5

Choice = dict[str, Candidate]


class Allocator:
    """Choices for all layers under limits on what they sum to.

    Parameters
    ----------
    entries : sequence of LayerEntry
    candidates : mapping of str to list of Candidate
        By layer, those that count.
    """

    def __init__(
        self, entries: Sequence[LayerEntry], candidates: dict[str, list[Candidate]]
    ) -> None:
        self._entries = list(entries)
        self._candidates = candidates
        self._losses = [
            np.array([e.importance * c.error for c in candidates[e.name]]) for e in entries
        ]

    def choose(self, limits: dict[str, float]) -> tuple[Choice, Allocation] | None:
        """Choose candidates of least loss.

        Parameters
        ----------
        limits : dict of str to float
            By name of a column: "nbytes", "seconds" or "flash_bytes".

        Returns
        -------
        (dict of str to Candidate, Allocation) or None
            None where nothing fits.
        """
        columns = [self._column(name) for name in limits]
        costs = [np.stack(rows, axis=1) for rows in zip(*columns, strict=True)]
        found = allocate_budgets(self._losses, costs, list(limits.values()))
        if found is None:
            return None
        chosen = {
            e.name: self._candidates[e.name][j]
            for e, j in zip(self._entries, found.choices, strict=True)
        }
        return chosen, found

    def cheapest(self, loss: float) -> Choice:
        """Choose the fewest bytes at which the sum of losses is at most `loss`.

        Parameters
        ----------
        loss : float

        Returns
        -------
        dict of str to Candidate
            Of least loss, where that is more.
        """
        found = allocate_budgets(
            self._column("nbytes"), [x[:, None] for x in self._losses], [loss]
        )
        picks = [int(x.argmin()) for x in self._losses] if found is None else found.choices
        return {
            e.name: self._candidates[e.name][j] for e, j in zip(self._entries, picks, strict=True)
        }

    def least(self, name: str) -> float:
        """Return the least sum of a column."""
        return float(sum(column.min() for column in self._column(name)))

    def smallest(self) -> Choice:
        """Choose the fewest bytes for every layer."""
        return {
            e.name: min(self._candidates[e.name], key=lambda c: c.nbytes) for e in self._entries
        }

    def _column(self, name: str) -> list[Any]:
        return [
            np.array([float(getattr(c, name)) for c in self._candidates[e.name]])
            for e in self._entries
        ]


def recipe_of(choice: Choice, values: str) -> Recipe:
    """Return the recipe that makes a choice.

    Parameters
    ----------
    choice : dict of str to Candidate
    values : str
        Of layers that are not among them.

    Returns
    -------
    Recipe
    """
    shares = {name: c.sparsity for name, c in choice.items() if c.sparsity}
    layers = {name: c.format for name, c in choice.items() if c.format.values != values}
    int8 = any(c.format.activations == "int8" for c in choice.values())
    pruning = None
    if shares:
        pruning = Pruning(
            max(shares.values()), structure="1x4" if int8 else "unstructured", layers=shares
        )
    return Recipe(values, "searched", layers=layers, pruning=pruning)


def float_file(graph: Graph) -> tuple[int, dict[str, int]]:
    """Return the bytes of a float network's file, and of the weight of each of its layers.

    Parameters
    ----------
    graph : Graph
        Canonical.

    Returns
    -------
    (int, dict of str to int)
    """
    edges, weights = graph.edges, {}
    for node in graph.nodes:
        if len(node.inputs) > 1 and node.inputs[1] >= 0 and edges[node.inputs[1]].is_constant:
            weights[node.name] = stored_bytes(edges[node.inputs[1]])
    return len(artifact.encode(graph)), weights


def fit_file(
    task: SearchTask,
    allocator: Allocator,
    verifier: Verifier,
    fixed: float,
    values: str,
    limits: dict[str, float] | None = None,
) -> list[Trial]:
    """Make networks until one fills the file that is asked for.

    What weights take in the file is known before they are rounded together to some percent; each
    network corrects what the next one is asked for.

    Parameters
    ----------
    task : SearchTask
    allocator : Allocator
    verifier : Verifier
    fixed : float
        Bytes of the file that no choice changes, about.
    values : str
        Of layers without a choice.
    limits : dict of str to float, optional
        Further ones, by column.

    Returns
    -------
    list of Trial
        The best of what fits first; empty where no choice fits.
    """
    assert task.limits.size is not None
    size = float(task.limits.size)
    room, trials, seen = size - fixed, list[Trial](), set[str]()
    try:
        for _ in range(_MOST_TRIALS):
            found = allocator.choose({"nbytes": room, **(limits or {})})
            choice = allocator.smallest() if found is None else found[0]
            recipe = recipe_of(choice, values)
            if recipe.to_yaml() in seen:
                break
            seen.add(recipe.to_yaml())
            trial = verifier.try_recipe(recipe)
            trials.append(trial)
            actual = float(trial.figures["size"] or 0)
            if _FULL * size <= actual <= size or found is None or task.late:
                break
            planned = float(sum(c.nbytes for c in choice.values()))
            most = allocator.choose({"nbytes": math.inf, **(limits or {})})
            if actual <= size and most is not None and choice == most[0]:
                break  # nothing is better
            grows = min(1.5, max(0.5, planned / max(1.0, actual - fixed)))
            room = planned + ((1 + _FULL) / 2 * size - actual) * grows
    except KeyboardInterrupt:
        if not any(not t.misses for t in trials):
            raise
    return sorted(trials, key=lambda t: (len(t.misses), t.divergence if not t.misses else 0.0))


def without(limits: Budget, *lines: str) -> Budget:
    """Return a budget without some of its lines.

    Parameters
    ----------
    limits : Budget
    *lines : str

    Returns
    -------
    Budget
    """
    return Budget(**{k: v for k, v in limits.to_dict().items() if k not in lines})  # type: ignore[arg-type]


__all__ = ["Allocator", "Choice", "fit_file", "float_file", "recipe_of", "without"]
