"""The bits per weight that a file of a given size leaves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from .model import CompressedModel
from .recipe import Recipe

# A first guess, how often it is corrected, and how much smaller than asked is small enough.
_FIRST_BITS, _MOST_TRIALS, _LEAST_SHARE = 3.0, 5, 0.98
_MOST_BITS, _LEAST_BITS = 8.0, 0.05


def asks_for_bits(recipe: Recipe) -> bool:
    """Whether a recipe leaves open how many bits the weights of rate-distortion layers take.

    Parameters
    ----------
    recipe : Recipe

    Returns
    -------
    bool
    """
    return recipe.is_unpriced and recipe.bits_per_weight is None and recipe.price is None


def fit_size(
    recipe: Recipe, size: float, apply: Callable[[Recipe], CompressedModel]
) -> CompressedModel:
    """Compress to as many bits per weight as a file of a size holds.

    Parameters
    ----------
    recipe : Recipe
        Which `asks_for_bits`.
    size : float
        Bytes of the file.
    apply : callable
        Makes a model by a recipe.

    Returns
    -------
    CompressedModel
        The largest that fits, else the smallest that was tried. Its recipe says the bits.
    """
    known: list[tuple[float, CompressedModel]] = []
    bits = _FIRST_BITS
    for _ in range(_MOST_TRIALS):
        model = apply(replace(recipe, bits_per_weight=bits))
        known.append((bits, model))
        if _LEAST_SHARE * size <= model.nbytes <= size:
            break
        bits = _next_bits([(b, m.nbytes) for b, m in known], 0.5 * (1 + _LEAST_SHARE) * size)
        if any(abs(bits - b) < 1e-3 for b, _ in known):
            break
    fitting = [m for _, m in known if m.nbytes <= size]
    if fitting:
        return max(fitting, key=lambda m: m.nbytes)
    return min((m for _, m in known), key=lambda m: m.nbytes)


def _next_bits(known: list[tuple[float, int]], size: float) -> float:
    """A line through the two nearest; the first guess takes the whole file for codes."""
    near = sorted(known, key=lambda point: abs(point[1] - size))[:2]
    bits, got = near[0]
    slope = got / bits
    if len(near) == 2 and near[0][0] != near[1][0]:
        slope = max((near[1][1] - got) / (near[1][0] - bits), 0.1 * slope)
    return min(_MOST_BITS, max(_LEAST_BITS, bits + (size - got) / slope))


__all__ = ["asks_for_bits", "fit_size"]
