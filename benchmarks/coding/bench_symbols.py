"""Codes of ResNet-20 through tersor's coders and general compressors: bytes and decoding speed.

    python -m benchmarks.coding.bench_symbols [--model PATH.safetensors] [--json OUT]

Needs the weights of a network as safetensors (TERSOR_DATA/models/resnet20-cifar10.safetensors by
default) and takes brotli, zstandard and deepCABAC where they are installed. Sizes are payload bytes
summed over the tensors, each coded alone by tersor and deepCABAC; the general compressors get all
tensors as one stream of packed codes, which favours them. Speed is weights decoded per second on
one core (CPU time, the fastest of several runs), a row of small tensors and a large one.
"""

from __future__ import annotations

import argparse
import importlib
import json
import lzma
import os
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import tersor
from benchmarks.harness import machine
from tersor import codebook, coding, quantization

METHODS = ("huffman", "rans", "rice", "range", "fast", "small")
LARGE = 1 << 24  # weights of the large tensor


def weights(path: Path) -> dict[str, np.ndarray]:
    """Convolutions and dense layers."""
    from safetensors.numpy import load_file

    return {name: w for name, w in load_file(path).items() if w.ndim >= 2}


def pruned(tensors: dict[str, np.ndarray], sparsity: float) -> dict[str, np.ndarray]:
    """Keep the largest magnitudes of all tensors together."""
    threshold = np.quantile(np.concatenate([np.abs(w).ravel() for w in tensors.values()]), sparsity)
    return {name: np.where(np.abs(w) > threshold, w, 0) for name, w in tensors.items()}


def clustered(w: np.ndarray) -> np.ndarray:
    """Indices of the 16 best centroids in ascending order; 0 is one of them where w is pruned."""
    result = codebook.kmeans(w.astype(np.float32), 16)
    rank = np.argsort(np.argsort(np.asarray(result.centroids).ravel()))
    return rank[np.asarray(result.indices)].astype(np.uint8).reshape(w.shape)


def int8(w: np.ndarray) -> np.ndarray:
    """Symmetric codes per filter."""
    top = np.abs(w).reshape(len(w), -1).max(1).reshape(-1, *[1] * (w.ndim - 1))
    return np.rint(w / np.where(top == 0, 1, top) * 127).astype(np.int8)


def workloads(path: Path) -> dict[str, list[np.ndarray]]:
    """Name of a set of tensors -> their codes."""
    dense = weights(path)
    p75, p90 = pruned(dense, 0.75), pruned(dense, 0.9)
    return {
        "dense k=16": [clustered(w) for w in dense.values()],
        "75 % pruned k=16": [clustered(w) for w in p75.values()],
        "90 % pruned k=16": [clustered(w) for w in p90.values()],
        "dense int8": [int8(w) for w in dense.values()],
        "75 % pruned int8": [int8(w) for w in p75.values()],
    }


def payload(codes: np.ndarray, method: str) -> int:
    """Bytes without dtype, shape and checksum, which a file holds elsewhere."""
    from tersor import _core

    flat = np.ascontiguousarray(codes).reshape(-1).view(np.uint8)
    flat = flat ^ np.uint8(0x80) if codes.dtype == np.int8 else flat
    row = codes.size // codes.shape[0]
    return len(_core.coding.encode(flat, method, row, row // codes.shape[1]))


def seconds(call: Callable[[], Any], repeats: int = 7) -> float:
    """CPU time of the fastest run."""
    best = float("inf")
    for _ in range(repeats):
        start = time.process_time()
        call()
        best = min(best, time.process_time() - start)
    return best


def compressors() -> dict[str, tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]]:
    """General compressors that are installed, at their largest settings."""
    found = {
        "zlib 9": (lambda b: zlib.compress(b, 9), zlib.decompress),
        "xz 9e": (lambda b: lzma.compress(b, preset=9 | lzma.PRESET_EXTREME), lzma.decompress),
    }
    try:
        zstd = importlib.import_module("zstandard")
        found["zstd 22"] = (
            lambda b: zstd.ZstdCompressor(level=22).compress(b),
            lambda b: zstd.ZstdDecompressor().decompress(b),
        )
    except ImportError:
        pass
    try:
        brotli = importlib.import_module("brotli")
        found["brotli 11"] = (lambda b: brotli.compress(b, quality=11, lgwin=24), brotli.decompress)
    except ImportError:
        pass
    return found


def deep_cabac(tensors: list[np.ndarray]) -> tuple[int, float] | None:
    """Bytes and seconds to decode of the reference coder of neural-network coding."""
    try:
        module = importlib.import_module("deepCABAC")
    except ImportError:
        return None
    total, spent = 0, 0.0
    for codes in tensors:
        values = codes.astype(np.int32)
        if codes.dtype == np.uint8:  # the commonest code is its 0
            values -= int(np.bincount(codes.ravel()).argmax())
        encoder = module.Encoder()
        encoder.encodeWeightsRD(values.astype(np.float32), 1.0, 1.0, 0.0)
        stream = encoder.finish()
        total += stream.size
        start = time.process_time()
        decoder = module.Decoder()
        decoder.getStream(stream)
        decoder.decodeWeights()
        spent += time.process_time() - start
    return total, spent


def measure(tensors: list[np.ndarray]) -> list[dict[str, Any]]:
    """Rows of one table."""
    count = sum(t.size for t in tensors)
    floor = sum(t.size * coding.entropy(t) for t in tensors) / 8
    rows = [{"coder": "order-0 entropy", "bytes": round(floor)}]
    large = np.resize(np.concatenate([t.ravel() for t in tensors]), LARGE).reshape(-1, 4096)
    for method in METHODS:
        buffers = [coding.encode(t, method) for t in tensors]
        row: dict[str, Any] = {"coder": f"tersor {method}"}
        row["bytes"] = sum(payload(t, method) for t in tensors)
        spent = seconds(lambda b=buffers: [coding.decode(x) for x in b])
        row["M/s"] = count / spent / 1e6
        if method not in ("range", "small"):
            buffer = coding.encode(large, method)
            row["M/s large"] = LARGE / seconds(lambda b=buffer: coding.decode(b), 5) / 1e6
        rows.append(row)
    nibbles = tensors[0].dtype == np.uint8
    packed = b"".join(
        (quantization.pack_bits(t.ravel(), 4) if nibbles else t).tobytes() for t in tensors
    )
    for name, (compress, decompress) in compressors().items():
        data = compress(packed)
        spent = seconds(lambda f=decompress, d=data: f(d))
        rows.append({"coder": name, "bytes": len(data), "M/s": count / spent / 1e6})
    peer = deep_cabac(tensors)
    if peer:
        rows.append({"coder": "deepCABAC", "bytes": peer[0], "M/s": count / peer[1] / 1e6})
    return rows


def main() -> None:
    """Print tables, write JSON."""
    default = Path(os.environ.get("TERSOR_DATA", ".")) / "models" / "resnet20-cifar10.safetensors"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=default)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    tersor.set_threads(1)
    report: dict[str, Any] = {"machine": machine(), "tables": {}}
    for name, tensors in workloads(options.model).items():
        rows = measure(tensors)
        report["tables"][name] = rows
        print(f"\n{name}: {sum(t.size for t in tensors):,} weights")
        for row in rows:
            speeds = [f"{row[k]:10.1f}" if k in row else " " * 10 for k in ("M/s", "M/s large")]
            print(f"  {row['coder']:18s} {row['bytes']:9,} bytes {' '.join(speeds)}")
    if options.json:
        options.json.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
