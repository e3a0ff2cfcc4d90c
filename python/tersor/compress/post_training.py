"""Int8 post-training quantization. Native half: ``cpp/tersor/graph/quantize.h``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from .. import _core
from ..data.preprocess import Preprocess
from ..graph import Graph
from .calibrate import Progress, calibrate
from .recipe import Recipe


@dataclass(frozen=True)
class QuantizedGraph:
    """An int8 network and what happened to it.

    Attributes
    ----------
    graph : Graph
        With quantized edges.
    float_layers : dict of str to str
        Nodes that stay in float, and why.
    equalized : list of dict
        Pairs of layers between which channels were evened out, with the factors.
    not_equalized : list of str
        Layers where that was not possible, and why.
    samples : int
        Calibration samples seen.
    first_batch : list of ndarray
        The first of them, one array per input.
    """

    graph: Graph
    float_layers: dict[str, str]
    equalized: list[dict[str, Any]]
    not_equalized: list[str]
    samples: int
    first_batch: list[NDArray[Any]]


def quantize_post_training(
    graph: Graph,
    data: Any,
    recipe: Recipe | None = None,
    *,
    preprocess: Preprocess | None = None,
    seed: int = 0,
    time_budget: float | None = None,
    progress: Progress | None = None,
) -> QuantizedGraph:
    """Quantize weights and activations of a float network to int8.

    Parameters
    ----------
    graph : Graph
        A float network.
    data : array, path, mapping of arrays, or iterable of batches
        Unlabeled calibration samples; 128 are enough for small image networks.
    recipe : Recipe, optional
        Of values "int8"; the default one otherwise.
    preprocess : Preprocess, optional
        For raw samples (uint8).
    seed : int, default 0
        Draws the samples where there are more than the recipe's.
    time_budget : float, optional
        Seconds after which calibration takes no further batch.
    progress : callable, optional
        Called as ``progress(stage, done, total)``.

    Returns
    -------
    QuantizedGraph

    Raises
    ------
    DataError
        If there is no sample, a value is not finite, or a shape does not fit.
    ValueError
        If a pattern of the recipe matches no layer.

    References
    ----------
    .. [1] Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction",
       ICCV 2019.
    """
    recipe = recipe or Recipe()
    native: Any = graph.clone()
    native.canonicalize()
    equalized: list[dict[str, Any]] = []
    not_equalized: list[str] = []
    if recipe.equalize:
        native, equalized, not_equalized = _core.graph.equalize(native)
    placement = _core.graph.place_quantizers(native, list(recipe.layers.items()))
    seen = calibrate(
        native,
        placement,
        data,
        preprocess=preprocess,
        samples=recipe.samples,
        seed=seed,
        time_budget=time_budget,
        progress=progress,
    )
    search = recipe.activations
    ranges = seen.observed.ranges(placement, search.method, search.percentile)
    qparams = _core.graph.group_qparams(native, placement, ranges)
    weights = (recipe.dense_per_channel, recipe.weights.method == "mse")
    if recipe.correct_bias:
        native = seen.observed.correct_biases(native, placement, qparams, *weights)
    quantized = Graph(_core.graph.apply_quantization(native, placement, qparams, *weights))
    quantized.preprocess = dict(graph.preprocess)
    return QuantizedGraph(
        graph=quantized,
        float_layers={
            node.name: reason
            for node, reason in zip(native.nodes, placement.reasons, strict=True)
            if reason
        },
        equalized=equalized,
        not_equalized=not_equalized,
        samples=seen.samples,
        first_batch=seen.first_batch,
    )


__all__ = ["QuantizedGraph", "quantize_post_training"]
