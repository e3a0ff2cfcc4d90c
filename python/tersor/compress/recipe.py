"""Recipes: what each layer becomes, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from ..base.schema import check_keys
from ..base.yaml_file import format_yaml, parse_yaml, read_yaml
from .layer_format import VALUES, LayerFormat, check_choice

METHODS = ("mse", "minmax", "percentile", "entropy")


@dataclass(frozen=True)
class RangeSearch:
    """How the range of quantized values is found.

    Parameters
    ----------
    method : {"mse", "minmax", "percentile", "entropy"}
        Least squared error, the whole range, all but the outermost values, or least divergence of
        the distributions (:func:`tersor.quantization.choose_qparams`).
    percentile : float, default 0.9999
        For "percentile": share of the values at or below the upper end, in (0.5, 1].
    """

    method: str = "mse"
    percentile: float = 0.9999

    def __post_init__(self) -> None:
        check_choice(self.method, METHODS, "recipe method")
        if not isinstance(self.percentile, Real) or isinstance(self.percentile, bool):
            raise TypeError(f"recipe: percentile must be a number, got {self.percentile!r}")
        object.__setattr__(self, "percentile", float(self.percentile))
        if not 0.5 < self.percentile <= 1:
            raise ValueError(f"recipe: percentile must be in (0.5, 1], got {self.percentile}")

    def to_dict(self) -> dict[str, Any]:
        """Return plain data; the percentile only where it counts."""
        if self.method == "percentile":
            return {"method": self.method, "percentile": self.percentile}
        return {"method": self.method}


@dataclass(frozen=True)
class Recipe:
    """What each layer of a network becomes.

    Parameters
    ----------
    values : str, default "int8"
        Number format of the network:

        - "fp32" changes nothing; "fp16" stores weights in 16 bits; "bf16" stores weights and
          computes in bfloat16;
        - "int8" quantizes weights and activations; "w4a8" likewise with weights of 4 bits;
        - "w8a32", "w4a32", "w3a32" quantize weights to 8, 4 and 3 bits and leave activations in
          float (4 and 3 bits in groups of 32 weights that share a scale);
        - "int8-dynamic" quantizes the weights of dense layers to int8, and their input in each
          call; other layers become "w8a32";
        - "keep" takes a network that is quantized already as it is.
    name : str, optional
        What tables call it; `values` by default.
    layers : mapping of str to str, mapping or LayerFormat
        Exceptions: patterns with ``*`` and ``?`` on the names of layers, of their outputs or of
        their weights in the source framework, to any of `values` but "keep", or to a mapping such
        as ``{"values": "w4a32", "bits": 5, "group_size": 64}`` (:class:`LayerFormat`). The last
        pattern that matches counts.
    group_size : int, optional
        Weights that share a scale, where activations are float; 0 gives one scale to all weights
        of an output. By default that of `values`.
    float_zero_point : bool, default False
        Weights of float activations get zero points, as floats: half a bit more for groups of 32,
        less error.
    activations : RangeSearch
        For activations that are quantized once for all (int8, w4a8).
    weights : RangeSearch
        For quantized weights: "minmax" (default) or "mse".
    dense_per_channel : bool, default False
        A scale per output of dense layers too; TFLite's scheme has one for the layer.
    equalize : bool, default True
        Even out the channels of neighbouring layers first; keeps the function.
    equalize_relu6 : bool, default False
        Try also through ReLU6, which becomes ReLU there, and keep it where the error on calibration
        samples does not rise. Takes twice the time.
    correct_bias : bool, default True
        Give back to the biases the mean that rounding the weights takes away.
    rounding : {"gptq", "nearest"}, optional
        How weights of fewer than 8 bits are rounded: "gptq" makes each layer's output change least
        (:mod:`tersor.reconstruction`), which needs calibration samples. By default that, or
        "nearest" where no samples are given.
    conv_per_channel : bool, default True
        A scale per output of int8 convolutions; one for the layer otherwise.
    samples : int, default 512
        Calibration samples used at most.

    Examples
    --------
    >>> recipe = Recipe.parse("int8").with_layers({"classifier*": "w4a32"})
    >>> recipe.layers["classifier*"].group_size
    32
    """

    values: str = "int8"
    name: str = ""
    layers: Mapping[str, LayerFormat] = field(default_factory=dict)
    group_size: int | None = None
    float_zero_point: bool = False
    activations: RangeSearch = field(default_factory=RangeSearch)
    weights: RangeSearch = field(default_factory=lambda: RangeSearch("minmax"))
    dense_per_channel: bool = False
    equalize: bool = True
    equalize_relu6: bool = False
    correct_bias: bool = True
    rounding: str | None = None
    conv_per_channel: bool = True
    samples: int = 512

    def __post_init__(self) -> None:
        check_choice(self.values, VALUES, "recipe values")
        self._check_types()
        if not self.name:
            object.__setattr__(self, "name", self.values)
        if self.weights.method not in ("minmax", "mse"):
            raise ValueError(
                f"recipe: weights method must be minmax or mse, got {self.weights.method!r}"
            )
        if self.layers and self.values == "keep":
            raise ValueError("recipe: layers need other values than 'keep'")
        layers = {str(p): LayerFormat.parse(f, f"layer {p!r}") for p, f in self.layers.items()}
        object.__setattr__(self, "layers", layers)
        if self.values == "keep" and (self.group_size is not None or self.float_zero_point):
            raise ValueError("recipe: group_size and float_zero_point need other values than keep")
        if self.values != "keep":
            self.format  # noqa: B018 - checks group_size and float_zero_point
        if self.rounding is not None:
            check_choice(self.rounding, ("gptq", "nearest"), "recipe rounding")
        if self.samples < 1:
            raise ValueError(f"recipe: samples must be an integer >= 1, got {self.samples!r}")

    def _check_types(self) -> None:
        for key, kind, what in _TYPES:
            value = getattr(self, key)
            # Python's True is an int too, and nobody means 1 by it.
            if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
                raise TypeError(f"recipe: {key} must be {what}, got {value!r}")
        object.__setattr__(self, "samples", int(self.samples))

    @property
    def format(self) -> LayerFormat:
        """What a layer becomes that no pattern names; not for "keep"."""
        return LayerFormat(
            self.values, group_size=self.group_size, float_zero_point=self.float_zero_point
        )

    @property
    def needs_calibration(self) -> bool:
        """Whether samples must be given: some activations are quantized once for all."""
        formats = [] if self.values == "keep" else [self.format, *self.layers.values()]
        return any(f.activations == "int8" for f in formats)

    @classmethod
    def parse(cls, value: Recipe | Mapping[str, Any] | str | Path | None) -> Recipe:
        """Read a recipe from any form a user may give.

        Parameters
        ----------
        value : Recipe, mapping, str, Path or None
            A mapping as in YAML, the path of a ``.yaml`` file, or a name, one of the `values`. None
            is int8.

        Returns
        -------
        Recipe

        Raises
        ------
        ValueError
            If a key or a value is unknown; the closest known one is named.
        TypeError
            If a value is of a wrong type.
        FileNotFoundError
            If the YAML file is missing.

        Examples
        --------
        >>> Recipe.parse("bf16").values
        'bf16'
        """
        if value is None:
            return cls()
        if isinstance(value, Recipe):
            return value
        if isinstance(value, Path) or (
            isinstance(value, str) and value.endswith((".yaml", ".yml"))
        ):
            return cls.from_dict(read_yaml(value, what="recipe file"))
        if isinstance(value, str):
            check_choice(value, VALUES, "recipe")
            return cls(values=value)
        return cls.from_dict(value)

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Recipe:
        """Read a recipe from plain data, as `to_dict` gives it; errors as from `parse`."""
        fields = check_keys(document, allowed=_KEYS, what="recipe")
        for key in ("activations", "weights"):
            if key in fields:
                part = check_keys(
                    fields[key], allowed=("method", "percentile"), what=f"recipe {key}"
                )
                fields[key] = RangeSearch(**part)
        layers = fields.get("layers", {})
        if not isinstance(layers, Mapping):
            raise TypeError(
                "recipe layers must be a mapping of patterns to values, "
                f"got {type(layers).__name__}"
            )
        return cls(**fields)

    @classmethod
    def from_yaml(cls, text: str) -> Recipe:
        """Read a recipe from YAML text; errors as from `parse`."""
        return cls.from_dict(parse_yaml(text, what="recipe"))

    def to_dict(self) -> dict[str, Any]:
        """Return plain data; `from_dict` reads it back."""
        document: dict[str, Any] = {"name": self.name, "values": self.values}
        if self.group_size is not None:
            document["group_size"] = self.group_size
        if self.float_zero_point:
            document["float_zero_point"] = True
        if self.rounding is not None:
            document["rounding"] = self.rounding
        layers = {pattern: layer.to_plain() for pattern, layer in self.layers.items()}
        if self.needs_calibration:
            document |= {
                "layers": layers,
                "activations": self.activations.to_dict(),
                "weights": self.weights.to_dict(),
                "dense_per_channel": self.dense_per_channel,
                "equalize": self.equalize,
                "equalize_relu6": self.equalize_relu6,
                "correct_bias": self.correct_bias,
                "samples": self.samples,
            }
            if not self.conv_per_channel:
                document["conv_per_channel"] = False
        elif layers or (self.values != "keep" and self.format.bits is not None):
            document |= {
                "layers": layers,
                "weights": self.weights.to_dict(),
                "samples": self.samples,
            }
        return document

    def to_yaml(self) -> str:
        r"""Return the recipe as YAML.

        Examples
        --------
        >>> Recipe.parse("fp32").to_yaml()
        'name: fp32\nvalues: fp32\n'
        """
        return format_yaml(self.to_dict())

    def with_layers(self, layers: Mapping[str, Any]) -> Recipe:
        """Return a copy with more exceptions, which come after those it has."""
        return replace(self, layers={**self.layers, **layers})


_KEYS = tuple(Recipe.__dataclass_fields__)
_TYPES: tuple[tuple[str, type, str], ...] = (
    ("name", str, "text"),
    ("layers", Mapping, "a mapping of patterns to values"),
    ("activations", RangeSearch, "a RangeSearch"),
    ("weights", RangeSearch, "a RangeSearch"),
    ("float_zero_point", bool, "true or false"),
    ("dense_per_channel", bool, "true or false"),
    ("equalize", bool, "true or false"),
    ("equalize_relu6", bool, "true or false"),
    ("correct_bias", bool, "true or false"),
    ("conv_per_channel", bool, "true or false"),
    ("samples", Integral, "an integer >= 1"),
)


__all__ = ["LayerFormat", "RangeSearch", "Recipe"]
