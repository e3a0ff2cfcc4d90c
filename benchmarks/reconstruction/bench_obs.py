"""Second-order pruning of the layers of ResNet-20, beside the same loop in NumPy.

Its kernel is `subtract_outer`; run with ``--isas`` for each level.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.harness import Case, main
from tersor.reconstruction import prune_matrix

SHAPES = ((16, 144), (32, 288), (64, 576))


def row_in_numpy(w: Any, h: Any, count: int) -> Any:
    """Exact Optimal Brain Surgeon for one row."""
    w, inverse, kept = w.copy(), np.linalg.inv(h), np.ones(len(w), bool)
    for _ in range(count):
        p = np.where(kept, w**2 / np.diag(inverse), np.inf).argmin()
        w -= w[p] / inverse[p, p] * inverse[:, p]
        inverse -= np.outer(inverse[:, p], inverse[p]) / inverse[p, p]
        inverse[p, p] = 1
        w[p], kept[p] = 0, False
    return w * kept


def cases() -> Iterator[Case]:
    """One case per layer."""
    for rows, columns in SHAPES:
        rng = np.random.default_rng(0)
        x = rng.normal(size=(4 * columns, columns)) @ rng.normal(size=(columns, columns))
        h, w = x.T @ x / len(x), rng.normal(size=(rows, columns))
        yield Case(
            "prune_matrix",
            {"rows": rows, "columns": columns},
            {
                "numpy, one row": lambda w=w, h=h, c=columns: row_in_numpy(w[0], h, c // 2),
                "tersor, greedy": lambda w=w, h=h: prune_matrix(w, h, 0.5, swaps=0, threads=1),
                "tersor": lambda w=w, h=h: prune_matrix(w, h, 0.5, threads=1),
                "tersor, 2:4": lambda w=w, h=h: prune_matrix(w, h, n_m=(2, 4), threads=1),
                "tersor, 1x4": lambda w=w, h=h: prune_matrix(w, h, 0.5, block=(1, 4), threads=1),
            },
        )


if __name__ == "__main__":
    main(__doc__, cases)
