"""What a recipe means for quantization-aware training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .layer_format import LayerFormat
from .recipe import Recipe

# Values of a recipe that round activations to int8 -> bits of its weights.
_WEIGHT_BITS = {"int8": 8, "w4a8": 4}


@dataclass(frozen=True)
class Scheme:
    """Bits and scales of a network that is trained.

    Attributes
    ----------
    bits : int
        Of weights.
    layers : mapping of str to int
        Bits of the layers that a pattern names; 0 leaves them in float. The last one counts.
    dense_per_channel, conv_per_channel : bool
        A scale per output of such layers with 8-bit weights.
    learned_scales : bool or None
        None for those of weights of fewer than 8 bits.
    momentum : float
        Of the activations' ranges.
    """

    bits: int = 8
    layers: Mapping[str, int] = field(default_factory=dict)
    dense_per_channel: bool = False
    conv_per_channel: bool = True
    learned_scales: bool | None = False
    momentum: float = 0.05

    @classmethod
    def parse(
        cls,
        recipe: Recipe | Mapping[str, Any] | str | Path,
        *,
        learned_scales: bool | None,
        momentum: float,
    ) -> Scheme:
        """Read a recipe.

        Parameters
        ----------
        recipe : Recipe, mapping, str or Path
        learned_scales : bool or None
        momentum : float

        Returns
        -------
        Scheme

        Raises
        ------
        ValueError
            If the recipe does not quantize activations to int8.
        """
        parsed = Recipe.parse(recipe)
        layers = {pattern: _bits(values) for pattern, values in parsed.layers.items()}
        if parsed.values == "fp32" and any(layers.values()):
            bits = 0
        else:
            if parsed.values not in _WEIGHT_BITS:
                raise ValueError(f"prepare_qat: recipe must be int8 or w4a8, got {parsed.values!r}")
            bits = _bits(parsed.format)
        return cls(
            bits,
            layers,
            parsed.dense_per_channel,
            parsed.conv_per_channel,
            None if learned_scales is None else bool(learned_scales),
            float(momentum),
        )

    @property
    def rules(self) -> list[tuple[str, str]]:
        """Patterns and what they say to the native placement."""
        rules = [(pattern, "int8" if bits else "fp32") for pattern, bits in self.layers.items()]
        return rules if self.bits else [("*", "fp32"), *rules]


def _bits(format: LayerFormat) -> int:
    if format.values == "fp32":
        return 0
    if format.values not in _WEIGHT_BITS:
        raise ValueError(
            f"prepare_qat: recipe must give layers int8, w4a8 or fp32, got {format.values!r}"
        )
    return format.bits or _WEIGHT_BITS[format.values]


__all__ = ["Scheme"]
