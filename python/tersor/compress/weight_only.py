"""Weights as codes, activations in float, rounded to repair each other from samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.preprocess import Preprocess
from ..graph import Graph
from .analytic import correct_means
from .calibrate import Progress, Variety, network_batches
from .float_twin import float_twin
from .recipe import Recipe
from .repair import RepairedLayer, most_samples, repair_weights, set_weight_codes
from .rounding_plan import RoundingPlan, plan_rounding
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
    float_graph : Graph
        The float network with the same layers.
    float_layers : dict of str to str
        Nodes that stay as they are, and why.
    nearest_layers : dict of str to str
        Nodes that were rounded to nearest though samples could have told more, and why.
    samples : int
        Samples that rounding used; 0 for rounding to nearest.
    first_batch : list of ndarray
        The first of those given; empty without.
    """

    graph: Graph
    float_graph: Graph
    float_layers: dict[str, str]
    nearest_layers: dict[str, str]
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
        Unlabeled samples for rounding; None rounds to nearest, and repairs biases by the statistics
        of BatchNorm.
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
        If there is no sample, all are the same, a value is not finite, or a shape does not fit.
    ValueError
        If the recipe asks for GPTQ and there is no data, or a pattern matches no layer.
    """
    out = float_twin(graph)
    exact = Graph(out.clone())
    formats = layer_formats(out, recipe)
    least_squares = recipe.weights.method == "mse"
    if data is None:
        if recipe.rounding == "gptq":
            raise ValueError(
                "compress: calibration must be given for rounding 'gptq': an array of about 512 "
                "unlabeled samples, got None"
            )
        left = store_float_layers(out, formats, least_squares=least_squares)
        if recipe.correct_bias:
            correct_means(exact, out, out.input_means)
        return WeightOnlyGraph(out, exact, left, {}, 0, [])
    plan = plan_rounding(out, formats, recipe)
    limit = recipe.samples if plan else _HEAD
    layers, batches = repaired_layers(out, plan, data, limit, preprocess, seed, progress)
    set_weight_codes(out, layers)
    left = store_float_layers(out, formats, least_squares=least_squares)
    return WeightOnlyGraph(
        out,
        exact,
        left,
        {name: why for name, why in plan.reasons.items() if name not in left},
        sum(len(batch[0]) for batch in batches) if plan else 0,
        [x[:_HEAD] for x in _joined(batches)],
    )


def repaired_layers(
    graph: Any,
    plan: RoundingPlan,
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
    plan : RoundingPlan
        Perhaps an empty one: then the samples are read and checked alone.
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
    variety = Variety()
    for batch in batches:
        variety.see(batch)
    variety.check()
    if not plan:
        return {}, batches
    layers = repair_weights(graph, plan.grids, batches, nearest=plan.nearest, progress=progress)
    return layers, batches


def _joined(batches: list[list[NDArray[Any]]]) -> list[NDArray[Any]]:
    few = batches[: -(-_HEAD // max(1, len(batches[0][0])))]
    return [np.concatenate(parts) for parts in zip(*few, strict=True)]


__all__ = ["WeightOnlyGraph", "quantize_weights", "repaired_layers"]
