"""From measured candidates to a network whose file has the size that was asked for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ... import artifact
from ...graph import Graph
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
# Codes that are rounded quickly, to measure a layer, take so many more bytes than those of a file.
_QUICKLY = 1.06
# Where the search for the smallest file begins, and which share of the accuracy is near enough.
_FIRST_LOSS = 0.05
_NEAR = 0.8

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
        if not columns:  # nothing to keep
            columns, limits = [[np.zeros(len(x)) for x in self._losses]], {"": 0.0}
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
        found = allocate_budgets(self._column("nbytes"), [x[:, None] for x in self._losses], [loss])
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


def recipe_of(choice: Choice, base: Recipe) -> Recipe:
    """Return the recipe that makes a choice.

    Parameters
    ----------
    choice : dict of str to Candidate
    base : Recipe
        Of layers that are not among them.

    Returns
    -------
    Recipe
    """
    shares = {name: c.sparsity for name, c in choice.items() if c.sparsity}
    layers = {name: c.format for name, c in choice.items() if c.format != base.format}
    int8 = any(c.format.activations == "int8" for c in choice.values())
    pruning = None
    if shares:
        structure = "1x4" if int8 else "unstructured"
        pruning = Pruning(max(shares.values()), structure, layers=shares)
    return replace(base, name="searched", layers=layers, pruning=pruning)


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


@dataclass(frozen=True)
class Column:
    """A line of a budget that is a sum over layers.

    Attributes
    ----------
    name : str
        Of a candidate's attribute.
    fixed : float
        What no choice changes, about.
    """

    name: str
    fixed: float


def fit(
    task: SearchTask,
    allocator: Allocator,
    verifier: Verifier,
    columns: Mapping[str, Column],
    found: list[Trial],
    base: Recipe,
) -> None:
    """Make networks until one keeps the lines and leaves little of them.

    What layers take together is known before they are rounded together to some percent; each
    network corrects what the next one is asked for.

    Parameters
    ----------
    task : SearchTask
    allocator : Allocator
    verifier : Verifier
    columns : mapping of str to Column
        By line of the budget.
    found : list of Trial
        Networks are added to it as they are made.
    base : Recipe
        Values of layers without a choice; channels.
    """
    limits = {line: float(task.limits.to_dict()[line]) for line in columns}
    rooms = {line: limits[line] - column.fixed for line, column in columns.items()}
    if "size" in rooms:
        rooms["size"] *= _QUICKLY
    free = allocator.choose({})
    seen = set[str]()
    for _ in range(_MOST_TRIALS):
        chosen = allocator.choose({columns[line].name: room for line, room in rooms.items()})
        choice = allocator.smallest() if chosen is None else chosen[0]
        recipe = recipe_of(choice, base)
        if recipe.to_yaml() in seen:
            break
        seen.add(recipe.to_yaml())
        trial = verifier.try_recipe(recipe)
        found.append(trial)
        over = [line for line in columns if trial.miss(line) is not None]
        full = [line for line in columns if (trial.figures[line] or 0) >= _FULL * limits[line]]
        if not over and (full or choice == free[0]):  # type: ignore[index]
            break
        if chosen is None or (task.late and not over):
            break
        for line, column in columns.items():
            actual = float(trial.figures[line] or 0)
            planned = sum(float(getattr(c, column.name)) for c in choice.values())
            grows = min(1.5, max(0.5, planned / max(1e-30, actual - column.fixed)))
            aim = (1 + _FULL) / 2 * limits[line]
            if line in over or actual < _FULL * limits[line]:
                rooms[line] = planned + (aim - actual) * grows


def fit_accuracy(
    task: SearchTask, allocator: Allocator, verifier: Verifier, found: list[Trial], base: Recipe
) -> None:
    """Make networks until one is about as small as the accuracy allows.

    Parameters
    ----------
    task, allocator, verifier, found, base
        As for `fit`.
    """
    limit = task.limits.accuracy_drop
    assert limit is not None
    low, high = 1e-4, 1.0  # sums of losses: one that holds, one that does not
    loss = _FIRST_LOSS
    for _ in range(_MOST_TRIALS):
        trial = verifier.try_recipe(recipe_of(allocator.cheapest(loss), base))
        found.append(trial)
        drop = trial.figures["accuracy_drop"]
        if drop is None or task.late:
            break
        if drop <= limit:
            low = loss
            if drop >= _NEAR * limit:
                break
        else:
            high = loss
        loss = math.sqrt(low * high)


__all__ = ["Allocator", "Choice", "Column", "fit", "fit_accuracy", "float_file", "recipe_of"]
