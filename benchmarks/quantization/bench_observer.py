"""Observers (min_max, histogram) and range_search: tersor, NumPy, PyTorch."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from benchmarks.harness import Case, main
from tersor import _core
from tersor.quantization import HistogramObserver, choose_qparams


def numpy_mse(x: np.ndarray, candidates: int = 71) -> float:
    """Least squared error over scales shrunk in steps of 1 %, as choose_qparams searches."""
    largest = np.abs(x).max() / 127
    errors = []
    for k in range(candidates):
        scale = largest * np.float32(1 - k / 100)
        errors.append(np.square(np.clip(np.rint(x / scale), -127, 127) * scale - x).sum())
    return float(np.argmin(errors))


def cases() -> Iterator[Case]:
    """256 KB and 16 MB of activations after ReLU; the weights of a 3x3 convolution."""
    try:
        import torch
        from torch.ao.quantization.observer import HistogramObserver as TorchHistogram
    except ImportError:
        torch = None
    rng = np.random.default_rng(0)
    for n in (1 << 16, 1 << 22):
        x = np.maximum(rng.normal(size=n), 0).astype(np.float32)
        ranges = {
            "numpy": lambda x=x: (x.min(), x.max()),
            "tersor": lambda x=x: _core.quantization.min_max(x),
        }
        observer = HistogramObserver().observe(x)
        histograms = {
            "numpy": lambda x=x: np.histogram(x, 2048, (0.0, 6.0)),
            "tersor": lambda x=x, observer=observer: observer.observe(x),
        }
        if torch is not None:
            tx = torch.from_numpy(x)
            ranges["torch"] = lambda tx=tx: torch.aminmax(tx)
            peer = TorchHistogram(bins=2048)
            histograms["torch observer"] = lambda tx=tx, peer=peer: peer(tx)
            histograms["torch.histc"] = lambda tx=tx: torch.histc(tx, 2048, 0.0, 6.0)
        yield Case("min_max", {"n": n}, ranges, bytes=4 * n)
        yield Case("histogram", {"n": n}, histograms, bytes=4 * n)
    w = rng.normal(size=(64, 1024)).astype(np.float32)
    searches = {
        "numpy": lambda: [numpy_mse(row) for row in w],
        "tersor": lambda: choose_qparams(w, axis=0, method="mse"),
    }
    sizes = {"shape": list(w.shape), "candidates": 71}
    yield Case("quantization_error", sizes, searches, bytes=4 * w.size)
    seen = HistogramObserver("entropy").observe(np.maximum(rng.normal(size=1 << 20), 0))
    yield Case("entropy_range", {"bins": len(seen.counts)}, {"tersor": seen.qparams})


if __name__ == "__main__":
    main(__doc__, cases)
