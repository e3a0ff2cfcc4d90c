"""Residual networks for ImageNet: ResNet-50."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from .blocks import image_size, initialise_weights, make_divisible

_EXPANSION = 4


class Bottleneck(nn.Module):
    """1x1, 3x3 with the stride, 1x1 to four times the channels, added to the input."""

    def __init__(self, inputs: int, channels: int, stride: int) -> None:
        super().__init__()
        outputs = channels * _EXPANSION
        self.conv1 = nn.Conv2d(inputs, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride > 1 or inputs != outputs:
            conv = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, inputs, h, w)`` to ``(n, 4 channels, h / stride, w / stride)``."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    """Stem, four stages of bottlenecks, mean, classifier; parameters named as in torchvision.

    Parameters
    ----------
    name : str
        Of the architecture, for messages.
    blocks : tuple of int
        In each stage.
    num_classes, input_size, width
        As in :func:`resnet50`.
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
        inputs = make_divisible(64 * width)
        self.conv1 = nn.Conv2d(
            3, inputs, 3 if small else 7, 1 if small else 2, 1 if small else 3, bias=False
        )
        self.bn1 = nn.BatchNorm2d(inputs)
        self.maxpool = nn.Identity() if small else nn.MaxPool2d(3, 2, 1)
        for stage, count in enumerate(blocks):
            channels = make_divisible(64 * 2**stage * width)
            rows = []
            for row in range(count):
                rows.append(Bottleneck(inputs, channels, 2 if stage > 0 and row == 0 else 1))
                inputs = channels * _EXPANSION
            setattr(self, f"layer{stage + 1}", nn.Sequential(*rows))
        self.stages = len(blocks)
        self.fc = nn.Linear(inputs, num_classes)
        initialise_weights(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map images ``(n, 3, h, w)`` to logits ``(n, num_classes)``."""
        x = self.maxpool(F.relu(self.bn1(self.conv1(x))))
        for stage in range(self.stages):
            x = getattr(self, f"layer{stage + 1}")(x)
        logits: Tensor = self.fc(x.mean((2, 3)))
        return logits


def resnet50(*, num_classes: int = 1000, input_size: int = 224, width: float = 1.0) -> ResNet:
    """Build ResNet-50, with the strides at the 3x3 convolutions ("v1.5").

    Parameters
    ----------
    num_classes : int
    input_size : int
        Height and width of the images, at least 32. Up to 64 the stem is 3x3 with stride 1 and
        there is no pooling after it.
    width : float
        Factor on the channels.

    Returns
    -------
    ResNet

    References
    ----------
    He et al., "Deep Residual Learning for Image Recognition", 2016.

    Examples
    --------
    >>> sum(p.numel() for p in resnet50().parameters())
    25557032
    """
    options = {"num_classes": num_classes, "input_size": input_size}
    return ResNet("resnet50", (3, 4, 6, 3), width=width, **options)


__all__ = ["Bottleneck", "ResNet", "resnet50"]
