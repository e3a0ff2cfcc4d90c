"""tersor: compress neural networks.

``import tersor`` loads NumPy and the native extension; everything else is loaded on first use.
"""

from __future__ import annotations

import importlib
from typing import Any

from . import _core

__version__: str = _core.base.version()

# Public name -> module that defines it. A submodule is reached by its own name without a line here.
_EXPORTS: dict[str, str] = {
    # base
    "ArtifactError": "base.error",
    "BudgetError": "base.error",
    "DeviceError": "base.error",
    "Error": "base.error",
    "GraphError": "base.error",
    "UnsupportedError": "base.error",
    "config": "base.config",
    "get_cmake_dir": "base.config",
    "get_include": "base.config",
    "show_config": "base.config",
    "active_isa": "base.isa",
    "force_isa": "base.isa",
    "supported_isas": "base.isa",
    "get_threads": "base.threads",
    "set_threads": "base.threads",
    # networks
    "Graph": "graph.graph",
    "ImportFormatError": "importers.errors",
    "load": "compress.load",
    "from_torch": "importers.torch",
    "from_keras": "importers.keras",
    # execution
    "Session": "runtime.session",
    "simulate": "runtime.session",
    # targets and data
    "Budget": "targets.budget",
    "Target": "targets.target",
    "Preprocess": "data.preprocess",
    # measurement
    "Report": "report.report",
    "compare": "report.compare",
    # compression; `tersor.compress` is a room that can be called
    "CompressedModel": "compress.model",
    "Recipe": "compress.recipe",
    "advise": "compress.advise",
    "sensitivity": "compress.sensitivity",
}

# Capabilities and rooms that are part of the public interface.
_SUBMODULES = (
    "codebook",
    "coding",
    "compress",
    "distillation",
    "exporters",
    "pruning",
    "quantization",
    "reconstruction",
    "serve",
    "sparse",
    "training",
    "zoo",
)

__all__ = ["__version__", *_EXPORTS, *_SUBMODULES]


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        value = getattr(importlib.import_module(f".{_EXPORTS[name]}", __name__), name)
        globals()[name] = value
        return value
    if not name.startswith("_"):
        try:
            return importlib.import_module(f".{name}", __name__)
        except ModuleNotFoundError as error:
            if error.name != f"{__name__}.{name}":
                raise
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
