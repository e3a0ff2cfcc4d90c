"""Weights as codes, activations in float, rounded to repair each other from samples."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.preprocess import Preprocess
from ..graph import Graph
from .analytic import correct_means
from .calibrate import Progress, Variety, network_batches
from .float_twin import float_twin
from .layer_format import LayerFormat
from .level_grid import LevelGrid, round_to_levels
from .rate_distortion import RateAllocation, corrected_price
from .recipe import Recipe
from .repair import (
    RepairedLayer,
    leveled_layer,
    most_samples,
    repair_weights,
    set_weight_codes,
    why_nearest,
)
from .rounding_plan import RoundingPlan, plan_rounding
from .weight_formats import layer_formats, store_float_layers
from .weight_matrix import LAYERS, to_rows

# Rows of a batch: what is kept between layers is cut so, whatever the number of threads.
_BATCH = 64
_HEAD = 128
# How often a network is rounded until its bits are between this share of what was asked and that.
_MOST_REPAIRS, _LEAST_SHARE = 4, 0.985


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
    bits : float
        What an adaptive coder spends on the codes of rate-distortion and codebook layers.
    """

    graph: Graph
    float_graph: Graph
    float_layers: dict[str, str]
    nearest_layers: dict[str, str]
    samples: int
    first_batch: list[NDArray[Any]]
    bits: float = 0.0


def quantize_weights(
    graph: Graph,
    data: Any,
    recipe: Recipe,
    *,
    preprocess: Preprocess | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    memo: dict[str, Any] | None = None,
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
    memo : dict, optional
        Of calls with the same network and samples: what prices come to is found out once.

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
        if recipe.is_rated:
            raise ValueError(
                "compress: calibration must be given for recipe 'rate-distortion': an array of "
                "about 512 unlabeled samples, got None"
            )
        plain, kept = _plain_codebooks(out, formats)
        set_weight_codes(out, plain)
        left = kept | store_float_layers(out, formats, least_squares=least_squares)
        if recipe.correct_bias:
            correct_means(exact, out, out.input_means)
        return WeightOnlyGraph(out, exact, left, {}, 0, [])
    plan = plan_rounding(out, formats, recipe)
    limit = recipe.samples if plan else _HEAD
    layers, batches = repaired_layers(out, plan, data, limit, preprocess, seed, progress, memo)
    left = {n: why for n, why in plan.reasons.items() if formats[n].is_leveled}
    if recipe.rounding == "nearest":
        plain, left = _plain_codebooks(out, formats)
        layers = layers | plain
    set_weight_codes(out, layers)
    left = left | store_float_layers(out, formats, least_squares=least_squares)
    return WeightOnlyGraph(
        out,
        exact,
        left,
        {name: why for name, why in plan.reasons.items() if name not in left},
        sum(len(batch[0]) for batch in batches) if plan else 0,
        [x[:_HEAD] for x in _joined(batches)],
        sum(layer.bits for layer in layers.values()),
    )


def _plain_codebooks(
    graph: Graph, formats: dict[str, LayerFormat]
) -> tuple[dict[str, RepairedLayer], dict[str, str]]:
    """Codebooks of least squared error of the weights, and why layers have none."""
    layers: dict[str, RepairedLayer] = {}
    left: dict[str, str] = {}
    for node in graph.nodes:
        layer = formats[node.name]
        if not layer.is_codebook or layer.bits is None or not takes_levels(graph, node):
            continue
        reason = why_nearest(graph, node.name, LevelGrid())
        if reason:
            left[node.name] = reason
            continue
        w = np.asarray(graph.edges[node.inputs[1]].constant)
        rows = to_rows(node, w)
        same = np.broadcast_to(np.eye(rows.shape[2]), (len(rows), rows.shape[2], rows.shape[2]))
        grid = LevelGrid(1 << layer.bits)
        done = round_to_levels(rows.astype(np.float64), same, grid, 1.0, kept=rows != 0)
        layers[node.name] = leveled_layer(node, w.shape, done, None, 1.0)
    return layers, left


def repaired_layers(
    graph: Any,
    plan: RoundingPlan,
    data: Any,
    samples: int,
    preprocess: Preprocess | None,
    seed: int,
    progress: Progress | None,
    memo: dict[str, Any] | None = None,
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
    memo : dict, optional
        As for `quantize_weights`.

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
    if plan.rated:
        return _rated_layers(graph, plan, batches, progress, {} if memo is None else memo), batches
    layers = repair_weights(graph, plan.grids, batches, nearest=plan.nearest, progress=progress)
    return layers, batches


def _rated_layers(
    graph: Any,
    plan: RoundingPlan,
    batches: list[list[NDArray[Any]]],
    progress: Progress | None,
    memo: dict[str, Any],
) -> dict[str, RepairedLayer]:
    """Layers at the price that gives the bits: repair changes what a price comes to."""
    if "allocation" not in memo:
        memo["allocation"] = RateAllocation(graph, plan.rated, batches, progress=progress)
    allocation = memo["allocation"]
    wanted = plan.bits_per_weight * allocation.weights
    price = plan.price or allocation.price(wanted)
    known: dict[float, float] = {}
    found: dict[float, dict[str, RepairedLayer]] = {}
    for _ in range(_MOST_REPAIRS):
        rated = replace(plan, grids=plan.grids | allocation.grids(price))
        layers = repair_weights(
            graph, rated.grids, batches, nearest=plan.nearest, progress=progress
        )
        known[price] = max(1.0, sum(layers[name].bits for name in plan.rated))
        found[price] = layers
        if plan.price is not None or _LEAST_SHARE * wanted <= known[price] <= wanted:
            break
        price = corrected_price(known, 0.5 * (1 + _LEAST_SHARE) * wanted)
    fitting = [p for p, bits in known.items() if bits <= wanted]
    # The most bits that are not too many; else the fewest.
    return found[max(fitting, key=known.__getitem__) if fitting else max(known)]


def _joined(batches: list[list[NDArray[Any]]]) -> list[NDArray[Any]]:
    few = batches[: -(-_HEAD // max(1, len(batches[0][0])))]
    return [np.concatenate(parts) for parts in zip(*few, strict=True)]


def takes_levels(graph: Any, node: Any) -> bool:
    """Whether a node is a layer with a constant weight.

    Parameters
    ----------
    graph : Graph
    node : Node

    Returns
    -------
    bool
    """
    return node.op in LAYERS and node.inputs[1] >= 0 and graph.edges[node.inputs[1]].is_constant


__all__ = ["WeightOnlyGraph", "quantize_weights", "repaired_layers", "takes_levels"]
