"""The session's ``fast`` int8 arithmetic on tensors: integers held in floats, exactly.

Every function takes and gives codes *without* their zero point, as float32 tensors of integers.
Contracts: ``cpp/tersor/quantization/requantize.h`` and ``requantize_c99.h``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

# Of a float64.
_FRACTION_BITS = 52
_EXPONENT_BIAS = 1023


@dataclass(frozen=True)
class Codes:
    """Parameters of an edge's codes, and the codes that its activation leaves.

    Attributes
    ----------
    scale, zero_point : torch.Tensor of float32, shape ()
    low, high : torch.Tensor of float32, shape ()
        Without the zero point.
    """

    scale: torch.Tensor
    zero_point: torch.Tensor
    low: torch.Tensor
    high: torch.Tensor


def code_limits(
    scale: torch.Tensor, zero_point: torch.Tensor, low: int, high: int, activation: str
) -> Codes:
    """Find the codes that an activation leaves.

    Parameters
    ----------
    scale, zero_point : torch.Tensor of float32, shape ()
    low, high : int
        Of the quantizer.
    activation : {"none", "relu", "relu6"}

    Returns
    -------
    Codes
    """
    lowest, highest = low - zero_point, high - zero_point
    if activation != "none":
        lowest = torch.clamp(lowest, min=0)
    if activation == "relu6":  # half away from zero, as TFLite
        highest = torch.minimum(highest, torch.floor(6 / scale + 0.5))
    return Codes(scale, zero_point, lowest, highest)


def _fixed(multiplier: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mantissa in [2^30, 2^31) and shift as int64: ``multiplier = mantissa * 2^(shift - 31)``."""
    # From the bits of a positive double: compilers of graphs fail at frexp of doubles.
    bits = multiplier.view(torch.int64)
    shift = (bits >> _FRACTION_BITS) - _EXPONENT_BIAS + 1
    fraction = (bits & ((1 << _FRACTION_BITS) - 1)) | (1 << _FRACTION_BITS)
    spare = _FRACTION_BITS - 30
    mantissa = (fraction + (1 << (spare - 1))) >> spare
    over = mantissa >> 31
    mantissa, shift = mantissa >> over, shift + over
    tiny = shift < -31
    return torch.where(tiny, 0, mantissa), torch.where(tiny, 0, shift)


def _offset(shift: torch.Tensor) -> torch.Tensor:
    # 2^(shift - 1), which is exact in float32 for shift in [-31, -1].
    half = 1 / (1 << torch.clamp(1 - shift, min=1)).float()
    return torch.where(shift < 0, half, 0.0)


def _round(v: torch.Tensor, output: Codes) -> torch.Tensor:
    return torch.round(torch.clamp(v, output.low, output.high))


def requantize(sums: torch.Tensor, multiplier: torch.Tensor, output: Codes) -> torch.Tensor:
    """Scale accumulators: ``clamp(rint(v + copysign(h, v)))``, ``v = float(sum) * multiplier``.

    Parameters
    ----------
    sums : torch.Tensor
        Integers.
    multiplier : torch.Tensor of float64
        Broadcasts against `sums`.
    output : Codes

    Returns
    -------
    torch.Tensor of float32
    """
    _, shift = _fixed(multiplier)
    v = sums.float() * multiplier.float()
    return _round(v + torch.copysign(_offset(shift), v), output)


def _multiply_high(a: torch.Tensor, mantissa: torch.Tensor) -> torch.Tensor:
    product = a * mantissa
    nudge = torch.where(product >= 0, 1 << 30, 1 - (1 << 30))
    return torch.div(product + nudge, 1 << 31, rounding_mode="trunc")


def _scaled(x: torch.Tensor, mantissa: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """Round twice, as TFLite Micro; int64 in and out."""
    left, right = torch.clamp(shift, min=0), torch.clamp(-shift, min=0)
    x = torch.clamp(x << left, -(2**31), 2**31 - 1)
    high = _multiply_high(x, mantissa)
    mask = (torch.ones_like(right) << right) - 1
    threshold = (mask >> 1) + (high < 0)
    return (high >> right) + ((high & mask) > threshold)


def requantize_exactly(
    sums: torch.Tensor,
    multiplier: torch.Tensor,
    output: Codes,
    fixed: tuple[torch.Tensor, torch.Tensor] | None = None,
) -> torch.Tensor:
    """Scale accumulators in integers, with two roundings.

    Parameters
    ----------
    sums : torch.Tensor
        Integers.
    multiplier : torch.Tensor of float64, shape ()
    output : Codes
    fixed : pair of torch.Tensor of int64, optional
        Mantissa and shift, if they are not the multiplier's.

    Returns
    -------
    torch.Tensor of float32
    """
    mantissa, shift = _fixed(multiplier) if fixed is None else fixed
    y = _scaled(sums.long(), mantissa, shift).float()
    return torch.clamp(y, output.low, output.high)


def _requantize_product(
    sums: torch.Tensor,
    multiplier: torch.Tensor,
    output: Codes,
    fixed: tuple[torch.Tensor, torch.Tensor] | None = None,
) -> torch.Tensor:
    """Requantize where sums often fall on ties: in integers if the multiplier is simple."""
    mantissa, shift = _fixed(multiplier) if fixed is None else fixed
    often_ties = (shift >= 0) | (mantissa & 0xFFFFF == 0)
    v = sums.float() * multiplier.float()
    fast = _round(v + torch.copysign(_offset(shift), v), output)
    return torch.where(often_ties, requantize_exactly(sums, multiplier, output, fixed), fast)


def add(
    a: torch.Tensor,
    b: torch.Tensor,
    scale_a: torch.Tensor,
    scale_b: torch.Tensor,
    output: Codes,
    sign: int = 1,
) -> torch.Tensor:
    """Add or subtract codes: ``rint(m_a * a +- m_b * b)``, ``m = float(s / s_out)``.

    Parameters
    ----------
    a, b : torch.Tensor of float32
    scale_a, scale_b : torch.Tensor of float32, shape ()
    output : Codes
    sign : {1, -1}

    Returns
    -------
    torch.Tensor of float32
    """
    scaled_a = (scale_a.double() / output.scale.double()).float() * a
    scaled_b = (scale_b.double() / output.scale.double()).float() * b
    return _round(scaled_a + scaled_b if sign > 0 else scaled_a - scaled_b, output)


def multiply(
    a: torch.Tensor,
    b: torch.Tensor,
    scale_a: torch.Tensor,
    scale_b: torch.Tensor,
    output: Codes,
) -> torch.Tensor:
    """Multiply codes; parameters as of :func:`add`."""
    multiplier = scale_a.double() * scale_b.double() / output.scale.double()
    return _requantize_product(a * b, multiplier, output)


def mean(x: torch.Tensor, scale: torch.Tensor, axes: list[int], output: Codes) -> torch.Tensor:
    """Average codes over axes, which are kept with size 1.

    Parameters
    ----------
    x : torch.Tensor of float32
    scale : torch.Tensor of float32, shape ()
    axes : list of int
    output : Codes

    Returns
    -------
    torch.Tensor of float32
    """
    count = 1
    for axis in axes:
        count *= int(x.shape[axis])
    ratio = scale.double() / output.scale.double()
    mantissa, shift = _fixed(ratio)
    # The largest power of two not above the count goes into the shift; 31 bits stay.
    spare = torch.clamp(shift + 31, max=min(count.bit_length() - 1, 32))
    wide = torch.div(mantissa << spare, count, rounding_mode="floor")
    sums = x.double().sum(axes, keepdim=True)
    return _requantize_product(sums, ratio / count, output, (wide, shift - spare))


def average(sums: torch.Tensor, counts: torch.Tensor, zero_point: torch.Tensor) -> torch.Tensor:
    """Round means of codes with their zero point half away from zero.

    Parameters
    ----------
    sums, counts : torch.Tensor
        Sums of codes without zero points; how many they are divided by.
    zero_point : torch.Tensor, shape ()

    Returns
    -------
    torch.Tensor of float32
        Without the zero point.
    """
    counts = counts.long().clamp(min=1)
    total = torch.round(sums).long() + zero_point.long() * counts
    half = torch.div(counts, 2, rounding_mode="floor")
    nudged = torch.where(total > 0, total + half, total - half)
    return (torch.div(nudged, counts, rounding_mode="trunc") - zero_point.long()).float()


def softmax(x: torch.Tensor, scale: torch.Tensor, axis: int) -> torch.Tensor:
    """Softmax of codes, to codes of scale 1/256 without their zero point -128.

    Parameters
    ----------
    x : torch.Tensor of float32
    scale : torch.Tensor of float32, shape ()
    axis : int

    Returns
    -------
    torch.Tensor of float32
    """
    distance = x.amax(axis, keepdim=True) - x
    table = torch.round(2.0**23 * torch.exp(-scale.double() * distance.double())).long()
    sums = table.sum(axis, keepdim=True)
    half = torch.div(sums, 2, rounding_mode="floor")
    quotient = torch.div(table * 256 + half, sums, rounding_mode="floor")
    return quotient.clamp(max=255).float()


__all__ = [
    "Codes",
    "add",
    "average",
    "code_limits",
    "mean",
    "multiply",
    "requantize",
    "requantize_exactly",
    "softmax",
]
