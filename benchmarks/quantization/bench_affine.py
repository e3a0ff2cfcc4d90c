"""Affine int8 quantization: tersor, NumPy, PyTorch."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from benchmarks.harness import Case, main
from tersor.quantization import dequantize_affine, quantize_affine

SCALE = np.float32(0.1)


def cases() -> Iterator[Case]:
    """256 KB and 16 MB per tensor; a 3x3 convolution's weights and activations per channel."""
    try:
        import torch
    except ImportError:
        torch = None
    rng = np.random.default_rng(0)
    for n in (1 << 16, 1 << 22):
        x = rng.normal(size=n).astype(np.float32)
        q, y = np.empty(n, np.int8), np.empty(n, np.float32)
        quantizers = {
            "numpy": lambda x=x: np.clip(np.rint(x / SCALE), -128, 127).astype(np.int8),
            "tersor": lambda x=x, q=q: quantize_affine(x, SCALE, out=q),
        }
        dequantizers = {
            "numpy": lambda q=q: q.astype(np.float32) * SCALE,
            "tersor": lambda q=q, y=y: dequantize_affine(q, SCALE, out=y),
        }
        if torch is not None:
            tx = torch.from_numpy(x)
            tq = torch.quantize_per_tensor(tx, 0.1, 0, torch.qint8)
            quantizers["torch"] = lambda tx=tx: torch.quantize_per_tensor(tx, 0.1, 0, torch.qint8)
            dequantizers["torch"] = tq.dequantize
        yield Case("quantize_affine", {"n": n}, quantizers, bytes=5 * n)
        yield Case("dequantize_affine", {"n": n}, dequantizers, bytes=5 * n)
    for shape, axis in (((64, 64, 56, 56), 1), ((64, 56, 56, 64), 3), ((512, 4608), 0)):
        x = rng.normal(size=shape).astype(np.float32)
        q = np.empty(shape, np.int8)
        scale = rng.uniform(0.01, 0.1, shape[axis]).astype(np.float32)
        along = scale.reshape([-1 if i == axis else 1 for i in range(len(shape))])
        contenders = {
            "numpy": lambda x=x, s=along: np.clip(np.rint(x / s), -128, 127).astype(np.int8),
            "tersor": lambda x=x, s=scale, a=axis, q=q: quantize_affine(x, s, axis=a, out=q),
        }
        sizes = {"shape": list(shape), "axis": axis}
        yield Case("quantize_affine", sizes, contenders, bytes=5 * x.size)


if __name__ == "__main__":
    main(__doc__, cases)
