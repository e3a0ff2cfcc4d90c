"""MobileNetV1: depthwise-separable convolutions throughout."""

from __future__ import annotations

from torch import Tensor, nn

from .blocks import ConvNormActivation, image_size, initialise_weights, make_divisible

# Channels and stride of each separable convolution: table 1 of the paper.
_ROWS = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    *[(512, 1)] * 5,
    (1024, 2),
    (1024, 1),
)


class MobileNetV1(nn.Module):
    """Stem, thirteen depthwise-separable convolutions, mean, classifier.

    Parameters
    ----------
    num_classes, input_size, width, dropout
        As in :func:`mobilenet_v1`.
    """

    def __init__(self, *, num_classes: int, input_size: int, width: float, dropout: float) -> None:
        super().__init__()
        _, small = image_size("mobilenet_v1", num_classes, input_size, width)
        self.input_shape = (3, input_size, input_size)
        inputs = make_divisible(32 * width)
        layers: list[nn.Module] = [ConvNormActivation(3, inputs, stride=1 if small else 2)]
        for index, (channels, stride) in enumerate(_ROWS):
            outputs = make_divisible(channels * width)
            stride = 1 if small and index == 1 else stride
            depthwise = ConvNormActivation(inputs, inputs, 3, stride, groups=inputs)
            layers.append(nn.Sequential(depthwise, ConvNormActivation(inputs, outputs, 1)))
            inputs = outputs
        self.features = nn.Sequential(*layers)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(inputs, num_classes)
        initialise_weights(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map images ``(n, 3, h, w)`` to logits ``(n, num_classes)``."""
        logits: Tensor = self.classifier(self.dropout(self.features(x).mean((2, 3))))
        return logits


def mobilenet_v1(
    *,
    num_classes: int = 1000,
    input_size: int = 224,
    width: float = 1.0,
    dropout: float = 0.001,
) -> MobileNetV1:
    """Build MobileNetV1.

    Parameters
    ----------
    num_classes : int
    input_size : int
        Height and width of the images, at least 32. Up to 64 the stem and the second separable
        convolution have stride 1.
    width : float
        Factor on the channels.
    dropout : float
        Before the classifier, in [0, 1].

    Returns
    -------
    MobileNetV1

    References
    ----------
    Howard et al., "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision
    Applications", 2017.

    Examples
    --------
    >>> sum(p.numel() for p in mobilenet_v1().parameters())
    4231976
    """
    return MobileNetV1(num_classes=num_classes, input_size=input_size, width=width, dropout=dropout)


__all__ = ["MobileNetV1", "mobilenet_v1"]
