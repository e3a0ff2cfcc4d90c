"""Residual blocks that become one convolution each until int8 is fast enough."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...base.threads import get_threads
from ...graph import Graph
from ...runtime import Session
from ..float_twin import float_twin
from ..merged_blocks import find_blocks, merge_blocks
from ..one_layer import own_parameters
from ..rate_distortion import output_divergence
from ..refit import refit_network
from .costs import LatencyMeter, layer_seconds
from .knapsack import allocate_budgets
from .shrink import figures_of, quick_int8
from .task import SearchTask

# Samples by which a network without a block is fitted, and as many others that say what it harms.
_SAMPLES = 192
_MOST_LOOKS = 8
# Sets of blocks that are fitted and compared where the knapsack has named the first.
_MOST_SETS = 5


class Merger:
    """Sets of blocks whose merging keeps limits, least harm first.

    Parameters
    ----------
    task : SearchTask
    batches : sequence of lists of ndarray
        Unlabeled samples.
    meter : LatencyMeter
    """

    def __init__(self, task: SearchTask, batches: Any, meter: LatencyMeter) -> None:
        self._task, self._meter = task, meter
        self._graph = float_twin(task.graph)
        self._blocks = find_blocks(self._graph)
        self._batches, rest = _parts(batches)
        self._others = rest or self._batches
        self._weights: dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]] = {}
        self._harm: dict[str, float] = {}
        self._seconds: dict[str, tuple[float, float]] = {}
        self._joint: dict[tuple[str, ...], float] = {}

    @property
    def names(self) -> list[str]:
        """Of all blocks."""
        return list(self._blocks)

    def merged(self, names: Any) -> Graph:
        """Return the network with blocks merged, each fitted by itself.

        Parameters
        ----------
        names : iterable of str

        Returns
        -------
        Graph
        """
        return merge_blocks(self._graph, names, self._weights)

    def choose(self, line: str, limit: float, usual: float) -> tuple[str, ...] | None:
        """Choose the blocks that harm least and bring a figure of the int8 network to a limit.

        Parameters
        ----------
        line : {"latency", "energy"}
        limit : float
            In its unit.
        usual : float
            The figure of the whole int8 network, as it counts: those of others are taken as shares
            of what it takes here.

        Returns
        -------
        tuple of str or None
            Names, in the order of execution; None where merging all of them is not enough.
        """
        if not self._blocks:
            return None
        self._measure()
        if usual <= limit:
            return ()
        unit = usual / self._figure(line, ())
        scale = usual / max(1e-30, sum(self._whole.values()))
        fixed = usual - scale * sum(before for before, _ in self._seconds.values())
        names = list(self._blocks)
        losses = [[0.0, self._harm[name]] for name in names]
        costs = [[[scale * seconds] for seconds in self._seconds[name]] for name in names]
        room = limit - fixed
        for _ in range(_MOST_LOOKS):
            chosen, planned = self._least_harm(losses, costs, room)
            actual = unit * self._figure(line, chosen)
            if actual <= limit:
                return chosen
            if len(chosen) == len(names):
                return None
            # The next set is another one: below what this one was thought to take.
            room = planned - max(actual - limit, 1e-6 * usual)
        return None

    def _least_harm(
        self, losses: list[list[float]], costs: list[list[list[float]]], room: float
    ) -> tuple[tuple[str, ...], float]:
        """The set that harms least of those within a time; what harms together is measured."""
        names = list(self._blocks)
        found: dict[tuple[str, ...], float] = {}
        table = [list(row) for row in losses]
        for _ in range(_MOST_SETS):
            best = allocate_budgets(table, costs, [room])
            choices = [1] * len(names) if best is None else best.choices
            picked = {i for i, choice in enumerate(choices) if choice}
            chosen = tuple(names[i] for i in sorted(picked))
            found[chosen] = sum(costs[i][int(i in picked)][0] for i in range(len(names)))
            if best is None or not picked:
                break
            # Without one of them next time: that which harms most and is not ruled out yet.
            worst = max(picked, key=lambda i: losses[i][1] if table[i][1] == losses[i][1] else -1)
            table[worst][1] = losses[worst][1] + sum(row[1] for row in losses)
        chosen = min(found, key=self._together) if len(found) > 1 else next(iter(found))
        return chosen, found[chosen]

    def _together(self, names: tuple[str, ...]) -> float:
        """What the absence of several blocks does to the network's output."""
        if names not in self._joint:
            small = merge_blocks(self._graph, names, self._weights)
            threads = get_threads()
            refit_network(self._graph, small, {}, self._batches, threads=threads, passes=0)
            got = _outputs(Session(small, threads), self._others)
            self._joint[names] = float(output_divergence(self._wanted, got))
        return self._joint[names]

    def _figure(self, line: str, names: Any) -> float:
        graph = self.merged(names)
        return figures_of(quick_int8(graph, self._batches), self._task, self._meter)[line]

    def _measure(self) -> None:
        """What every block harms and saves."""
        if self._harm:
            return
        threads = get_threads()
        self._wanted = wanted = _outputs(Session(self._graph, threads), self._others)
        for count, (name, block) in enumerate(self._blocks.items()):
            self._task.report("blocks", count, len(self._blocks))
            last = self._graph.nodes[block.chain[-1]].name
            small = merge_blocks(self._graph, [name])
            # The layers behind it are fitted too: they make good what an early block leaves.
            refit_network(self._graph, small, {}, self._batches, threads=threads, passes=0)
            node = next(node for node in small.nodes if node.name == last)
            weight, bias = own_parameters(small, node)
            self._weights[name] = (np.array(weight.constant), np.array(bias.constant))
            got = _outputs(Session(small, threads), self._others)
            self._harm[name] = float(output_divergence(wanted, got))
        self._task.report("blocks", len(self._blocks), len(self._blocks))
        target = self._task.target
        self._whole = layer_seconds(quick_int8(self._graph, self._batches), target)
        after = layer_seconds(quick_int8(self.merged(self._blocks), self._batches), target)
        for name, block in self._blocks.items():
            nodes = [self._graph.nodes[i].name for i in (*block.chain, *block.shortcut)]
            before = sum(self._whole.get(node, 0.0) for node in (*nodes, name))
            self._seconds[name] = (before, after.get(nodes[len(block.chain) - 1], 0.0))


def _parts(batches: Any) -> tuple[list[list[NDArray[Any]]], list[list[NDArray[Any]]]]:
    """The first samples, and as many others."""
    parts: list[list[list[NDArray[Any]]]] = [[], []]
    counts = [0, 0]
    for batch in batches:
        part = 0 if counts[0] < _SAMPLES else 1
        parts[part].append([x[: _SAMPLES - counts[part]] for x in batch])
        counts[part] += len(parts[part][-1][0])
        if counts[1] >= _SAMPLES:
            break
    return parts[0], parts[1]


def _outputs(session: Session, batches: Any) -> NDArray[Any]:
    parts = []
    for batch in batches:
        output = session(*batch)
        parts.append(np.asarray(output[0] if isinstance(output, tuple) else output))
    return np.concatenate(parts)


__all__ = ["Merger"]
