"""Int8 post-training quantization. Native half: ``cpp/tersor/graph/quantize.h``."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from numpy.typing import NDArray

from .. import _core
from ..data.preprocess import Preprocess
from ..graph import Graph
from .absorb import absorb_biases
from .agreement import output_ratio_db
from .calibrate import Calibration, Progress, calibrate
from .float_twin import float_twin
from .layer_format import LayerFormat
from .level_grid import LevelGrid
from .recipe import Recipe
from .repair import RepairedLayer, WeightGrid, set_float_weights, set_int8_codes, set_weight_codes
from .rounding_plan import RoundingPlan, plan_rounding
from .weight_formats import layer_formats, low_weight_bits, placement_rules, store_float_layers
from .weight_only import repaired_layers


@dataclass(frozen=True)
class QuantizedGraph:
    """An int8 network and what happened to it.

    Attributes
    ----------
    graph : Graph
        With quantized edges.
    float_layers : dict of str to str
        Nodes that stay in float, and why.
    nearest_layers : dict of str to str
        Nodes that were rounded to nearest though samples could have told more, and why.
    equalized : list of dict
        Pairs of layers between which channels were evened out, with the factors.
    not_equalized : list of str
        Layers where that was not possible, and why.
    samples : int
        Calibration samples seen.
    first_batch : list of ndarray
        The first of them, one array per input.
    equalized_graph : Graph
        The float network after equalization, which the quantized one rounds.
    relu6_db : (float, float), optional
        Signal-to-noise ratio of the outputs on the first batch without and with equalization
        through ReLU6, where that was tried; the better one was kept.
    absorbed : list of str
        Layers that gave a part of their biases to the next.
    """

    graph: Graph
    float_layers: dict[str, str]
    equalized: list[dict[str, Any]]
    not_equalized: list[str]
    samples: int
    first_batch: list[NDArray[Any]]
    equalized_graph: Graph
    relu6_db: tuple[float, float] | None = None
    nearest_layers: dict[str, str] = field(default_factory=dict)
    absorbed: list[str] = field(default_factory=list)


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
    """Quantize weights and activations of a float network as a recipe says.

    Parameters
    ----------
    graph : Graph
        A float network.
    data : array, path, mapping of arrays, or iterable of batches
        Unlabeled calibration samples; 128 are enough for small image networks.
    recipe : Recipe, optional
        With int8 activations for some layer; "int8" otherwise.
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
    plain = float_twin(graph)
    formats = layer_formats(plain, recipe)
    # A generator gives its batches once, and every pass must see the same.
    plan = plan_rounding(plain, formats, recipe)
    once = not recipe.equalize_relu6 and not recipe.absorb_bias and not plan
    taken = data if hasattr(data, "__len__") or once else list(data)

    def attempt(through_relu6: bool) -> QuantizedGraph:
        native, pairs, left = plain, [], []
        if recipe.equalize:
            native, pairs, left = _core.graph.equalize(plain, through_relu6)
        absorbed: list[str] = []
        if recipe.absorb_bias:
            native, absorbed = absorb_biases(native, taken, preprocess, recipe.samples, seed)
        seen = calibrate(
            native,
            _core.graph.place_quantizers(native, placement_rules(recipe)),
            taken,
            preprocess=preprocess,
            samples=recipe.samples,
            seed=seed,
            time_budget=time_budget,
            progress=progress,
        )
        search = recipe.activations
        ranges = seen.observed.ranges(seen.placement, search.method, search.percentile)
        qparams = _core.graph.group_qparams(native, seen.placement, ranges)
        repaired: dict[str, RepairedLayer] = {}
        if plan:
            fitted = replace(plan, grids=_with_inputs(native, plan, seen.placement, qparams))
            repaired, _ = repaired_layers(
                native, fitted, taken, recipe.samples, preprocess, seed, progress
            )
        done = _apply(graph, native, recipe, formats, repaired, seen, qparams)
        reasons = {n: why for n, why in plan.reasons.items() if n not in done.float_layers}
        return replace(
            done, equalized=pairs, not_equalized=left, absorbed=absorbed, nearest_layers=reasons
        )

    exact = attempt(through_relu6=False)
    if not (recipe.equalize_relu6 and any("relu6 stands" in why for why in exact.not_equalized)):
        return exact
    trial = attempt(through_relu6=True)
    before = output_ratio_db(graph, exact.graph, exact.first_batch)
    after = output_ratio_db(graph, trial.graph, exact.first_batch)
    chosen = trial if after >= before else exact
    return replace(chosen, relu6_db=(before, after))


def _apply(
    source: Graph,
    native: Any,
    recipe: Recipe,
    formats: dict[str, LayerFormat],
    repaired: dict[str, RepairedLayer],
    seen: Calibration,
    qparams: list[Any],
) -> QuantizedGraph:
    placement = seen.placement
    least_squares = recipe.weights.method == "mse"
    weights = (
        recipe.dense_per_channel,
        least_squares,
        low_weight_bits(formats),
        not recipe.conv_per_channel,
    )
    corrected = native
    if recipe.correct_bias:
        corrected = seen.observed.correct_biases(native, placement, qparams, *weights)
    if repaired:  # their biases are right already
        corrected = corrected.clone()
        set_float_weights(corrected, repaired)
    quantized = Graph(_core.graph.apply_quantization(corrected, placement, qparams, *weights))
    set_int8_codes(quantized, repaired)
    set_weight_codes(quantized, _in_float(quantized, repaired))
    quantized.preprocess = dict(source.preprocess)
    # The rule that stands in front of all others where the recipe's own format is float.
    unsaid = "" if recipe.format.activations == "int8" else "the recipe says so (*)"
    reasons = {
        node.name: reason
        for node, reason in zip(native.nodes, placement.reasons, strict=True)
        if reason and reason != unsaid
    }
    reasons |= store_float_layers(quantized, formats, least_squares=least_squares)
    return QuantizedGraph(
        graph=quantized,
        float_layers=reasons,
        equalized=[],
        not_equalized=[],
        samples=seen.samples,
        first_batch=seen.first_batch,
        equalized_graph=Graph(native),
    )


def _with_inputs(
    graph: Any, plan: RoundingPlan, placement: Any, qparams: list[Any]
) -> dict[str, WeightGrid | LevelGrid]:
    """Return the grids, those of int8 layers with the scale of their input."""
    grids = dict(plan.grids)
    for node, quantized in zip(graph.nodes, placement.quantized, strict=True):
        grid = grids.get(node.name)
        if grid is not None and quantized:
            step = float(qparams[placement.group_of[node.inputs[0]]].scale[0])
            grids[node.name] = replace(grid, bias_step=step)
    return grids


def _in_float(graph: Any, layers: dict[str, RepairedLayer]) -> dict[str, RepairedLayer]:
    """Return those of the layers whose input is float."""
    edges = graph.edges
    names = {n.name for n in graph.nodes if n.inputs and edges[n.inputs[0]].dtype == "float32"}
    return {name: layer for name, layer in layers.items() if name in names}


__all__ = ["QuantizedGraph", "quantize_post_training"]
