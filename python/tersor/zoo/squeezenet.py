"""SqueezeNet 1.0 and 1.1: 1x1 convolutions squeeze what 3x3 convolutions see."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .blocks import image_size, initialise_weights, make_divisible

# Squeezed and expanded channels of each fire module; 0 stands for a pooling.
_ROWS_1_0 = ((16, 64), (16, 64), (32, 128), 0, (32, 128), (48, 192), (48, 192), (64, 256), 0,
             (64, 256))  # fmt: skip
_ROWS_1_1 = ((16, 64), (16, 64), 0, (32, 128), (32, 128), 0, (48, 192), (48, 192), (64, 256),
             (64, 256))  # fmt: skip


class Fire(nn.Module):
    """1x1 convolution, then 1x1 and 3x3 convolutions side by side."""

    def __init__(self, inputs: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, inputs, h, w)`` to ``(n, 2 expanded, h, w)``."""
        x = F.relu(self.squeeze(x))
        return torch.cat([F.relu(self.expand1x1(x)), F.relu(self.expand3x3(x))], 1)


class SqueezeNet(nn.Module):
    """Stem, eight fire modules, 1x1 convolution, mean; parameters named as in torchvision.

    Parameters
    ----------
    name : str
        Of the architecture, for messages.
    stem : tuple of int
        Channels and kernel of the first convolution.
    rows : tuple
        Fire modules and poolings.
    num_classes, input_size, width, dropout
        As in :func:`squeezenet1_1`.
    """

    def __init__(
        self,
        name: str,
        stem: tuple[int, int],
        rows: tuple[tuple[int, int] | int, ...],
        *,
        num_classes: int,
        input_size: int,
        width: float,
        dropout: float,
    ) -> None:
        super().__init__()
        _, small = image_size(name, num_classes, input_size, width)
        self.input_shape = (3, input_size, input_size)
        inputs = make_divisible(stem[0] * width)
        if small:
            layers: list[nn.Module] = [nn.Conv2d(3, inputs, 3, padding=1), nn.ReLU()]
        else:
            layers = [nn.Conv2d(3, inputs, stem[1], 2), nn.ReLU(), _pool()]
        for row in rows:
            if isinstance(row, int):
                layers.append(_pool())
                continue
            squeezed, expanded = (make_divisible(channels * width) for channels in row)
            layers.append(Fire(inputs, squeezed, expanded))
            inputs = 2 * expanded
        self.features = nn.Sequential(*layers)
        last = nn.Conv2d(inputs, num_classes, 1)
        self.classifier = nn.Sequential(nn.Dropout(dropout), last, nn.ReLU())
        initialise_weights(self)
        nn.init.normal_(last.weight, 0.0, 0.01)

    def forward(self, x: Tensor) -> Tensor:
        """Map images ``(n, 3, h, w)`` to logits ``(n, num_classes)``."""
        logits: Tensor = self.classifier(self.features(x)).mean((2, 3))
        return logits


def _pool() -> nn.MaxPool2d:
    return nn.MaxPool2d(3, 2, ceil_mode=True)


def squeezenet1_0(
    *,
    num_classes: int = 1000,
    input_size: int = 224,
    width: float = 1.0,
    dropout: float = 0.5,
) -> SqueezeNet:
    """Build SqueezeNet 1.0.

    Parameters
    ----------
    num_classes : int
    input_size : int
        Height and width of the images, at least 32. Up to 64 the stem is 3x3 with stride 1 and
        there is no pooling after it.
    width : float
        Factor on the channels.
    dropout : float
        Before the last convolution, in [0, 1].

    Returns
    -------
    SqueezeNet

    References
    ----------
    Iandola et al., "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters and < 0.5 MB model
    size", 2016.

    Examples
    --------
    >>> sum(p.numel() for p in squeezenet1_0().parameters())
    1248424
    """
    return SqueezeNet(
        "squeezenet1_0",
        (96, 7),
        _ROWS_1_0,
        num_classes=num_classes,
        input_size=input_size,
        width=width,
        dropout=dropout,
    )


def squeezenet1_1(
    *,
    num_classes: int = 1000,
    input_size: int = 224,
    width: float = 1.0,
    dropout: float = 0.5,
) -> SqueezeNet:
    """Build SqueezeNet 1.1: 2.4 times fewer operations than 1.0 at the same accuracy.

    Parameters
    ----------
    num_classes : int
    input_size : int
        Height and width of the images, at least 32. Up to 64 the stem is 3x3 with stride 1 and
        there is no pooling after it.
    width : float
        Factor on the channels.
    dropout : float
        Before the last convolution, in [0, 1].

    Returns
    -------
    SqueezeNet

    References
    ----------
    Iandola et al., "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters and < 0.5 MB model
    size", 2016, and the authors' release 1.1.

    Examples
    --------
    >>> sum(p.numel() for p in squeezenet1_1().parameters())
    1235496
    """
    return SqueezeNet(
        "squeezenet1_1",
        (64, 3),
        _ROWS_1_1,
        num_classes=num_classes,
        input_size=input_size,
        width=width,
        dropout=dropout,
    )


__all__ = ["Fire", "SqueezeNet", "squeezenet1_0", "squeezenet1_1"]
