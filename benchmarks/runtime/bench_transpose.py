"""Changes of layout: [N, C, H, W] to [N, H, W, C] and back, float32 and int8.

The call of a session, about 2 us, is part of the figure.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

import tersor
from benchmarks.harness import Case, main

SHAPES = [(1, 3, 224, 224), (1, 16, 32, 32), (1, 96, 56, 56), (8, 64, 8, 8)]


def _session(shape: tuple[int, ...], dtype: str, perm: tuple[int, ...]) -> tersor.Session:
    graph = tersor.Graph()
    x = graph.add_input("x", dtype, (None, *shape[1:]))
    graph.set_outputs([graph.add_node("transpose", [x], {"perm": list(perm)})])
    return tersor.Session(graph)


def cases() -> Iterator[Case]:
    """One case per shape, direction and type."""
    for shape in SHAPES:
        for dtype in ("float32", "int8"):
            for perm in ((0, 2, 3, 1), (0, 3, 1, 2)):
                given = shape if perm[1] == 2 else (shape[0], *shape[2:], shape[1])
                x = np.random.default_rng(0).integers(-100, 100, given).astype(dtype)
                session = _session(given, dtype, perm)
                y = session(x)
                contenders = {
                    "numpy": lambda x=x, y=y, perm=perm: np.copyto(y, x.transpose(perm)),
                    "tersor": lambda x=x, y=y, s=session: s(x, out=y),
                }
                try:
                    import torch
                except ImportError:
                    pass
                else:
                    t, u = torch.from_numpy(x), torch.from_numpy(y.copy())
                    contenders["torch"] = lambda t=t, u=u, perm=perm: u.copy_(t.permute(perm))
                sizes = {"shape": "x".join(map(str, given)), "perm": perm, "dtype": dtype}
                yield Case("transpose", sizes, contenders, bytes=2 * x.nbytes)


if __name__ == "__main__":
    main(__doc__, cases)
