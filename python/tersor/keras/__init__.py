"""Keras 3: tersor's losses and quantization-aware training; Keras is imported with the first."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .channel_pruning import prune_channels
    from .clusters import WeightClusters, cluster_weights
    from .losses import (
        AttentionLoss,
        DKDLoss,
        FeatureLoss,
        JSDLoss,
        KDLoss,
        KLLoss,
        MSELogitsLoss,
        RelationalLoss,
    )
    from .pruning import PruningCallback
    from .qat import QuantizationSchedule, finalize, prepare_qat, set_qat_phase
    from .quantizers import FakeQuantize

# Public name -> module that defines it.
_EXPORTS: dict[str, str] = {
    "AttentionLoss": "losses",
    "DKDLoss": "losses",
    "FakeQuantize": "quantizers",
    "FeatureLoss": "losses",
    "JSDLoss": "losses",
    "KDLoss": "losses",
    "KLLoss": "losses",
    "MSELogitsLoss": "losses",
    "PruningCallback": "pruning",
    "QuantizationSchedule": "qat",
    "RelationalLoss": "losses",
    "WeightClusters": "clusters",
    "cluster_weights": "clusters",
    "finalize": "qat",
    "prepare_qat": "qat",
    "prune_channels": "channel_pruning",
    "set_qat_phase": "qat",
}

__all__ = [
    "AttentionLoss",
    "DKDLoss",
    "FakeQuantize",
    "FeatureLoss",
    "JSDLoss",
    "KDLoss",
    "KLLoss",
    "MSELogitsLoss",
    "PruningCallback",
    "QuantizationSchedule",
    "RelationalLoss",
    "WeightClusters",
    "cluster_weights",
    "finalize",
    "prepare_qat",
    "prune_channels",
    "set_qat_phase",
]


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = importlib.import_module(f".{_EXPORTS[name]}", __name__)
    except ModuleNotFoundError as error:
        if error.name == "keras":
            raise ImportError(
                f"tersor.keras.{name} needs Keras: pip install tersor[keras]"
            ) from error
        raise
    value = globals()[name] = getattr(module, name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
