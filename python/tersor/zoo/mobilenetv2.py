"""MobileNetV2: inverted residuals with linear bottlenecks."""

from __future__ import annotations

from torch import Tensor, nn

from .blocks import image_size, initialise_weights, make_divisible

# Expansion, channels, blocks, stride of each stage: table 2 of the paper.
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class InvertedResidual(nn.Module):
    """1x1 expansion, 3x3 depthwise, 1x1 projection without activation."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        layers: list[nn.Module] = []
        if expansion > 1:
            layers += _conv(inputs, hidden, 1)
        layers += _conv(hidden, hidden, 3, stride, hidden)
        layers += [nn.Conv2d(hidden, outputs, 1, bias=False), nn.BatchNorm2d(outputs)]
        self.conv = nn.Sequential(*layers)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, inputs, h, w)`` to ``(n, outputs, h / stride, w / stride)``."""
        y: Tensor = self.conv(x)
        return x + y if self.residual else y


class MobileNetV2(nn.Module):
    """Stem, 17 inverted residuals, 1x1 convolution, mean, classifier.

    Parameters
    ----------
    num_classes, input_size, width, dropout
        As in :func:`mobilenet_v2`.
    """

    def __init__(self, *, num_classes: int, input_size: int, width: float, dropout: float) -> None:
        super().__init__()
        _, small = image_size("mobilenet_v2", num_classes, input_size, width)
        self.input_shape = (3, input_size, input_size)
        inputs = make_divisible(32 * width)
        layers = _conv(3, inputs, 3, 1 if small else 2)
        for index, (expansion, channels, count, stride) in enumerate(_STAGES):
            outputs = make_divisible(channels * width)
            for row in range(count):
                strided = row == 0 and not (small and index == 1)
                step = stride if strided else 1
                layers.append(InvertedResidual(inputs, outputs, step, expansion))
                inputs = outputs
        # The last convolution keeps its width in narrow networks.
        last = make_divisible(1280 * max(1.0, width))
        self.features = nn.Sequential(*layers, *_conv(inputs, last, 1))
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(last, num_classes)
        initialise_weights(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map images ``(n, 3, h, w)`` to logits ``(n, num_classes)``."""
        logits: Tensor = self.classifier(self.dropout(self.features(x).mean((2, 3))))
        return logits


def _conv(
    inputs: int, outputs: int, kernel_size: int, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    padding = kernel_size // 2
    return [
        nn.Conv2d(inputs, outputs, kernel_size, stride, padding, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU6(),
    ]


def mobilenet_v2(
    *,
    num_classes: int = 1000,
    input_size: int = 224,
    width: float = 1.0,
    dropout: float = 0.2,
) -> MobileNetV2:
    """Build MobileNetV2.

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

    Returns
    -------
    MobileNetV2

    References
    ----------
    Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", 2018.

    Examples
    --------
    >>> sum(p.numel() for p in mobilenet_v2().parameters())
    3504872
    """
    return MobileNetV2(num_classes=num_classes, input_size=input_size, width=width, dropout=dropout)


__all__ = ["InvertedResidual", "MobileNetV2", "mobilenet_v2"]
