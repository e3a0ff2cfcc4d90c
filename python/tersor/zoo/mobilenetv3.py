"""MobileNetV3, small and large: inverted residuals with squeeze-excitation and hard-swish."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from torch import Tensor, nn

from .blocks import (
    Activation,
    ConvNormActivation,
    SqueezeExcitation,
    image_size,
    initialise_weights,
    make_divisible,
)


class Row(NamedTuple):
    """One line of tables 1 and 2 of the paper."""

    kernel: int
    expanded: int
    outputs: int
    excite: bool
    activation: Activation
    stride: int


_LARGE = (
    Row(3, 16, 16, False, nn.ReLU, 1),
    Row(3, 64, 24, False, nn.ReLU, 2),
    Row(3, 72, 24, False, nn.ReLU, 1),
    Row(5, 72, 40, True, nn.ReLU, 2),
    Row(5, 120, 40, True, nn.ReLU, 1),
    Row(5, 120, 40, True, nn.ReLU, 1),
    Row(3, 240, 80, False, nn.Hardswish, 2),
    Row(3, 200, 80, False, nn.Hardswish, 1),
    Row(3, 184, 80, False, nn.Hardswish, 1),
    Row(3, 184, 80, False, nn.Hardswish, 1),
    Row(3, 480, 112, True, nn.Hardswish, 1),
    Row(3, 672, 112, True, nn.Hardswish, 1),
    Row(5, 672, 160, True, nn.Hardswish, 2),
    Row(5, 960, 160, True, nn.Hardswish, 1),
    Row(5, 960, 160, True, nn.Hardswish, 1),
)
_SMALL = (
    Row(3, 16, 16, True, nn.ReLU, 2),
    Row(3, 72, 24, False, nn.ReLU, 2),
    Row(3, 88, 24, False, nn.ReLU, 1),
    Row(5, 96, 40, True, nn.Hardswish, 2),
    Row(5, 240, 40, True, nn.Hardswish, 1),
    Row(5, 240, 40, True, nn.Hardswish, 1),
    Row(5, 120, 48, True, nn.Hardswish, 1),
    Row(5, 144, 48, True, nn.Hardswish, 1),
    Row(5, 288, 96, True, nn.Hardswish, 2),
    Row(5, 576, 96, True, nn.Hardswish, 1),
    Row(5, 576, 96, True, nn.Hardswish, 1),
)
_norm = partial(nn.BatchNorm2d, eps=0.001, momentum=0.01)


class InvertedResidual(nn.Module):
    """1x1 expansion, depthwise, optional squeeze-excitation, 1x1 projection."""

    def __init__(self, inputs: int, row: Row) -> None:
        super().__init__()
        activation, hidden = row.activation, row.expanded
        layers: list[nn.Module] = []
        if hidden != inputs:
            layers.append(ConvNormActivation(inputs, hidden, 1, activation=activation, norm=_norm))
        layers.append(
            ConvNormActivation(
                hidden, hidden, row.kernel, row.stride, hidden, activation=activation, norm=_norm
            )
        )
        if row.excite:
            squeezed = make_divisible(hidden // 4)
            layers.append(SqueezeExcitation(hidden, squeezed, nn.ReLU, nn.Hardsigmoid))
        layers.append(ConvNormActivation(hidden, row.outputs, 1, activation=None, norm=_norm))
        self.block = nn.Sequential(*layers)
        self.residual = row.stride == 1 and inputs == row.outputs

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, inputs, h, w)`` to ``(n, outputs, h / stride, w / stride)``."""
        y: Tensor = self.block(x)
        return x + y if self.residual else y


class MobileNetV3(nn.Module):
    """Stem, inverted residuals, 1x1 convolution, mean, two dense layers; named as in torchvision.

    Parameters
    ----------
    name : str
        Of the architecture, for messages.
    rows : tuple of Row
    hidden : int
        Outputs of the first dense layer.
    num_classes, input_size, width, dropout
        As in :func:`mobilenet_v3_small`.
    """

    def __init__(
        self,
        name: str,
        rows: tuple[Row, ...],
        hidden: int,
        *,
        num_classes: int,
        input_size: int,
        width: float,
        dropout: float,
    ) -> None:
        super().__init__()
        _, small = image_size(name, num_classes, input_size, width)
        self.input_shape = (3, input_size, input_size)
        inputs = make_divisible(16 * width)
        stride = 1 if small else 2
        stem = ConvNormActivation(3, inputs, 3, stride, activation=nn.Hardswish, norm=_norm)
        layers: list[nn.Module] = [stem]
        first = next(index for index, row in enumerate(rows) if row.stride > 1)
        for index, row in enumerate(rows):
            scaled = row._replace(
                expanded=make_divisible(row.expanded * width),
                outputs=make_divisible(row.outputs * width),
                stride=1 if small and index == first else row.stride,
            )
            layers.append(InvertedResidual(inputs, scaled))
            inputs = scaled.outputs
        last = 6 * inputs
        layers.append(ConvNormActivation(inputs, last, 1, activation=nn.Hardswish, norm=_norm))
        self.features = nn.Sequential(*layers)
        hidden = make_divisible(hidden * width)
        self.classifier = nn.Sequential(
            nn.Linear(last, hidden),
            nn.Hardswish(),
            nn.Dropout(dropout),
            nn.Linear(hidden, num_classes),
        )
        initialise_weights(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map images ``(n, 3, h, w)`` to logits ``(n, num_classes)``."""
        logits: Tensor = self.classifier(self.features(x).mean((2, 3)))
        return logits


def mobilenet_v3_small(
    *,
    num_classes: int = 1000,
    input_size: int = 224,
    width: float = 1.0,
    dropout: float = 0.2,
) -> MobileNetV3:
    """Build MobileNetV3-Small.

    Parameters
    ----------
    num_classes : int
    input_size : int
        Height and width of the images, at least 32. Up to 64 the stem and the first strided block
        have stride 1.
    width : float
        Factor on the channels.
    dropout : float
        Before the classifier, in [0, 1].

    Returns
    -------
    MobileNetV3

    References
    ----------
    Howard et al., "Searching for MobileNetV3", 2019.

    Examples
    --------
    >>> sum(p.numel() for p in mobilenet_v3_small().parameters())
    2542856
    """
    return MobileNetV3(
        "mobilenet_v3_small",
        _SMALL,
        1024,
        num_classes=num_classes,
        input_size=input_size,
        width=width,
        dropout=dropout,
    )


def mobilenet_v3_large(
    *,
    num_classes: int = 1000,
    input_size: int = 224,
    width: float = 1.0,
    dropout: float = 0.2,
) -> MobileNetV3:
    """Build MobileNetV3-Large.

    Parameters
    ----------
    num_classes : int
    input_size : int
        Height and width of the images, at least 32. Up to 64 the stem and the first strided block
        have stride 1.
    width : float
        Factor on the channels.
    dropout : float
        Before the classifier, in [0, 1].

    Returns
    -------
    MobileNetV3

    References
    ----------
    Howard et al., "Searching for MobileNetV3", 2019.

    Examples
    --------
    >>> sum(p.numel() for p in mobilenet_v3_large().parameters())
    5483032
    """
    return MobileNetV3(
        "mobilenet_v3_large",
        _LARGE,
        1280,
        num_classes=num_classes,
        input_size=input_size,
        width=width,
        dropout=dropout,
    )


__all__ = ["InvertedResidual", "MobileNetV3", "Row", "mobilenet_v3_large", "mobilenet_v3_small"]
