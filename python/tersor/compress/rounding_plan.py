"""Which weights are rounded by what samples show, and which to nearest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from .layer_format import LayerFormat
from .level_grid import LevelGrid
from .recipe import Recipe
from .repair import WeightGrid, why_nearest
from .weight_formats import native_format
from .weight_matrix import LAYERS


@dataclass(frozen=True)
class RoundingPlan:
    """What happens to the weights of a network where there are samples.

    Attributes
    ----------
    grids : dict of str to WeightGrid
        Layers that second-order rounding takes.
    nearest : dict of str to WeightFormat
        Float layers that are rounded to nearest and whose biases are repaired.
    reasons : dict of str to str
        Why layers that should be rounded by second order are not.
    rated : tuple of str
        Those of `grids` whose prices are still to be found.
    bits_per_weight, price : float, optional
        What they are found for.
    """

    grids: dict[str, WeightGrid | LevelGrid] = field(default_factory=dict)
    nearest: dict[str, Any] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    rated: tuple[str, ...] = ()
    bits_per_weight: float = 3.0
    price: float | None = None

    def __bool__(self) -> bool:
        return bool(self.grids or self.nearest)


def plan_rounding(graph: Any, formats: Mapping[str, LayerFormat], recipe: Recipe) -> RoundingPlan:
    """Return what a recipe asks for.

    Parameters
    ----------
    graph : Graph
        Float, canonical.
    formats : mapping of str to LayerFormat
        By node.
    recipe : Recipe

    Returns
    -------
    RoundingPlan
    """
    plan, edges = RoundingPlan(), graph.edges
    for node in graph.nodes:
        layer = formats.get(node.name)
        if layer is None or layer.bits is None or node.op not in LAYERS:
            continue
        if node.inputs[1] < 0 or not edges[node.inputs[1]].is_constant:
            continue
        if layer.activations == "int8" and node.op == "matmul":
            continue  # codes of an edge there, without a bias to repair them with
        low = layer.bits < 8 or layer.is_leveled
        if recipe.rounding == "gptq" or (recipe.rounding is None and low):
            grid = _grid(layer, node.op, recipe)
            reason = why_nearest(graph, node.name, grid)
            if not reason:
                plan.grids[node.name] = grid
                continue
            plan.reasons[node.name] = reason
        can = (
            low
            and not layer.is_leveled
            and layer.activations == "float"
            and not why_nearest(graph, node.name)
        )
        if recipe.correct_bias and can:
            plan.nearest[node.name] = native_format(
                layer, node.op, least_squares=recipe.weights.method == "mse"
            )
    return replace(
        plan,
        rated=tuple(
            name for name in plan.grids if formats[name].is_rated and formats[name].price is None
        ),
        bits_per_weight=recipe.bits_per_weight or plan.bits_per_weight,
        price=recipe.price,
    )


def _grid(layer: LayerFormat, op: str, recipe: Recipe) -> WeightGrid | LevelGrid:
    assert layer.bits is not None
    if layer.is_leveled:
        values = 1 << layer.bits if layer.is_codebook else 0
        return LevelGrid(values, layer.price or 0.0, integer=layer.is_int8_codebook)
    int8 = layer.activations == "int8"
    per_channel = recipe.dense_per_channel if op == "dense" else recipe.conv_per_channel
    return WeightGrid(
        layer.bits,
        layer.group_size or 0,
        # int8 kernels want symmetric codes; sums of dynamic ones are bounded by them.
        narrow=layer.activations != "float",
        one_scale=int8 and layer.bits == 8 and not per_channel,
        half_scales=not int8,
        float_zero_point=layer.float_zero_point,
    )


__all__ = ["RoundingPlan", "plan_rounding"]
