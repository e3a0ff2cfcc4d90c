"""Requantization of int32 sums to int8 codes: tersor, NumPy."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from benchmarks.harness import Case, main
from tersor.quantization import requantize


def cases() -> Iterator[Case]:
    """A layer of 32 x 32 pixels and 16 channels, one multiplier per channel."""
    rng = np.random.default_rng(0)
    sums = rng.integers(-(2**20), 2**20, (32, 32, 16)).astype(np.int32)
    m = rng.uniform(1e-5, 1e-4, 16)
    codes = np.empty(sums.shape, np.int8)
    m32 = m.astype(np.float32)
    contenders = {
        "numpy": lambda: np.clip(np.rint(sums * m32), -128, 127).astype(np.int8),
        "tersor fast": lambda: requantize(sums, m, out=codes),
        "tersor exact": lambda: requantize(sums, m, arithmetic="exact", out=codes),
    }
    yield Case("requantize", {"shape": list(sums.shape)}, contenders, bytes=5 * sums.size)


if __name__ == "__main__":
    main(__doc__, cases)
