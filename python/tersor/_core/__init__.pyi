# Written by tests/bindings/write_stubs.py (pybind11 3.1, pybind11-stubgen 3.0.0).
"""Native half of tersor; one submodule per room of cpp/tersor."""

from __future__ import annotations

from . import (
    artifact,
    base,
    codebook,
    codegen,
    coding,
    distillation,
    graph,
    pruning,
    quantization,
    reconstruction,
    runtime,
    sparse,
)

__all__: list[str] = [
    "artifact",
    "base",
    "codebook",
    "codegen",
    "coding",
    "distillation",
    "graph",
    "pruning",
    "quantization",
    "reconstruction",
    "runtime",
    "sparse",
]
