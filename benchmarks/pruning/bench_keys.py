"""Masks of the largest magnitudes, beside NumPy and torch: what pruning while training costs.

`score_keys` and `mask_above` are the kernels behind every mask; run with ``--isas`` for each level.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks.harness import Case, main
from tersor.pruning import block_mask, lamp_scores, magnitude_mask, nm_mask

# Weights of: a ResNet-20 block, all of ResNet-20, a layer of 3072 x 768, all of MobileNetV2.
SIZES = (36_864, 268_336, 2_359_296)


def by_sorting(w: Any) -> Any:
    """What a mask takes in NumPy."""
    magnitudes = np.abs(w)
    kept = w.size // 4
    return magnitudes >= np.partition(magnitudes, w.size - kept)[w.size - kept]


def torch_mask(w: Any) -> Callable[[], Any] | None:
    """The selection behind torch.nn.utils.prune."""
    try:
        import torch
    except ImportError:
        return None
    t = torch.from_numpy(w)

    def run() -> Any:
        mask = torch.ones_like(t)
        mask[torch.topk(t.abs(), w.size - w.size // 4, largest=False).indices] = 0
        return mask

    return run


def cases() -> Iterator[Case]:
    """One case per operation and size."""
    for n in SIZES:
        w = np.random.default_rng(0).normal(size=n).astype(np.float32)
        contenders: dict[str, Callable[[], Any]] = {
            "numpy partition": lambda w=w: by_sorting(w),
            "tersor": lambda w=w: magnitude_mask(w, 0.75),
        }
        peer = torch_mask(w)
        if peer is not None:
            contenders["torch topk"] = peer
        yield Case("magnitude_mask", {"n": n}, contenders, bytes=5 * n)
        rows = w[: n // 64 * 64].reshape(64, -1)
        others: dict[str, Callable[[], Any]] = {
            "tersor block 1x4": lambda r=rows: block_mask(r, 0.75),
            "tersor 2:4": lambda r=rows: nm_mask(r, 2, 4),
            "tersor lamp": lambda r=rows: lamp_scores(r),
        }
        yield Case("other masks", {"n": n}, others, bytes=5 * n)


if __name__ == "__main__":
    main(__doc__, cases)
