"""k-means of weights beside scikit-learn, kmeans1d, faiss and Lloyd's iteration in NumPy.

Quality is the excess of the squared error over the best of the run. ``--isas`` runs the kernels
`best_splits`, `count_in_bins`, `count_companded` and `assign_nearest` per level. Peers run once
where they take seconds; kmeans1d (optimal) only up to a million values and k = 16.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

import tersor
from benchmarks.harness import machine
from tersor.codebook import kmeans

Contender = Callable[[], tuple[Any, Any]]  # centroids, indices


def contenders(w: Any, k: int, threads: int) -> dict[str, Contender]:
    """Every way to cluster `w`, from the arrays that it takes."""
    found: dict[str, Contender] = {}

    def ours(**kwargs: Any) -> Contender:
        def call() -> tuple[Any, Any]:
            c = kmeans(w, k, **kwargs)
            return c.centroids, c.indices

        return call

    found["tersor exact"] = ours()
    if w.size <= 1_000_000:
        found["tersor exact on all values"] = ours(max_points=w.size)
    found["tersor lloyd k-means++"] = ours(algorithm="lloyd", init="k-means++")
    if k < 64:
        found["tersor lloyd linear"] = ours(algorithm="lloyd", init="linear")
    found["numpy lloyd linear"] = lambda: numpy_lloyd(w, k)
    column = w.reshape(-1, 1)
    try:
        from sklearn.cluster import KMeans
    except ImportError:
        pass
    else:
        start = np.linspace(w.min(), w.max(), k).reshape(-1, 1).astype(np.float32)

        def sklearn() -> tuple[Any, Any]:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model = KMeans(k, init=start, n_init=1).fit(column)
            return model.cluster_centers_.ravel(), model.labels_

        found["scikit-learn linear"] = sklearn
    try:
        import faiss
    except ImportError:
        pass
    else:
        faiss.omp_set_num_threads(threads)

        def run_faiss() -> tuple[Any, Any]:
            model = faiss.Kmeans(1, k, niter=25, max_points_per_centroid=w.size, seed=1)
            model.train(column)
            return model.centroids.ravel(), model.index.search(column, 1)[1].ravel()

        found["faiss"] = run_faiss
    if w.size * k <= 16_000_000 or (w.size <= 100_000 and k <= 256):
        try:
            import kmeans1d
        except ImportError:
            pass
        else:

            def optimal() -> tuple[Any, Any]:
                labels, centers = kmeans1d.cluster(w, k)
                return np.asarray(centers), np.asarray(labels)

            found["kmeans1d"] = optimal
    return found


def numpy_lloyd(w: Any, k: int, iterations: int = 25) -> tuple[Any, Any]:
    """What a short script does: searchsorted and bincount."""
    centers = np.linspace(w.min(), w.max(), k)
    for _ in range(iterations):
        codes = np.searchsorted((centers[1:] + centers[:-1]) / 2, w)
        counts = np.bincount(codes, minlength=k)
        sums = np.bincount(codes, w, k)
        centers = np.where(counts > 0, sums / np.maximum(counts, 1), centers)
        centers.sort()
    return centers, np.searchsorted((centers[1:] + centers[:-1]) / 2, w)


def squared_error(w: Any, centroids: Any, indices: Any) -> float:
    """In float64."""
    d = w.astype(np.float64) - np.asarray(centroids, np.float64)[indices]
    return float(d @ d)


def measure(call: Contender, repeat: int) -> tuple[float, float]:
    """Median and minimum in seconds; calls of a second and more run once, as they stand."""
    times = []
    for _ in range(repeat + 1):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
        if sum(times) > 10 or times[0] > 1:
            break
    times = times[1:] or times
    return float(np.median(times)), min(times)


def run(n: int, k: int, threads: int, repeat: int, peers: bool) -> list[dict[str, Any]]:
    """One size: rows of plain data."""
    w = np.random.default_rng(0).normal(size=n).astype(np.float32)
    rows = []
    for name, call in contenders(w, k, threads).items():
        if not peers and not name.startswith("tersor"):
            continue
        error = squared_error(w, *call())
        median, least = measure(call, repeat)
        rows.append({"n": n, "k": k, "contender": name, "median_s": median, "min_s": least,
                     "error": error})  # fmt: skip
    best = min(row["error"] for row in rows)
    for row in rows:
        row["excess"] = row["error"] / best - 1
    return rows


def main() -> None:
    """Command line."""
    import json
    from pathlib import Path

    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=21)
    parser.add_argument("--sizes", type=int, nargs="*", default=[100_000, 1_000_000, 10_000_000])
    parser.add_argument("--k", type=int, nargs="*", default=[16, 256])
    parser.add_argument("--isas", action="store_true", help="every level, without peers")
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--json", type=Path, help="file to write")
    args = parser.parse_args()
    tersor.set_threads(args.threads)
    rows = []
    print("| n | k | contender | median ms | min ms | excess error |\n|--:|--:|---|--:|--:|--:|")
    for level in tersor.supported_isas() if args.isas else [""]:
        tersor.force_isa(level)
        for n in args.sizes:
            for k in args.k:
                peers = not (args.no_peers or level)
                for row in run(n, k, args.threads, args.repeat, peers):
                    name = row["contender"] = row["contender"] + (f" [{level}]" if level else "")
                    times = f"{1e3 * row['median_s']:.2f} | {1e3 * row['min_s']:.2f}"
                    print(f"| {n:,} | {k} | {name} | {times} | {row['excess']:.2g} |", flush=True)
                    rows.append(row)
    if args.json:
        result = {"benchmark": "kmeans", "threads": args.threads, "machine": machine()}
        args.json.write_text(json.dumps({**result, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
