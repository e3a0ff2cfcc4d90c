"""How many channels every part of a network keeps under a budget."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..graph import Graph
from .removal_order import LAYERS, RemovalOrder


class RemovalPlan:
    """A network's units in one order: those first whose absence costs least for what they save.

    Every prefix of it is a network; a longer one is smaller. Units of a class go in chunks, so that
    a multiple of `multiple` stays.

    Parameters
    ----------
    graph : Graph
    channels : Channels
    orders : sequence of RemovalOrder
    multiple : int
    by : {"macs", "parameters"} or mapping of str to float
        What counts as saved; what a layer costs as it is, by its node's name: a share of its
        channels costs that share.
    """

    def __init__(
        self,
        graph: Graph,
        channels: Any,
        orders: Sequence[RemovalOrder],
        multiple: int,
        by: str | Mapping[str, float],
    ) -> None:
        self.units = len(channels.units)
        self._chunks: list[NDArray[np.int64]] = []
        self._classes: list[int] = []
        costs = _Costs(graph, channels, orders, by)
        sizes = [_chunk_sizes(len(order.units), multiple) for order in orders]
        position = [0] * len(orders)  # chunks gone
        gone = [0] * len(orders)  # units gone
        while True:
            best, price = -1, np.inf
            chunk = [s[p] if p < len(s) else 0 for s, p in zip(sizes, position, strict=True)]
            saved = costs.saved(chunk)
            for c, order in enumerate(orders):
                if not chunk[c] or saved[c] <= 0:
                    continue
                added = order.errors[gone[c] + chunk[c]] - order.errors[gone[c]]
                if added / saved[c] < price:
                    best, price = c, added / saved[c]
            if best < 0:
                break
            self._chunks.append(orders[best].units[gone[best] : gone[best] + chunk[best]])
            self._classes.append(best)
            costs.remove(best, chunk[best])
            position[best] += 1
            gone[best] += chunk[best]

    def __len__(self) -> int:
        return len(self._chunks)

    def keep(self, steps: Iterable[int]) -> NDArray[np.bool_]:
        """Return which units stay.

        Parameters
        ----------
        steps : iterable of int
            That are made.

        Returns
        -------
        ndarray of bool, shape (units,)
        """
        mask = np.ones(self.units, np.bool_)
        for step in steps:
            mask[self._chunks[step]] = False
        return mask

    def fit(self, meets: Callable[[NDArray[np.bool_]], bool]) -> NDArray[np.bool_]:
        """Return which units stay in the largest network found that meets a budget.

        The least prefix of the order, but for what it removes beyond the budget: its last steps may
        be large ones. Step by step, from the last one back, what still fits returns.

        Parameters
        ----------
        meets : callable
            From units that stay to whether that is small enough; true if all steps are made.

        Returns
        -------
        ndarray of bool, shape (units,)
        """
        low, high = -1, len(self)  # high meets the budget
        while high - low > 1:
            middle = (low + high) // 2
            if meets(self.keep(range(middle))):
                high = middle
            else:
                low = middle
        made, closed = list(range(high)), set()
        for step in reversed(range(high)):
            without = [other for other in made if other != step]
            if self._classes[step] in closed:
                continue
            if meets(self.keep(without)):
                made = without
            else:
                closed.add(self._classes[step])  # its units return in order
        return self.keep(made)


def _chunk_sizes(count: int, multiple: int) -> list[int]:
    """Sizes of the chunks in which `count` units go, so that multiples, and one at least, stay."""
    rest = count % multiple
    sizes = [rest] if rest else []
    whole = (count - rest) // multiple
    return sizes + [multiple] * (whole - 1) if whole else []


class _Costs:
    """MACs, parameters or time of the layers as channels go."""

    def __init__(
        self,
        graph: Graph,
        channels: Any,
        orders: Sequence[RemovalOrder],
        by: str | Mapping[str, float],
    ) -> None:
        layers = [n for n, node in enumerate(graph.nodes) if node.op in LAYERS]
        at = {n: i for i, n in enumerate(layers)}
        size = len(layers)
        self._base, self._tied = np.zeros(size), np.zeros(size, np.bool_)
        self._in, self._out = np.ones(size), np.ones(size)
        self._reads, self._makes = np.zeros((len(orders), size)), np.zeros((len(orders), size))
        for n, i in at.items():
            node, edges = graph.nodes[n], graph.edges
            weight = edges[node.inputs[1]].shape
            if isinstance(by, str):
                self._base[i] = graph.macs_of(n) if by == "macs" else np.prod(weight)
            else:
                self._base[i] = by.get(node.name, 0.0)
            dense = node.op == "dense"
            self._in[i] = edges[node.inputs[0]].shape[-1 if dense else 1]
            self._out[i] = edges[node.outputs[0]].shape[-1 if dense else 1]
            self._tied[i] = not dense and node.attributes["groups"] == self._in[i] > 1
        for c, order in enumerate(orders):
            unit = channels.units[int(order.units[0])]
            for n, count in Counter(n for n, _ in unit.read).items():
                self._reads[c, at[n]] = count
            for n, count in Counter(n for n, _ in unit.made).items():
                self._makes[c, at[n]] = count
        self._in0, self._out0 = self._in.copy(), self._out.copy()

    def _total(self, reads: NDArray[Any], makes: NDArray[Any]) -> NDArray[Any]:
        share = makes / self._out0 * np.where(self._tied, 1.0, reads / self._in0)
        return np.asarray((self._base * share).sum(axis=-1))

    def saved(self, sizes: Sequence[int]) -> NDArray[np.float64]:
        """What the next chunk of each class saves."""
        count = np.asarray(sizes, np.float64)[:, None]
        after = self._total(self._in - count * self._reads, self._out - count * self._makes)
        return np.asarray(self._total(self._in, self._out) - after)

    def remove(self, index: int, size: int) -> None:
        """Take a chunk away."""
        self._in -= size * self._reads[index]
        self._out -= size * self._makes[index]


__all__ = ["RemovalPlan"]
