"""Layers that several architectures share, initial weights, and the check of their arguments."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable

import torch
from torch import Tensor, nn

Activation = Callable[[], nn.Module]
Norm = Callable[[int], nn.Module]

# Images of at most this size get the variant for small images: the strides that ImageNet networks
# take before their first blocks would leave one pixel of a 32 x 32 image.
SMALL_IMAGE = 64


class ConvNormActivation(nn.Sequential):
    """Convolution without bias (0), BatchNorm (1), activation (2), padded to keep the size."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel_size: int = 3,
        stride: int = 1,
        groups: int = 1,
        *,
        activation: Activation | None = nn.ReLU,
        norm: Norm = nn.BatchNorm2d,
    ) -> None:
        padding = kernel_size // 2
        layers = [
            nn.Conv2d(inputs, outputs, kernel_size, stride, padding, groups=groups, bias=False),
            norm(outputs),
        ]
        super().__init__(*layers, *([activation()] if activation else []))


class SqueezeExcitation(nn.Module):
    """Scale channels by a gate computed from their means (Hu et al. 2018)."""

    def __init__(
        self, channels: int, squeezed: int, activation: Activation, gate: Activation
    ) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)
        self.activation = activation()
        self.gate = gate()

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, channels, h, w)`` to the same shape."""
        gate = self.fc2(self.activation(self.fc1(x.mean((2, 3), keepdim=True))))
        y: Tensor = x * self.gate(gate)
        return y


class StochasticDepth(nn.Module):
    """Drop a residual branch for whole samples while training (Huang et al. 2016)."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, ...)`` to the same shape; the identity outside of training."""
        if not self.training or self.rate == 0:
            return x
        kept = 1 - self.rate
        mask = torch.empty((len(x), *[1] * (x.dim() - 1)), dtype=x.dtype, device=x.device)
        return x * mask.bernoulli_(kept).div_(kept)

    def extra_repr(self) -> str:
        """Return the rate, for printing."""
        return f"rate={self.rate:.3g}"


def make_divisible(value: float, divisor: int = 8) -> int:
    """Round a number of channels to a multiple, and never below 90 % of it (Howard et al. 2017).

    Parameters
    ----------
    value : float
    divisor : int

    Returns
    -------
    int

    Examples
    --------
    >>> make_divisible(24 * 0.75), make_divisible(11), make_divisible(3)
    (24, 16, 8)
    """
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


def image_size(name: str, num_classes: int, input_size: int, width: float) -> tuple[int, bool]:
    """Check the arguments that every architecture for images has.

    Parameters
    ----------
    name : str
        Of the architecture, for messages.
    num_classes, input_size : int
        At least 1 and 32.
    width : float
        Above 0.

    Returns
    -------
    size : int
    small : bool
        Whether the variant for small images is meant.

    Raises
    ------
    ValueError
        If one of them is out of range.
    TypeError
        If a size is not an integer.
    """
    check_classes(name, num_classes, width)
    _check_integer(name, "input_size", input_size)
    if input_size < 32:
        raise ValueError(f"{name}: input_size must be at least 32, got {input_size}")
    return input_size, input_size <= SMALL_IMAGE


def check_classes(name: str, num_classes: int, width: float) -> None:
    """Check the arguments that every architecture has.

    Parameters
    ----------
    name : str
    num_classes : int
        At least 1.
    width : float
        Above 0.

    Raises
    ------
    ValueError
        If one of them is out of range.
    TypeError
        If `num_classes` is not an integer.
    """
    _check_integer(name, "num_classes", num_classes)
    if num_classes < 1:
        raise ValueError(f"{name}: num_classes must be at least 1, got {num_classes}")
    if not 0 < width < math.inf:
        raise ValueError(f"{name}: width must be positive, got {width}")


def _check_integer(name: str, argument: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name}: {argument} must be an integer, got {value!r}")


def initialise_weights(module: nn.Module) -> None:
    """Draw initial weights by fan-in, so that activations keep their scale.

    Normal with variance 2 / fan-in for convolutions (He et al. 2015), 1 / fan-in for dense layers.

    Parameters
    ----------
    module : torch.nn.Module
        Changed in place.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, 0.0, math.sqrt(2 / layer.weight[0].numel()))
        elif isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, 0.0, math.sqrt(1 / layer.in_features))
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.ones_(layer.weight)
        else:
            continue
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


__all__ = [
    "SMALL_IMAGE",
    "Activation",
    "ConvNormActivation",
    "Norm",
    "SqueezeExcitation",
    "StochasticDepth",
    "check_classes",
    "image_size",
    "initialise_weights",
    "make_divisible",
]
