"""Recipes: what each layer becomes, as plain data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from ..base.schema import check_keys
from ..base.yaml_file import format_yaml, parse_yaml, read_yaml
from .layer_format import VALUES, LayerFormat, check_choice
from .pruning_recipe import Pruning

METHODS = ("mse", "minmax", "percentile", "entropy")
_PERCENTILE = 0.9999


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
    percentile: float = _PERCENTILE

    def __post_init__(self) -> None:
        check_choice(self.method, METHODS, "recipe method")
        if not isinstance(self.percentile, Real) or isinstance(self.percentile, bool):
            raise TypeError(f"recipe: percentile must be a number, got {self.percentile!r}")
        object.__setattr__(self, "percentile", float(self.percentile))
        if not 0.5 < self.percentile <= 1:
            raise ValueError(f"recipe: percentile must be in (0.5, 1], got {self.percentile}")
        if self.method != "percentile" and self.percentile != _PERCENTILE:
            raise ValueError(
                f"recipe: percentile is for method 'percentile', got method {self.method!r}"
            )

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
        - "codebook4", "codebook2" make each weight one of 16 or 4 values of its layer (one table a
          layer; a scale per output where that pays), activations stay in float; "codebook4a8" has
          tables of int8 values, a scale per output, and int8 activations: 4-bit weights in C;
        - "rate-distortion" rounds weights so that error and code length together are small: steps
          and bits of each layer follow from one price of a bit; activations stay in float;
        - "int8-dynamic" quantizes the weights of dense layers to int8, and their input in each
          call; other layers become "w8a32";
        - "keep" takes a network that is quantized already as it is.
    name : str, optional
        What tables call it; `values` by default.
    layers : mapping of str to str, mapping or LayerFormat
        Exceptions: patterns with ``*`` and ``?`` on the names of layers, of their outputs, of
        their weights in the source framework (``"features.0.0.weight"``) or of the modules that
        these belong to (``"features.0.0"``), to any of `values` but "keep", or to a mapping such
        as ``{"values": "w4a32", "bits": 5, "group_size": 64}`` (:class:`LayerFormat`). The last
        pattern that matches counts; :func:`tersor.compress.layer_names` lists the names.
    bits : int, optional
        Bits of quantized weights, 2 to 8, where they differ from those of `values`.
    group_size : int, optional
        Weights that share a scale, where activations are float; 0 gives one scale to all weights
        of an output. By default that of `values`.
    float_zero_point : bool, default False
        Weights of float activations get zero points, as floats: half a bit more for groups of 32,
        less error.
    activations : RangeSearch
        For activations that are quantized once for all (int8, w4a8, codebook4a8).
    weights : RangeSearch
        For quantized weights: "minmax" (default) or "mse".
    dense_per_channel : bool, default False
        A scale per output of dense layers too; TFLite's scheme has one for the layer.
    equalize : bool, default True
        Even out the channels of neighbouring layers first; keeps the function.
    equalize_relu6 : bool, default False
        Try also through ReLU6, which becomes ReLU there, and keep it where the error on calibration
        samples does not rise. Takes twice the time.
    absorb_bias : bool, default False
        After equalization, move what a ReLU lets through of nearly every value from a layer's
        bias to that of the next one, whose input then has a smaller range. Only between layers
        where that keeps the function, that is without padding.
    correct_bias : bool, default True
        Give back to the biases the mean that rounding the weights takes away: from samples where
        they are given, otherwise (fewer than 8 bits) from the BatchNorm in front of a layer.
    rounding : {"gptq", "nearest"}, optional
        How weights are rounded: "gptq" makes each layer's output change least
        (:mod:`tersor.reconstruction`), which needs calibration samples. By default that for fewer
        than 8 bits where samples are given, and "nearest" otherwise.
    conv_per_channel : bool, default True
        A scale per output of int8 convolutions with 8-bit weights; one for the layer otherwise.
    samples : int, default 512
        Calibration samples used at most.
    bits_per_weight : float, optional
        For "rate-distortion": what an entropy coder shall spend on a weight on average, in (0, 8].
        3 by default; with a budget of size, what fits.
    price : float, optional
        For "rate-distortion", instead: of one bit, in the units of
        :class:`tersor.compress.rate_distortion.RateAllocation`.
    pruning : Pruning or mapping, optional
        Weights that are dropped first, such as ``{"sparsity": 0.75, "structure": "1x4"}``
        (:class:`Pruning`); they stay 0 in all `values`.
    merged : sequence of str
        Residual blocks that become one convolution each, fitted to what the block gave, by the
        names of their sums (:func:`tersor.compress.merged_blocks.find_blocks`). Needs samples.
    channels : str, optional
        Channels that stay, as a search under a budget wrote them: hexadecimal digits, a bit for
        each unit of :func:`tersor.graph.channels.find_channels`, of the network with its blocks
        merged.

    Raises
    ------
    ValueError
        If a value is unknown or out of range, or one that is not the default would change nothing.
    TypeError
        If a value is of a wrong type.

    Examples
    --------
    >>> recipe = Recipe.parse("int8").with_layers({"classifier*": "w4a32"})
    >>> recipe.layers["classifier*"].group_size
    32
    """

    values: str = "int8"
    name: str = ""
    layers: Mapping[str, LayerFormat] = field(default_factory=dict)
    bits: int | None = None
    group_size: int | None = None
    float_zero_point: bool = False
    activations: RangeSearch = field(default_factory=RangeSearch)
    weights: RangeSearch = field(default_factory=lambda: RangeSearch("minmax"))
    dense_per_channel: bool = False
    equalize: bool = True
    equalize_relu6: bool = False
    absorb_bias: bool = False
    correct_bias: bool = True
    rounding: str | None = None
    conv_per_channel: bool = True
    samples: int = 512
    bits_per_weight: float | None = None
    price: float | None = None
    pruning: Pruning | None = None
    merged: tuple[str, ...] = ()
    channels: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "pruning", Pruning.parse(self.pruning))
        if self.pruning is not None and self.values == "keep":
            raise ValueError("recipe: pruning needs other values than 'keep'")
        check_choice(self.values, VALUES, "recipe values")
        self._check_merged()
        self._check_channels()
        self._check_types()
        if not self.name:
            object.__setattr__(self, "name", self.values)
        if self.weights.method not in ("minmax", "mse"):
            raise ValueError(
                f"recipe: weights method must be minmax or mse, got {self.weights.method!r}"
            )
        if self.layers and self.values == "keep":
            raise ValueError("recipe: layers need other values than 'keep'")
        layers = {_pattern(p): LayerFormat.parse(f, f"layer {p!r}") for p, f in self.layers.items()}
        object.__setattr__(self, "layers", layers)
        if self.values == "keep":
            if self.group_size is not None or self.float_zero_point or self.bits is not None:
                raise ValueError(
                    "recipe: bits, group_size and float_zero_point need other values than keep"
                )
        else:
            self.format  # noqa: B018 - checks bits, group_size and float_zero_point
            for key in ("bits", "group_size"):
                if getattr(self, key) is not None:
                    object.__setattr__(self, key, int(getattr(self, key)))
        if self.rounding is not None:
            check_choice(self.rounding, ("gptq", "nearest"), "recipe rounding")
        if self.samples < 1:
            raise ValueError(f"recipe: samples must be an integer >= 1, got {self.samples!r}")
        self._check_rate()
        self._check_meaning()

    def _check_merged(self) -> None:
        names = self.merged
        if isinstance(names, str) or not isinstance(names, Sequence):
            raise TypeError(f"recipe: merged must be a list of names, got {names!r}")
        for name in names:
            if not isinstance(name, str):
                raise TypeError(f"recipe: merged must be a list of names, got {name!r} among them")
        if names and self.values == "keep":
            raise ValueError("recipe: merged needs other values than 'keep'")
        object.__setattr__(self, "merged", tuple(dict.fromkeys(names)))

    def _check_channels(self) -> None:
        text = self.channels
        if text is None:
            return
        if not isinstance(text, str):
            raise TypeError(f"recipe: channels must be hexadecimal digits, got {text!r}")
        if not text or set(text) - set("0123456789abcdef"):
            raise ValueError(f"recipe: channels must be hexadecimal digits, got {text!r}")
        if self.values == "keep":
            raise ValueError("recipe: channels need other values than 'keep'")

    def _check_rate(self) -> None:
        for key, most in (("bits_per_weight", 8.0), ("price", math.inf)):
            value = getattr(self, key)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, Real):
                raise TypeError(f"recipe: {key} must be a number, got {value!r}")
            if not 0 < float(value) <= most or math.isinf(value):
                raise ValueError(f"recipe: {key} must be in (0, {most:g}], got {value}")
            object.__setattr__(self, key, float(value))
        if self.bits_per_weight is not None and self.price is not None:
            raise ValueError("recipe: bits_per_weight or price must be given, got both")
        solved = [f.values for f in self._formats() if f.is_rated or f.is_int8_codebook]
        if self.rounding == "nearest" and solved:
            raise ValueError(f"recipe: rounding of {solved[0]!r} must be gptq, got 'nearest'")

    def _check_types(self) -> None:
        for key, kind, what in _TYPES:
            value = getattr(self, key)
            # Python's True is an int too, and nobody means 1 by it.
            if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
                raise TypeError(f"recipe: {key} must be {what}, got {value!r}")
        object.__setattr__(self, "samples", int(self.samples))

    def _check_meaning(self) -> None:
        """Refuse what was asked for and would change nothing."""
        formats = self._formats()
        plain = [f for f in formats if not f.is_codebook]
        kinds = {
            _INT8: any(f.activations == "int8" for f in formats),
            _INT8_WEIGHTS: any(f.activations == "int8" and f.bits == 8 for f in plain),
            _QUANTIZED: any(f.bits is not None for f in formats),
            _EQUALIZED: any(f.activations == "int8" for f in formats) and self.equalize,
            _GROUPED: any(f.weight_only for f in formats),
            _RATED: any(f.is_rated for f in formats),
        }
        for key, kind in _MEANING.items():
            if getattr(self, key) != _DEFAULTS[key] and not kinds[kind]:
                known = [k for k in _KEYS if kinds.get(_MEANING.get(k, ""), True)]
                raise ValueError(
                    f"recipe: {key} is for {kind}, which {self.name!r} has not; "
                    f"keys that have an effect: {', '.join(known)}"
                )

    def _formats(self) -> list[LayerFormat]:
        return [] if self.values == "keep" else [self.format, *self.layers.values()]

    @property
    def format(self) -> LayerFormat:
        """What a layer becomes that no pattern names; not for "keep"."""
        return LayerFormat(self.values, self.bits, self.group_size, self.float_zero_point)

    @property
    def is_rated(self) -> bool:
        """Whether codes of some layer are chosen by what they cost to store."""
        return any(f.is_rated for f in self._formats())

    @property
    def is_unpriced(self) -> bool:
        """Whether layers are chosen so whose price of a bit follows from that of the network."""
        return any(f.is_rated and f.price is None for f in self._formats())

    @property
    def needs_calibration(self) -> bool:
        """Whether samples must be given: some activations are quantized once for all."""
        return any(f.activations == "int8" for f in self._formats())

    @classmethod
    def parse(cls, value: Recipe | Mapping[str, Any] | str | Path | None) -> Recipe:
        """Read a recipe from any form a user may give.

        Parameters
        ----------
        value : Recipe, mapping, str, Path or None
            A mapping as in YAML, the path of a ``.yaml`` file, or a name: one of the `values`, or
            "deep-compression", which is "codebook4" after dropping 75 % of the weights. None is
            int8.

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
            check_choice(value, (*VALUES[:-1], *_NAMED, VALUES[-1]), "recipe")
            return cls(**_NAMED.get(value, {"values": value}))
        return cls.from_dict(value)

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Recipe:
        """Read a recipe from plain data, as `to_dict` gives it; errors as from `parse`."""
        fields = check_keys(document, allowed=_KEYS, what="recipe")
        for key, method in (("activations", "mse"), ("weights", "minmax")):
            if key in fields:
                part = check_keys(
                    fields[key], allowed=("method", "percentile"), what=f"recipe {key}"
                )
                fields[key] = RangeSearch(**{"method": method, **part})
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
        shown = {"name", "values"}
        if self.needs_calibration:
            shown |= _SHOWN
        elif any(f.bits is not None for f in self._formats()):
            shown |= {"layers", "weights", "samples"}
        document: dict[str, Any] = {}
        for key in _KEYS:
            value = getattr(self, key)
            if key in shown or value != _DEFAULTS[key]:
                document[key] = value
        if "layers" in document:
            document["layers"] = {p: layer.to_plain() for p, layer in self.layers.items()}
        if "merged" in document:
            document["merged"] = list(self.merged)
        for key in ("activations", "weights", "pruning"):
            if key in document:
                document[key] = document[key].to_dict()
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


def _pattern(value: object) -> str:
    # YAML reads the names of a Sequential's layers as integers.
    if isinstance(value, bool) or not isinstance(value, (str, Integral)):
        raise TypeError(f"recipe: layers must have patterns as text, got {value!r}")
    return str(value)


_DEFAULTS = {
    f.name: f.default_factory() if f.default_factory is not MISSING else f.default
    for f in fields(Recipe)
}
_KEYS = ("name", *(key for key in _DEFAULTS if key != "name"))
# What a file says of a recipe with int8 activations even where it is the default.
_SHOWN = {
    "layers", "activations", "weights", "dense_per_channel", "equalize", "equalize_relu6",
    "correct_bias", "samples",
}  # fmt: skip
# Recipes that are more than their values: what a name stands for.
_NAMED: dict[str, dict[str, Any]] = {
    "deep-compression": {
        "name": "deep-compression",
        "values": "codebook4",
        "pruning": {"sparsity": 0.75},
    },
}
_INT8, _QUANTIZED = "layers with int8 activations", "quantized weights"
_INT8_WEIGHTS = "layers with int8 activations and weights of 8 bits"
_EQUALIZED = "equalized layers with int8 activations"
_GROUPED = "quantized weights of float activations"
_RATED = "rate-distortion layers"
# Keys that mean something to some layers only.
_MEANING = {
    "bits": _QUANTIZED,
    "group_size": _GROUPED,
    "float_zero_point": _GROUPED,
    "activations": _INT8,
    "weights": _QUANTIZED,
    "dense_per_channel": _INT8_WEIGHTS,
    "equalize": _INT8,
    "equalize_relu6": _EQUALIZED,
    "absorb_bias": _INT8,
    "correct_bias": _QUANTIZED,
    "rounding": _QUANTIZED,
    "conv_per_channel": _INT8_WEIGHTS,
    "samples": _QUANTIZED,
    "bits_per_weight": _RATED,
    "price": _RATED,
}
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


__all__ = ["LayerFormat", "Pruning", "RangeSearch", "Recipe"]
