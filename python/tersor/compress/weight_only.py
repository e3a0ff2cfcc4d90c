"""Weights as codes, activations in float, rounded to repair each other from samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.preprocess import Preprocess
from ..graph import Graph
from .calibrate import Progress, network_batches
from .recipe import Recipe
from .repair import (
    RepairedLayer,
    WeightGrid,
    most_samples,
    repair_weights,
    set_weight_codes,
    weight_grids,
)
from .weight_formats import layer_formats, store_float_layers

# Rows of a batch: what is kept between layers is cut so, whatever the number of threads.
_BATCH = 64
_HEAD = 128


@dataclass(frozen=True)
class WeightOnlyGraph:
    """A network with float activations, and what happened to it.

    Attributes
    ----------
    graph : Graph
    float_layers : dict of str to str
        Nodes that stay as they are, and why.
    samples : int
        Samples that rounding used; 0 for rounding to nearest.
    first_batch : list of ndarray
        The first of them; empty without.
    """

    graph: Graph
    float_layers: dict[str, str]
    samples: int
    first_batch: list[NDArray[Any]]


def quantize_weights(
    graph: Graph,
    data: Any,
    recipe: Recipe,
    *,
    preprocess: Preprocess | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> WeightOnlyGraph:
    """Give the layers of a float network the formats of their weights.

    Parameters
    ----------
    graph : Graph
        Not changed.
    data : array, path, mapping of arrays, iterable of batches, or None
        Unlabeled samples for rounding; None rounds to nearest.
    recipe : Recipe
        Without int8 activations.
    preprocess : Preprocess, optional
        For raw samples (uint8).
    seed : int, default 0
        Draws the samples.
    progress : callable, optional
        Called as ``progress(stage, done, total)``.

    Returns
    -------
    WeightOnlyGraph

    Raises
    ------
    DataError
        If there is no sample, a value is not finite, or a shape does not fit.
    ValueError
        If the recipe asks for GPTQ and there is no data, or a pattern matches no layer.
    """
    out: Any = graph.clone()
    out.canonicalize()
    formats = layer_formats(out, recipe)
    grids = weight_grids(formats, recipe.rounding)
    if recipe.rounding == "gptq" and data is None:
        raise ValueError(
            "compress: calibration must be given for rounding 'gptq': an array of about 512 "
            "unlabeled samples, got None"
        )
    batches: list[list[NDArray[Any]]] = []
    if grids and data is not None:
        layers, batches = repaired_layers(
            out, grids, data, recipe.samples, preprocess, seed, progress
        )
        set_weight_codes(out, layers)
    left = store_float_layers(out, formats, least_squares=recipe.weights.method == "mse")
    return WeightOnlyGraph(
        out,
        left,
        sum(len(batch[0]) for batch in batches),
        [x[:_HEAD] for x in _joined(batches)] if batches else [],
    )


def repaired_layers(
    graph: Any,
    grids: dict[str, WeightGrid],
    data: Any,
    samples: int,
    preprocess: Preprocess | None,
    seed: int,
    progress: Progress | None,
) -> tuple[dict[str, RepairedLayer], list[list[NDArray[Any]]]]:
    """Round the weights of a float network by what the samples show.

    Parameters
    ----------
    graph : Graph
        Canonical. Not changed.
    grids : dict of str to WeightGrid
        By node.
    data, preprocess, seed
        As for `quantize_weights`.
    samples : int
        Used at most.
    progress : callable, optional

    Returns
    -------
    layers : dict of str to RepairedLayer
        By node.
    batches : list of lists of ndarray
        The samples.
    """
    limit = min(samples, most_samples(graph))
    batches = list(
        network_batches(graph, data, preprocess, limit=limit, seed=seed, batch_size=_BATCH)
    )
    return repair_weights(graph, grids, batches, progress=progress), batches


def _joined(batches: list[list[NDArray[Any]]]) -> list[NDArray[Any]]:
    few = batches[: -(-_HEAD // max(1, len(batches[0][0])))]
    return [np.concatenate(parts) for parts in zip(*few, strict=True)]


__all__ = ["WeightOnlyGraph", "quantize_weights", "repaired_layers"]
