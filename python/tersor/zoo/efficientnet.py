"""EfficientNet-B0, B1 and B3: one network, scaled in width, depth and image size together."""

from __future__ import annotations

import math
from functools import partial

from torch import Tensor, nn

from .blocks import (
    ConvNormActivation,
    SqueezeExcitation,
    StochasticDepth,
    image_size,
    initialise_weights,
    make_divisible,
)

# Expansion, kernel, stride, channels, blocks of each stage of B0: table 1 of the paper.
_STAGES = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
_LAST_EXPANSION = 4
_conv = partial(ConvNormActivation, activation=nn.SiLU)


class MBConv(nn.Module):
    """1x1 expansion, depthwise, squeeze-excitation, 1x1 projection."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int, drop: float
    ) -> None:
        super().__init__()
        hidden = make_divisible(inputs * expansion)
        layers: list[nn.Module] = []
        if hidden != inputs:
            layers.append(_conv(inputs, hidden, 1))
        layers += [
            _conv(hidden, hidden, kernel, stride, groups=hidden),
            SqueezeExcitation(hidden, max(1, inputs // 4), nn.SiLU, nn.Sigmoid),
            ConvNormActivation(hidden, outputs, 1, activation=None),
        ]
        self.block = nn.Sequential(*layers)
        self.residual = stride == 1 and inputs == outputs
        self.stochastic_depth = StochasticDepth(drop)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, inputs, h, w)`` to ``(n, outputs, h / stride, w / stride)``."""
        y: Tensor = self.block(x)
        return x + self.stochastic_depth(y) if self.residual else y


class EfficientNet(nn.Module):
    """Stem, stages of MBConv, 1x1 convolution, mean, classifier; named as in torchvision.

    Parameters
    ----------
    name : str
        Of the architecture, for messages.
    depth : float
        Factor on the blocks of each stage, rounded up.
    num_classes, input_size, dropout, stochastic_depth
        As in :func:`efficientnet_b0`.
    width : float
        Factor on B0's channels.
    """

    def __init__(
        self,
        name: str,
        depth: float,
        *,
        num_classes: int,
        input_size: int,
        width: float,
        dropout: float,
        stochastic_depth: float,
    ) -> None:
        super().__init__()
        _, small = image_size(name, num_classes, input_size, width)
        self.input_shape = (3, input_size, input_size)
        inputs = make_divisible(32 * width)
        layers: list[nn.Module] = [_conv(3, inputs, 3, 1 if small else 2)]
        counts = [math.ceil(count * depth) for *_, count in _STAGES]
        done = 0
        for index, (expansion, kernel, stride, channels, _) in enumerate(_STAGES):
            outputs = make_divisible(channels * width)
            rows = []
            for row in range(counts[index]):
                strided = row == 0 and not (small and index == 1)
                drop = stochastic_depth * done / sum(counts)
                step = stride if strided else 1
                rows.append(MBConv(inputs, outputs, kernel, step, expansion, drop))
                inputs, done = outputs, done + 1
            layers.append(nn.Sequential(*rows))
        last = _LAST_EXPANSION * inputs
        self.features = nn.Sequential(*layers, _conv(inputs, last, 1))
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(last, num_classes))
        initialise_weights(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map images ``(n, 3, h, w)`` to logits ``(n, num_classes)``."""
        logits: Tensor = self.classifier(self.features(x).mean((2, 3)))
        return logits


def efficientnet_b0(
    *,
    num_classes: int = 1000,
    input_size: int = 224,
    width: float = 1.0,
    dropout: float = 0.2,
    stochastic_depth: float = 0.2,
) -> EfficientNet:
    """Build EfficientNet-B0.

    Parameters
    ----------
    num_classes : int
    input_size : int
        Height and width of the images, at least 32. Up to 64 the stem and the second stage have
        stride 1.
    width : float
        Factor on the channels.
    dropout : float
        Before the classifier, in [0, 1].
    stochastic_depth : float
        Share of samples for which the last block is dropped while training, in [0, 1).

    Returns
    -------
    EfficientNet

    References
    ----------
    Tan & Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", 2019.

    Examples
    --------
    >>> sum(p.numel() for p in efficientnet_b0().parameters())
    5288548
    """
    return EfficientNet(
        "efficientnet_b0",
        1.0,
        num_classes=num_classes,
        input_size=input_size,
        width=width,
        dropout=dropout,
        stochastic_depth=stochastic_depth,
    )


def efficientnet_b1(
    *,
    num_classes: int = 1000,
    input_size: int = 240,
    width: float = 1.0,
    dropout: float = 0.2,
    stochastic_depth: float = 0.2,
) -> EfficientNet:
    """Build EfficientNet-B1: 1.1 times as deep as B0.

    Parameters
    ----------
    num_classes : int
    input_size : int
        Height and width of the images, at least 32. Up to 64 the stem and the second stage have
        stride 1.
    width : float
        Factor on the channels.
    dropout : float
        Before the classifier, in [0, 1].
    stochastic_depth : float
        Share of samples for which the last block is dropped while training, in [0, 1).

    Returns
    -------
    EfficientNet

    References
    ----------
    Tan & Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", 2019.

    Examples
    --------
    >>> sum(p.numel() for p in efficientnet_b1().parameters())
    7794184
    """
    return EfficientNet(
        "efficientnet_b1",
        1.1,
        num_classes=num_classes,
        input_size=input_size,
        width=width,
        dropout=dropout,
        stochastic_depth=stochastic_depth,
    )


def efficientnet_b3(
    *,
    num_classes: int = 1000,
    input_size: int = 300,
    width: float = 1.0,
    dropout: float = 0.3,
    stochastic_depth: float = 0.2,
) -> EfficientNet:
    """Build EfficientNet-B3: 1.2 times as wide and 1.4 times as deep as B0.

    Parameters
    ----------
    num_classes : int
    input_size : int
        Height and width of the images, at least 32. Up to 64 the stem and the second stage have
        stride 1.
    width : float
        Factor on B3's channels.
    dropout : float
        Before the classifier, in [0, 1].
    stochastic_depth : float
        Share of samples for which the last block is dropped while training, in [0, 1).

    Returns
    -------
    EfficientNet

    References
    ----------
    Tan & Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", 2019.

    Examples
    --------
    >>> sum(p.numel() for p in efficientnet_b3().parameters())
    12233232
    """
    return EfficientNet(
        "efficientnet_b3",
        1.4,
        num_classes=num_classes,
        input_size=input_size,
        width=1.2 * width,
        dropout=dropout,
        stochastic_depth=stochastic_depth,
    )


__all__ = ["EfficientNet", "MBConv", "efficientnet_b0", "efficientnet_b1", "efficientnet_b3"]
