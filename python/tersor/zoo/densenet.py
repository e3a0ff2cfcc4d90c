"""DenseNet-121, 169 and 201: every layer sees the outputs of all layers before it in its block."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .blocks import image_size, initialise_weights, make_divisible

_GROWTH = 32
_BOTTLENECK = 4


class DenseLayer(nn.Module):
    """BatchNorm, 1x1 convolution, BatchNorm, 3x3 convolution, appended to the input."""

    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        hidden = _BOTTLENECK * growth
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, hidden, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(hidden)
        self.conv2 = nn.Conv2d(hidden, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, inputs, h, w)`` to ``(n, inputs + growth, h, w)``."""
        y = self.conv1(F.relu(self.norm1(x)))
        return torch.cat([x, self.conv2(F.relu(self.norm2(y)))], 1)


class DenseNet(nn.Module):
    """Stem, dense blocks joined by transitions, mean, classifier; named as in torchvision.

    Parameters
    ----------
    name : str
        Of the architecture, for messages.
    blocks : tuple of int
        Layers of each dense block.
    num_classes, input_size, width
        As in :func:`densenet121`.
    """

    def __init__(
        self,
        name: str,
        blocks: tuple[int, ...],
        *,
        num_classes: int,
        input_size: int,
        width: float,
    ) -> None:
        super().__init__()
        _, small = image_size(name, num_classes, input_size, width)
        self.input_shape = (3, input_size, input_size)
        growth = make_divisible(_GROWTH * width, 4)
        channels = 2 * growth
        layers = _stem(channels, small)
        for index, count in enumerate(blocks, 1):
            rows = OrderedDict[str, nn.Module]()
            for row in range(1, count + 1):
                rows[f"denselayer{row}"] = DenseLayer(channels, growth)
                channels += growth
            layers[f"denseblock{index}"] = nn.Sequential(rows)
            if index < len(blocks):
                layers[f"transition{index}"] = _transition(channels)
                channels //= 2
        layers[f"norm{len(blocks) + 1}"] = nn.BatchNorm2d(channels)
        self.features = nn.Sequential(layers)
        self.classifier = nn.Linear(channels, num_classes)
        initialise_weights(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map images ``(n, 3, h, w)`` to logits ``(n, num_classes)``."""
        logits: Tensor = self.classifier(F.relu(self.features(x)).mean((2, 3)))
        return logits


def _stem(channels: int, small: bool) -> OrderedDict[str, nn.Module]:
    layers = OrderedDict[str, nn.Module]()
    if small:
        layers["conv0"] = nn.Conv2d(3, channels, 3, 1, 1, bias=False)
    else:
        layers["conv0"] = nn.Conv2d(3, channels, 7, 2, 3, bias=False)
    layers["norm0"] = nn.BatchNorm2d(channels)
    layers["relu0"] = nn.ReLU()
    if not small:
        layers["pool0"] = nn.MaxPool2d(3, 2, 1)
    return layers


def _transition(channels: int) -> nn.Sequential:
    layers = OrderedDict[str, nn.Module]()
    layers["norm"] = nn.BatchNorm2d(channels)
    layers["relu"] = nn.ReLU()
    layers["conv"] = nn.Conv2d(channels, channels // 2, 1, bias=False)
    layers["pool"] = nn.AvgPool2d(2)
    return nn.Sequential(layers)


def densenet121(*, num_classes: int = 1000, input_size: int = 224, width: float = 1.0) -> DenseNet:
    """Build DenseNet-121.

    Parameters
    ----------
    num_classes : int
    input_size : int
        Height and width of the images, at least 32. Up to 64 the stem is 3x3 with stride 1 and
        there is no pooling after it.
    width : float
        Factor on the growth rate of 32.

    Returns
    -------
    DenseNet

    References
    ----------
    Huang et al., "Densely Connected Convolutional Networks", 2017.

    Examples
    --------
    >>> sum(p.numel() for p in densenet121().parameters())
    7978856
    """
    options = {"num_classes": num_classes, "input_size": input_size}
    return DenseNet("densenet121", (6, 12, 24, 16), width=width, **options)


def densenet169(*, num_classes: int = 1000, input_size: int = 224, width: float = 1.0) -> DenseNet:
    """Build DenseNet-169.

    Parameters
    ----------
    num_classes : int
    input_size : int
        Height and width of the images, at least 32. Up to 64 the stem is 3x3 with stride 1 and
        there is no pooling after it.
    width : float
        Factor on the growth rate of 32.

    Returns
    -------
    DenseNet

    References
    ----------
    Huang et al., "Densely Connected Convolutional Networks", 2017.

    Examples
    --------
    >>> sum(p.numel() for p in densenet169().parameters())
    14149480
    """
    options = {"num_classes": num_classes, "input_size": input_size}
    return DenseNet("densenet169", (6, 12, 32, 32), width=width, **options)


def densenet201(*, num_classes: int = 1000, input_size: int = 224, width: float = 1.0) -> DenseNet:
    """Build DenseNet-201.

    Parameters
    ----------
    num_classes : int
    input_size : int
        Height and width of the images, at least 32. Up to 64 the stem is 3x3 with stride 1 and
        there is no pooling after it.
    width : float
        Factor on the growth rate of 32.

    Returns
    -------
    DenseNet

    References
    ----------
    Huang et al., "Densely Connected Convolutional Networks", 2017.

    Examples
    --------
    >>> sum(p.numel() for p in densenet201().parameters())
    20013928
    """
    options = {"num_classes": num_classes, "input_size": input_size}
    return DenseNet("densenet201", (6, 12, 48, 32), width=width, **options)


__all__ = ["DenseLayer", "DenseNet", "densenet121", "densenet169", "densenet201"]
