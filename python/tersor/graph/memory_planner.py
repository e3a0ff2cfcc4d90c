"""Offsets of buffers in one arena. Native half: ``cpp/tersor/graph/memory_planner.h``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import _core


def plan_memory(
    buffers: Sequence[tuple[int, int, int]],
    *,
    alignment: int = 64,
    overlaps: Sequence[tuple[int, int, int]] = (),
    node_limit: int = 20000,
) -> Any:
    """Place buffers in one block of memory, as low as possible.

    Parameters
    ----------
    buffers : sequence of (bytes, first, last)
        Size of each buffer and the first and last step (inclusive) at which it is alive.
    alignment : int, default 64
        Offsets are multiples of it, in bytes, > 0.
    overlaps : sequence of (a, b, distance)
        Buffer `a`, written while `b` is read, may share memory with it when
        ``offset[b] >= offset[a] + distance``.
    node_limit : int, default 20000
        Nodes that the search visits at most after the greedy placement; 0 for greedy only.

    Returns
    -------
    MemoryPlan
        With `offsets` (list of int, bytes), `total_bytes`, `lower_bound_bytes` (most bytes alive
        at one step) and `optimal` (whether no smaller arena exists, as far as proved).

    Raises
    ------
    ValueError
        If a size is negative, a lifetime ends before it starts, or an overlap names no buffer.

    Examples
    --------
    >>> from tersor.graph.memory_planner import plan_memory
    >>> plan = plan_memory([(100, 0, 1), (50, 1, 2), (100, 2, 3)], alignment=1)
    >>> plan.offsets, plan.total_bytes, plan.optimal
    ([0, 100, 0], 150, True)
    """
    return _core.graph.plan_memory(list(buffers), alignment, list(overlaps), node_limit)


__all__ = ["plan_memory"]
