"""Compression of whole networks: recipes, calibration, the pipeline and its result."""

from __future__ import annotations

import functools
import sys
from types import ModuleType
from typing import Any

from .calibrate import calibrate
from .channels import ShrunkNetwork, prune_channels
from .load import load
from .model import CompressedModel
from .pipeline import compress
from .post_training import QuantizedGraph, quantize_post_training
from .prune import PrunedGraph, prune
from .pruning_recipe import Pruning
from .rate_curve import RateCurve, RatePoint, rate_curve
from .recipe import LayerFormat, RangeSearch, Recipe
from .weight_formats import layer_names


class _Room(ModuleType):
    """`tersor.compress` is this package and the function: the module can be called."""

    @functools.wraps(compress)
    def __call__(self, *args: Any, **kwargs: Any) -> CompressedModel:
        return compress(*args, **kwargs)


sys.modules[__name__].__class__ = _Room

__all__ = [
    "CompressedModel",
    "LayerFormat",
    "PrunedGraph",
    "Pruning",
    "QuantizedGraph",
    "RangeSearch",
    "RateCurve",
    "RatePoint",
    "Recipe",
    "ShrunkNetwork",
    "calibrate",
    "compress",
    "layer_names",
    "load",
    "prune",
    "prune_channels",
    "quantize_post_training",
    "rate_curve",
]
