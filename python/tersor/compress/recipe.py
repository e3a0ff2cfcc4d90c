"""Recipes: what each layer becomes, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from ..base.schema import check_keys, did_you_mean
from ..base.yaml_file import format_yaml, parse_yaml, read_yaml

VALUES = ("fp32", "bf16", "int8", "keep")
METHODS = ("mse", "minmax", "percentile", "entropy")
_LAYER_VALUES = ("int8", "fp32")


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
        _check_choice(self.method, METHODS, "recipe method")
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
    values : {"int8", "fp32", "bf16", "keep"}
        Number format of the network. "fp32" changes nothing; "bf16" stores weights and computes in
        bfloat16; "int8" quantizes weights and activations; "keep" takes a network that is quantized
        already as it is.
    name : str, optional
        What tables call it; `values` by default.
    layers : mapping of str to {"int8", "fp32"}
        Exceptions for "int8": patterns with ``*`` and ``?`` on the names of layers, of their
        outputs or of their weights in the source framework. The last pattern that matches counts.
    activations : RangeSearch
        For the activations of "int8".
    weights : RangeSearch
        For the weights of "int8": "minmax" (default) or "mse".
    dense_per_channel : bool, default False
        A scale per output of dense layers too; TFLite's scheme has one for the layer.
    equalize : bool, default True
        Even out the channels of neighbouring layers first; keeps the function.
    equalize_relu6 : bool, default False
        Try also through ReLU6, which becomes ReLU there, and keep it where the error on calibration
        samples does not rise. Takes twice the time.
    correct_bias : bool, default True
        Give back to the biases the mean that rounding the weights takes away.
    samples : int, default 512
        Calibration samples used at most.

    Examples
    --------
    >>> recipe = Recipe.parse("int8")
    >>> recipe.with_layers({"classifier*": "fp32"}).layers
    {'classifier*': 'fp32'}
    """

    values: str = "int8"
    name: str = ""
    layers: Mapping[str, str] = field(default_factory=dict)
    activations: RangeSearch = field(default_factory=RangeSearch)
    weights: RangeSearch = field(default_factory=lambda: RangeSearch("minmax"))
    dense_per_channel: bool = False
    equalize: bool = True
    equalize_relu6: bool = False
    correct_bias: bool = True
    samples: int = 512

    def __post_init__(self) -> None:
        _check_choice(self.values, VALUES, "recipe values")
        self._check_types()
        if not self.name:
            object.__setattr__(self, "name", self.values)
        if self.weights.method not in ("minmax", "mse"):
            raise ValueError(
                f"recipe: weights method must be minmax or mse, got {self.weights.method!r}"
            )
        if self.layers and self.values != "int8":
            raise ValueError(f"recipe: layers need values int8, got {self.values!r}")
        for pattern, values in self.layers.items():
            _check_choice(values, _LAYER_VALUES, f"recipe layer {pattern!r}")
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
    def needs_calibration(self) -> bool:
        """Whether samples must be given."""
        return self.values == "int8"

    @classmethod
    def parse(cls, value: Recipe | Mapping[str, Any] | str | Path | None) -> Recipe:
        """Read a recipe from any form a user may give.

        Parameters
        ----------
        value : Recipe, mapping, str, Path or None
            A mapping as in YAML, the path of a ``.yaml`` file, or a name: fp32, bf16, int8, keep.
            None is int8.

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
            _check_choice(value, VALUES, "recipe")
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
        fields["layers"] = {str(pattern): values for pattern, values in layers.items()}
        return cls(**fields)

    @classmethod
    def from_yaml(cls, text: str) -> Recipe:
        """Read a recipe from YAML text; errors as from `parse`."""
        return cls.from_dict(parse_yaml(text, what="recipe"))

    def to_dict(self) -> dict[str, Any]:
        """Return plain data; `from_dict` reads it back."""
        document: dict[str, Any] = {"name": self.name, "values": self.values}
        if self.values == "int8":
            document |= {
                "layers": dict(self.layers),
                "activations": self.activations.to_dict(),
                "weights": self.weights.to_dict(),
                "dense_per_channel": self.dense_per_channel,
                "equalize": self.equalize,
                "equalize_relu6": self.equalize_relu6,
                "correct_bias": self.correct_bias,
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

    def with_layers(self, layers: Mapping[str, str]) -> Recipe:
        """Return a copy with more exceptions, which come after those it has."""
        return replace(self, layers={**self.layers, **layers})


_KEYS = tuple(Recipe.__dataclass_fields__)
_TYPES: tuple[tuple[str, type, str], ...] = (
    ("name", str, "text"),
    ("layers", Mapping, "a mapping of patterns to values"),
    ("activations", RangeSearch, "a RangeSearch"),
    ("weights", RangeSearch, "a RangeSearch"),
    ("dense_per_channel", bool, "true or false"),
    ("equalize", bool, "true or false"),
    ("equalize_relu6", bool, "true or false"),
    ("correct_bias", bool, "true or false"),
    ("samples", Integral, "an integer >= 1"),
)


def _check_choice(value: object, known: tuple[str, ...], what: str) -> None:
    if value not in known:
        hint = did_you_mean(value, known) if isinstance(value, str) else ""
        raise ValueError(
            f"{what} must be {', '.join(known[:-1])} or {known[-1]}, got {value!r}{hint}"
        )


__all__ = ["RangeSearch", "Recipe"]
