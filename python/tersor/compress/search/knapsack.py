"""One choice for every layer, of least loss in all, under several budgets: exactly.

Lagrangian bounds, and dynamic programming over what they leave.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

# States of the dynamic program that are kept per layer; beyond, the best by their bounds.
_MOST_STATES = 4_000
_ROUNDS = 12  # of coordinate ascent on the prices of several resources
_SLACK = 1e-9


@dataclass(frozen=True)
class Allocation:
    """What the solver found.

    Attributes
    ----------
    choices : list of int
        By layer.
    loss : float
        Sum of the choices' losses.
    used : ndarray, shape (resources,)
    bound : float
        No allocation has less loss: the same as `loss` where `exact`.
    prices : ndarray, shape (resources,)
        Loss that one more unit of a resource takes away, about; 0 for those that do not bind.
    exact : bool
        Whether no state was dropped for their number.
    """

    choices: list[int]
    loss: float
    used: Floats
    bound: float
    prices: Floats
    exact: bool


def allocate_budgets(
    losses: Sequence[ArrayLike], costs: Sequence[ArrayLike], budgets: ArrayLike
) -> Allocation | None:
    """Choose one candidate for every layer (multiple-choice knapsack of several resources).

    Parameters
    ----------
    losses : sequence of array-like, shape (candidates,)
        By layer; finite.
    costs : sequence of array-like, shape (candidates, resources)
        By layer; finite and not negative.
    budgets : array-like, shape (resources,)
        Most that the chosen costs may sum to.

    Returns
    -------
    Allocation or None
        None where nothing fits.

    References
    ----------
    .. [1] Sinha and Zoltners, "The Multiple-Choice Knapsack Problem", Operations Research 27, 1979.

    Examples
    --------
    >>> found = allocate_budgets([[0, 5], [0, 1]], [[[4], [1]], [[4], [1]]], [5])
    >>> found.choices, found.loss
    ([0, 1], 1.0)
    """
    limit = np.asarray(budgets, np.float64).ravel()
    tables = [np.asarray(x, np.float64).ravel() for x in losses]
    layers = [
        (x, np.asarray(c, np.float64).reshape(len(x), len(limit)))
        for x, c in zip(tables, costs, strict=True)
    ]
    if not layers:
        return Allocation([], 0.0, np.zeros(len(limit)), 0.0, np.zeros(len(limit)), True)
    limit = np.minimum(limit, np.sum([c.max(axis=0) for _, c in layers], axis=0))
    kept = [_undominated(x, c) for x, c in layers]
    small = [(x[k], c[k]) for (x, c), k in zip(layers, kept, strict=True)]
    if (sum(c.min(axis=0) for _, c in small) > limit * (1 + _SLACK)).any():
        return None
    prices, first = _prices(small, limit)
    found = _dynamic_program(small, limit, prices, first)
    if found is None:
        return None
    picks, exact = found
    loss = sum(float(x[j]) for (x, _), j in zip(small, picks, strict=True))
    used = np.sum([c[j] for (_, c), j in zip(small, picks, strict=True)], axis=0)
    bound = loss if exact else min(loss, _dual(small, limit, prices)[0])
    choices = [int(k[j]) for k, j in zip(kept, picks, strict=True)]
    return Allocation(choices, loss, used, bound, prices, exact)


def _undominated(losses: Floats, costs: Floats) -> NDArray[np.int64]:
    """Candidates that no other one beats in everything."""
    table = np.column_stack([losses, costs])
    order = np.lexsort(table.T[::-1])
    kept: list[int] = []
    for i in order:
        if not any((table[j] <= table[i]).all() for j in kept):
            kept.append(int(i))
    return np.array(sorted(kept), np.int64)


def _dual(
    layers: Sequence[tuple[Floats, Floats]], limit: Floats, prices: Floats
) -> tuple[float, list[int]]:
    """Lagrangian bound, and the choices that give it."""
    total, picks = -float(prices @ limit), []
    for losses, costs in layers:
        priced = losses + costs @ prices
        picks.append(int(priced.argmin()))
        total += float(priced[picks[-1]])
    return total, picks


def _prices(
    layers: Sequence[tuple[Floats, Floats]], limit: Floats
) -> tuple[Floats, list[int] | None]:
    """Prices near the best bound, and the best allocation that fits, met on the way."""
    prices = np.zeros(len(limit))
    best: list[int] | None = None
    least = np.inf

    def visit(trial: Floats) -> Floats:
        nonlocal best, least
        _, picks = _dual(layers, limit, trial)
        used = np.sum([c[j] for (_, c), j in zip(layers, picks, strict=True)], axis=0)
        loss = sum(float(x[j]) for (x, _), j in zip(layers, picks, strict=True))
        if (used <= limit).all() and loss < least:
            best, least = picks, loss
        return np.asarray(used)

    span = max(1e-12, sum(float(np.ptp(x)) for x, _ in layers))
    steepest = np.array([_steepest(layers, r, span) for r in range(len(limit))])
    if (visit(prices) <= limit).all():
        return prices, best
    for _ in range(_ROUNDS if len(limit) > 1 else 1):
        before = prices.copy()
        for r in range(len(limit)):
            low, high = 0.0, steepest[r]
            trial = prices.copy()
            trial[r] = 0.0
            if visit(trial)[r] <= limit[r]:
                prices = trial
                continue
            for _ in range(50):
                trial[r] = middle = 0.5 * (low + high) if low == 0 else np.sqrt(low * high)
                if visit(trial)[r] > limit[r]:
                    low = middle
                else:
                    high = middle
                if high - low <= 1e-6 * high:
                    break
            prices = trial.copy()
            prices[r] = high
        if np.allclose(prices, before, rtol=1e-4):
            break
    return prices, best


def _steepest(layers: Sequence[tuple[Floats, Floats]], resource: int, span: float) -> float:
    """A price at which nothing of a resource is bought that need not be."""
    gaps = [np.diff(np.unique(c[:, resource])) for _, c in layers]
    steps = [float(g[g > 0].min()) for g in gaps if (g > 0).any()]
    return 2 * span / min(steps) if steps else 1.0


def _dynamic_program(
    layers: Sequence[tuple[Floats, Floats]],
    limit: Floats,
    prices: Floats,
    first: list[int] | None,
) -> tuple[list[int], bool] | None:
    """Sums of the first layers' choices that may still become the best."""
    count = len(layers)
    least = [np.zeros(len(limit))]  # of the resources, for the layers behind
    ahead = [0.0]  # priced loss of the layers behind
    for losses, costs in reversed(layers):
        least.append(least[-1] + costs.min(axis=0))
        ahead.append(ahead[-1] + float((losses + costs @ prices).min()))
    least, ahead = least[::-1], ahead[::-1]
    most = np.inf
    if first is not None:
        most = sum(float(x[j]) for (x, _), j in zip(layers, first, strict=True))
    room = limit * (1 + _SLACK)
    loss, used = np.zeros(1), np.zeros((1, len(limit)))
    parents: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
    exact = True
    for i, (losses, costs) in enumerate(layers):
        new_loss = (loss[:, None] + losses).ravel()
        new_used = (used[:, None] + costs).reshape(-1, len(limit))
        bound = new_loss + new_used @ prices + ahead[i + 1] - float(prices @ limit)
        alive = (new_used + least[i + 1] <= room).all(axis=1)
        alive &= bound <= most + _SLACK * max(1.0, abs(most))
        index = np.flatnonzero(alive)
        if not len(index):
            return None if first is None else (first, exact)
        if len(index) > 4 * _MOST_STATES and len(limit) > 1:
            exact = False
            index = index[np.argpartition(bound[index], 4 * _MOST_STATES)[: 4 * _MOST_STATES]]
        index = index[_front(new_loss[index], new_used[index])]
        if len(index) > _MOST_STATES:
            exact = False
            best = np.argpartition(bound[index], _MOST_STATES)[:_MOST_STATES]
            index = index[best]
        loss, used = new_loss[index], new_used[index]
        parents.append((index // len(losses), index % len(losses)))
    at, picks = int(loss.argmin()), []
    if first is not None and float(loss[at]) > most:
        return first, exact
    for i in reversed(range(count)):
        previous, choice = parents[i]
        picks.append(int(choice[at]))
        at = int(previous[at])
    return picks[::-1], exact


def _front(loss: Floats, used: Floats) -> NDArray[np.int64]:
    """States that no other one beats; with several resources, twins alone are dropped."""
    order = np.lexsort([loss, *used.T[::-1]])
    if used.shape[1] == 1:
        sorted_loss = loss[order]
        before = np.concatenate([[np.inf], np.minimum.accumulate(sorted_loss)[:-1]])
        return np.asarray(order[sorted_loss < before])
    same = (np.diff(used[order], axis=0) == 0).all(axis=1)
    return np.asarray(order[np.concatenate([[True], ~same])])


__all__ = ["Allocation", "allocate_budgets"]
