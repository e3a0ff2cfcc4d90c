"""Keras 3: tersor's losses; Keras is imported with the first of them."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

__all__ = [
    "AttentionLoss",
    "DKDLoss",
    "FeatureLoss",
    "JSDLoss",
    "KDLoss",
    "KLLoss",
    "MSELogitsLoss",
    "RelationalLoss",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = importlib.import_module(".losses", __name__)
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
