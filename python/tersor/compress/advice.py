"""Sentences about where a quantized network loses, and what would help."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .recipe import Recipe


def what_helps(recipe: Recipe, not_equalized: Sequence[str] = (), *, samples: bool = True) -> str:
    """Return what a user could try against the loss of a quantized network.

    Parameters
    ----------
    recipe : Recipe
        What was done; not "keep".
    not_equalized : sequence of str
        Layers whose channels could not be evened out, and why.
    samples : bool, default True
        Whether there were any.

    Returns
    -------
    str
        Without a capital or a full stop.
    """
    tips = []
    if recipe.needs_calibration:
        if not recipe.equalize:
            tips.append("set equalize: true, which evens out the channels of neighbouring layers")
        elif not recipe.equalize_relu6 and any("relu6 stands" in why for why in not_equalized):
            tips.append("try equalize_relu6: true")
        if not recipe.conv_per_channel:
            tips.append("set conv_per_channel: true")
    low = [f for f in (recipe.format, *recipe.layers.values()) if f.bits is not None and f.bits < 8]
    if low and not samples:
        tips.append("give calibration samples, by which weights are then rounded (GPTQ)")
    elif low and recipe.rounding == "nearest":
        tips.append("set rounding: gptq")
    if any(f.activations == "float" for f in low):
        tips.append("set more bits or smaller groups")
    tips.append("keep such layers in fp32 (layers: in the recipe)")
    if samples:
        tips.append("give samples closer to real ones")
    return ", or ".join(tips)


def worst_layers(agreement: Any) -> list[str]:
    """Return lines for the summary of a compressed model.

    Parameters
    ----------
    agreement : mapping
        What `Agreement.to_dict` gave, perhaps read from a file, where anything may stand.

    Returns
    -------
    list of str
        None where nothing is known or nothing is lost.
    """
    if not isinstance(agreement, dict) or not isinstance(agreement.get("worst_layers"), dict):
        return []
    layers = ", ".join(f"{name} ({db} dB)" for name, db in agreement["worst_layers"].items())
    if not layers:
        return []
    loss = agreement.get("expected_loss")
    cost = f", expected loss {loss:.1f} points" if isinstance(loss, (int, float)) else ""
    if agreement.get("measured_on") == "weights":
        cost = ": of the weights alone, without samples"
    return [f"most is lost at {layers}{cost}", f"what would help: {agreement.get('advice', '')}"]


__all__ = ["what_helps", "worst_layers"]
