"""Inputs for timing."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def random_inputs(graph: Any, batch: int, *, seed: int = 0) -> list[NDArray[Any]]:
    """Return inputs for timing: normal numbers, or small integers where integers are wanted.

    Parameters
    ----------
    graph : Graph
    batch : int
        Rows, for inputs with an open batch.
    seed : int

    Returns
    -------
    list of ndarray
        One per input of the graph.
    """
    random = np.random.default_rng(seed)
    edges = graph.edges
    arrays = []
    for edge in (edges[i] for i in graph.input_ids):
        shape = [batch if length is None else length for length in edge.shape]
        if edge.dtype in ("float32", "float16", "bfloat16"):
            arrays.append(random.standard_normal(shape, dtype=np.float32))
        else:
            arrays.append(random.integers(0, 2, shape).astype(edge.dtype))
    return arrays


__all__ = ["random_inputs"]
