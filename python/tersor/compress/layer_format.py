"""What one layer of a network becomes, as plain data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from ..base.schema import check_keys, did_you_mean

VALUES = (
    "int8", "int8-dynamic", "fp16", "bf16", "fp32", "w8a32", "w4a32", "w3a32", "w4a8",
    "codebook4", "codebook2", "codebook4a8", "rate-distortion", "keep",
)  # fmt: skip
_LAYER_VALUES = VALUES[:-1]
_BITS = {"int8": 8, "int8-dynamic": 8, "w8a32": 8, "w4a32": 4, "w3a32": 3, "w4a8": 4}
_BITS |= {"codebook4": 4, "codebook2": 2, "codebook4a8": 4, "rate-distortion": 8}
_GROUPS = {"w4a32": 32, "w3a32": 32}
_INT8_ACTIVATIONS = ("int8", "w4a8", "codebook4a8")
_WEIGHT_ONLY = ("w8a32", "w4a32", "w3a32")
_CODEBOOKS = ("codebook4", "codebook2", "codebook4a8")
_EIGHT_BITS = ("int8-dynamic", "rate-distortion")


@dataclass(frozen=True)
class LayerFormat:
    """Number format of a layer.

    Parameters
    ----------
    values : str
        One of the values of a :class:`Recipe` but "keep".
    bits : int, optional
        Bits of a quantized weight, 2 to 8 (of a codebook's index, 1 to 8), where they differ from
        those of `values`: 5 bits are ``LayerFormat("w4a32", bits=5)``.
    group_size : int, optional
        Weights of one output that share a scale; 0 gives one scale to each output. Of "w8a32",
        "w4a32" and "w3a32" only; by default 0, 32 and 32.
    float_zero_point : bool, default False
        Give the scales zero points, as floats; of the same values.
    price : float, optional
        Of "rate-distortion": of one bit, as a share of the variance of the layer's output, instead
        of what follows from the price for the network.

    Raises
    ------
    ValueError
        If a value is unknown or out of range, or groups are given where activations are int8.
    TypeError
        If a value is of a wrong type.

    Examples
    --------
    >>> LayerFormat("w4a32").describe()
    'w4a32 group 32'
    """

    values: str
    bits: int | None = None
    group_size: int | None = None
    float_zero_point: bool = False
    price: float | None = None

    def __post_init__(self) -> None:
        check_choice(self.values, _LAYER_VALUES, "recipe values")
        if not isinstance(self.float_zero_point, bool):
            raise TypeError(
                f"recipe: float_zero_point must be true or false, got {self.float_zero_point!r}"
            )
        bits = _integer(self.bits, "bits", 1 if self.is_codebook else 2, 8)
        if bits is not None and self.values not in _BITS:
            raise ValueError(f"recipe: bits need quantized values, got {self.values!r}")
        if bits not in (None, 8) and self.values in _EIGHT_BITS:
            raise ValueError(f"recipe: bits of {self.values!r} must be 8, got {bits}")
        group = _integer(self.group_size, "group_size", 0, 1 << 20)
        if self.values not in _WEIGHT_ONLY and (group or self.float_zero_point):
            what = "group_size" if group else "float_zero_point"
            raise ValueError(
                f"recipe: {what} is for weights of float activations ({', '.join(_WEIGHT_ONLY)}), "
                f"got {self.values!r}"
            )
        self._check_price()
        object.__setattr__(self, "bits", _BITS.get(self.values) if bits is None else bits)
        default = _GROUPS.get(self.values, 0)
        object.__setattr__(self, "group_size", default if group is None else group)

    def _check_price(self) -> None:
        if self.price is None:
            return
        if isinstance(self.price, bool) or not isinstance(self.price, Real):
            raise TypeError(f"recipe: price must be a number, got {self.price!r}")
        if not 0 < float(self.price) < math.inf:
            raise ValueError(f"recipe: price must be in (0, inf), got {self.price}")
        if not self.is_rated:
            raise ValueError(f"recipe: price is for 'rate-distortion', got {self.values!r}")
        object.__setattr__(self, "price", float(self.price))

    @property
    def activations(self) -> str:
        """Format of what the layer computes with: "int8", "dynamic" or "float"."""
        if self.values in _INT8_ACTIVATIONS:
            return "int8"
        return "dynamic" if self.values == "int8-dynamic" else "float"

    @property
    def weight_only(self) -> bool:
        """Whether the weight alone is quantized."""
        return self.values in _WEIGHT_ONLY

    @property
    def is_codebook(self) -> bool:
        """Whether the weight becomes indices into a table of values."""
        return self.values in _CODEBOOKS

    @property
    def is_int8_codebook(self) -> bool:
        """Whether the table holds int8 codes, for int8 activations."""
        return self.is_codebook and self.activations == "int8"

    @property
    def is_rated(self) -> bool:
        """Whether the weight's codes are chosen by what they cost to store."""
        return self.values == "rate-distortion"

    @property
    def is_leveled(self) -> bool:
        """Whether the weight is rounded to levels: a codebook, or a priced grid."""
        return self.is_codebook or self.is_rated

    @classmethod
    def parse(cls, value: LayerFormat | Mapping[str, Any] | str, what: str) -> LayerFormat:
        """Read a format from any form a user may give.

        Parameters
        ----------
        value : LayerFormat, mapping or str
            A name such as "w4a32", or a mapping with `values` and more.
        what : str
            Whose format it is, for messages.

        Returns
        -------
        LayerFormat
        """
        if isinstance(value, LayerFormat):
            return value
        if isinstance(value, str):
            check_choice(value, _LAYER_VALUES, f"recipe {what}")
            return cls(value)
        fields = check_keys(value, allowed=_KEYS, required=("values",), what=f"recipe {what}")
        check_choice(fields["values"], _LAYER_VALUES, f"recipe {what}: values")
        return cls(**fields)

    def to_plain(self) -> str | dict[str, Any]:
        """Return plain data; `parse` reads it back."""
        plain = LayerFormat(self.values)
        fields = {key: getattr(self, key) for key in _KEYS[1:]}
        more = {key: value for key, value in fields.items() if value != getattr(plain, key)}
        return {"values": self.values, **more} if more else self.values

    def describe(self) -> str:
        """Return a few words for tables."""
        words = [self.values]
        if self.bits != _BITS.get(self.values):
            words.append(f"{self.bits} bits")
        if self.group_size:
            words.append(f"group {self.group_size}")
        if self.float_zero_point:
            words.append("float zero points")
        if self.price is not None:
            words.append(f"price {self.price:.3g}")
        return " ".join(words)


_KEYS = tuple(LayerFormat.__dataclass_fields__)


def _integer(value: object, what: str, least: int, most: int) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"recipe: {what} must be an integer, got {value!r}")
    if not least <= int(value) <= most:
        raise ValueError(f"recipe: {what} must be in [{least}, {most}], got {value}")
    return int(value)


def check_choice(value: object, known: tuple[str, ...], what: str) -> None:
    """Check that a value is one of a few; the closest is named where it is not.

    Parameters
    ----------
    value : object
    known : tuple of str
    what : str
        What the value is, for messages.
    """
    if value not in known:
        hint = did_you_mean(value, known) if isinstance(value, str) else ""
        raise ValueError(
            f"{what} must be {', '.join(known[:-1])} or {known[-1]}, got {value!r}{hint}"
        )


__all__ = ["VALUES", "LayerFormat", "check_choice"]
