"""VGG-16: 3x3 convolutions only, and three dense layers that hold most of the weights."""

from __future__ import annotations

from torch import Tensor, nn

from .blocks import image_size, initialise_weights, make_divisible

# Channels of the convolutions between poolings: configuration D of the paper.
_STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


class VGG(nn.Module):
    """Thirteen convolutions, three dense layers; parameters named as in torchvision.

    Parameters
    ----------
    num_classes, input_size, width, dropout, batch_norm
        As in :func:`vgg16`.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        input_size: int,
        width: float,
        dropout: float,
        batch_norm: bool | None,
    ) -> None:
        super().__init__()
        _, small = image_size("vgg16", num_classes, input_size, width)
        self.input_shape = (3, input_size, input_size)
        layers: list[nn.Module] = []
        inputs = 3
        for stage in _STAGES:
            for channels in stage:
                outputs = make_divisible(channels * width)
                layers.append(nn.Conv2d(inputs, outputs, 3, padding=1))
                if small if batch_norm is None else batch_norm:
                    layers.append(nn.BatchNorm2d(outputs))
                layers.append(nn.ReLU())
                inputs = outputs
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        inputs *= (input_size // 2 ** len(_STAGES)) ** 2
        hidden = make_divisible((512 if small else 4096) * width)
        dense = []
        for _ in range(2):
            dense += [nn.Linear(inputs, hidden), nn.ReLU(), nn.Dropout(dropout)]
            inputs = hidden
        self.classifier = nn.Sequential(*dense, nn.Linear(inputs, num_classes))
        initialise_weights(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map images ``(n, 3, input_size, input_size)`` to logits ``(n, num_classes)``."""
        logits: Tensor = self.classifier(self.features(x).flatten(1))
        return logits


def vgg16(
    *,
    num_classes: int = 1000,
    input_size: int = 224,
    width: float = 1.0,
    dropout: float = 0.5,
    batch_norm: bool | None = None,
) -> VGG:
    """Build VGG-16.

    Parameters
    ----------
    num_classes : int
    input_size : int
        Height and width of the images, at least 32. Up to 64 the dense layers have 512 outputs.
    width : float
        Factor on the channels and the outputs of the dense layers.
    dropout : float
        After the dense layers, in [0, 1].
    batch_norm : bool, optional
        After each convolution; by default for images up to 64.

    Returns
    -------
    VGG

    References
    ----------
    Simonyan & Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition",
    2015 (138,357,544 parameters at 224).

    Examples
    --------
    >>> sum(p.numel() for p in vgg16(input_size=32, num_classes=10).parameters())
    15253578
    """
    return VGG(
        num_classes=num_classes,
        input_size=input_size,
        width=width,
        dropout=dropout,
        batch_norm=batch_norm,
    )


__all__ = ["VGG", "vgg16"]
