"""PyTorch modules and rewrites of modules; PyTorch is imported with the first of them."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .attention import AttentionLoss
    from .channel_pruning import prune_channels
    from .clusters import WeightClusters, cluster_weights
    from .coded_network import CodedNetwork
    from .dkd import DKDLoss
    from .fake_quantize import FakeQuantize
    from .jsd import JSDLoss
    from .kd import KDLoss, KLLoss
    from .mse import FeatureLoss, MSELogitsLoss
    from .network_module import NetworkModule, to_torch
    from .pruner import Pruner
    from .qat import finalize, prepare_qat, set_qat_phase
    from .relational import RelationalLoss
    from .separable_conv import SeparableConv, separable_errors, to_depthwise_separable

# Public name -> module that defines it.
_EXPORTS: dict[str, str] = {
    "AttentionLoss": "attention",
    "CodedNetwork": "coded_network",
    "DKDLoss": "dkd",
    "FakeQuantize": "fake_quantize",
    "FeatureLoss": "mse",
    "JSDLoss": "jsd",
    "KDLoss": "kd",
    "KLLoss": "kd",
    "MSELogitsLoss": "mse",
    "NetworkModule": "network_module",
    "Pruner": "pruner",
    "RelationalLoss": "relational",
    "SeparableConv": "separable_conv",
    "WeightClusters": "clusters",
    "cluster_weights": "clusters",
    "finalize": "qat",
    "prepare_qat": "qat",
    "prune_channels": "channel_pruning",
    "separable_errors": "separable_conv",
    "set_qat_phase": "qat",
    "to_depthwise_separable": "separable_conv",
    "to_torch": "network_module",
}


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = importlib.import_module(f".{_EXPORTS[name]}", __name__)
    except ModuleNotFoundError as error:
        if error.name == "torch":
            raise ImportError(
                f"tersor.torch.{name} needs PyTorch: pip install tersor[torch]"
            ) from error
        raise
    value = globals()[name] = getattr(module, name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


__all__ = [
    "AttentionLoss",
    "CodedNetwork",
    "DKDLoss",
    "FakeQuantize",
    "FeatureLoss",
    "JSDLoss",
    "KDLoss",
    "KLLoss",
    "MSELogitsLoss",
    "NetworkModule",
    "Pruner",
    "RelationalLoss",
    "SeparableConv",
    "WeightClusters",
    "cluster_weights",
    "finalize",
    "prepare_qat",
    "prune_channels",
    "separable_errors",
    "set_qat_phase",
    "to_depthwise_separable",
    "to_torch",
]
