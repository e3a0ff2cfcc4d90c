"""Dense layers on 4-bit indices into a table against float32 products.

Kernels `lookup_columns`, with its `lookup_products`, and `lookup_dense`; `nearest_vectors` for
product codebooks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks.harness import Case, main
from benchmarks.quantization.bench_gemv import _decibels, _floats
from tersor.codebook import Codebook, LookupDense, product_kmeans
from tersor.quantization import DenseCodes, choose_qparams, quantize

SHAPES = ((4096, 1024), (4096, 4096))  # outputs, inputs


def cases() -> Iterator[Case]:
    """Every shape at batch 1, then the assignment of product codebooks (nearest_vectors)."""
    for outputs, inputs in SHAPES:
        rng = np.random.default_rng(0)
        table = np.sort(rng.normal(size=16) / inputs**0.5).astype(np.float32)
        codes = rng.integers(0, 16, (outputs, inputs)).astype(np.uint8)
        book = Codebook(table, codes, 0.0)
        w = book.decode()
        x = rng.normal(size=(1, inputs)).astype(np.float32)
        y = np.empty((1, outputs), np.float32)
        q = choose_qparams(w, bits=4, axis=0)
        # One table: packed as columns of products (lookup_columns) where that is faster.
        layer, uniform = LookupDense(book), DenseCodes(quantize(w, q), q)
        pair = Codebook(np.stack([table] * 2), codes, 0.0, axis=0, group_size=outputs // 2)
        rows = LookupDense(pair)
        contenders = _floats(w, x)
        contenders[f"tersor {layer.kernel}"] = lambda f=layer, x=x, y=y: f(x, out=y)
        contenders[f"tersor {rows.kernel}, 2 tables"] = lambda f=rows, x=x, y=y: f(x, out=y)
        contenders["tersor dense_codes int4 (rounded)"] = lambda f=uniform, x=x, y=y: f(x, out=y)
        wanted = x.astype(np.float64) @ w.T.astype(np.float64)
        quality = {n: _decibels(wanted, f()) for n, f in contenders.items()}
        yield Case(
            "lookup_dense",
            {"outputs": outputs, "inputs": inputs, "rows": 1},
            contenders,
            operations=2 * outputs * inputs,
            baseline="torch fp32" if "torch fp32" in contenders else "numpy fp32",
            quality=quality,
        )
    w = np.random.default_rng(0).normal(size=400_000).astype(np.float32)
    for dim in (2, 4, 8):
        products: dict[str, Callable[[], Any]] = {
            "tersor product_kmeans": lambda dim=dim: product_kmeans(w, 256, dim=dim)
        }
        products |= _faiss(w, dim)
        yield Case("nearest_vectors", {"n": w.size, "dim": dim, "k": 256}, products)


def _faiss(w: Any, dim: int) -> dict[str, Callable[[], Any]]:
    try:
        import faiss
    except ImportError:
        return {}
    rows = w.reshape(-1, dim)

    def run() -> Any:
        model = faiss.Kmeans(dim, 256, niter=25, max_points_per_centroid=len(rows), seed=1)
        model.train(rows)
        return model.index.search(rows, 1)[1]

    return {"faiss": run}


if __name__ == "__main__":
    main(__doc__, cases)
