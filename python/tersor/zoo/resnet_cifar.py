"""Residual networks for 32 x 32 images: ResNet-20, ResNet-56, and MLPerf Tiny's ResNet-8."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from .blocks import image_size, initialise_weights, make_divisible


class BasicBlock(nn.Module):
    """Two 3x3 convolutions; the shortcut takes every second pixel and pads with zero channels."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.stride = stride
        self.extra = outputs - inputs

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, inputs, h, w)`` to ``(n, outputs, h / stride, w / stride)``."""
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.stride > 1:
            x = x[:, :, :: self.stride, :: self.stride]
        if self.extra:
            before = self.extra // 2
            x = F.pad(x, (0, 0, 0, 0, before, self.extra - before))
        return F.relu(y + x)


class ProjectedBlock(nn.Module):
    """Two 3x3 convolutions with biases; the shortcut of a strided block is a 1x1 convolution.

    Strided convolutions pad as Keras does: even sides on one end only, below and to the right.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        padding = 1 if stride == 1 else 0
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding)
        self.bn1 = nn.BatchNorm2d(outputs, eps=1e-3)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1)
        self.bn2 = nn.BatchNorm2d(outputs, eps=1e-3)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride) if stride > 1 else None

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, inputs, h, w)`` to ``(n, outputs, h / stride, w / stride)``, rounded up."""
        if self.shortcut is None:
            return F.relu(self._residual(x) + x)
        height, width = x.shape[2:]
        padded = F.pad(x, (width % 2, 1, height % 2, 1))
        return F.relu(self._residual(padded) + self.shortcut(x))

    def _residual(self, x: Tensor) -> Tensor:
        y: Tensor = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return y


class ResNetCifar(nn.Module):
    """Stem, three stages of 16, 32 and 64 channels, mean, classifier.

    Parameters
    ----------
    name : str
        Of the architecture, for messages.
    blocks : int
        In each stage.
    projected : bool
        MLPerf Tiny's blocks: biases, and shortcuts that are 1x1 convolutions.
    num_classes, input_size, width
        As in :func:`resnet20`.
    """

    def __init__(
        self,
        name: str,
        blocks: int,
        *,
        projected: bool,
        num_classes: int,
        input_size: int,
        width: float,
    ) -> None:
        super().__init__()
        image_size(name, num_classes, input_size, width)
        narrow, middle, wide = (make_divisible(channels * width, 4) for channels in (16, 32, 64))
        block = ProjectedBlock if projected else BasicBlock
        self.input_shape = (3, input_size, input_size)
        self.conv1 = nn.Conv2d(3, narrow, 3, 1, 1, bias=projected)
        self.bn1 = nn.BatchNorm2d(narrow, eps=1e-3 if projected else 1e-5)
        self.layer1 = _stage(block, narrow, narrow, blocks, 1)
        self.layer2 = _stage(block, narrow, middle, blocks, 2)
        self.layer3 = _stage(block, middle, wide, blocks, 2)
        self.linear = nn.Linear(wide, num_classes)
        initialise_weights(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map images ``(n, 3, h, w)`` to logits ``(n, num_classes)``."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        logits: Tensor = self.linear(x.mean((2, 3)))
        return logits


def _stage(
    block: type[BasicBlock | ProjectedBlock], inputs: int, outputs: int, count: int, stride: int
) -> nn.Sequential:
    first = block(inputs, outputs, stride)
    return nn.Sequential(first, *(block(outputs, outputs, 1) for _ in range(count - 1)))


def resnet8(*, num_classes: int = 10, input_size: int = 32, width: float = 1.0) -> ResNetCifar:
    """Build ResNet-8 as in MLPerf Tiny's image classification.

    Parameters
    ----------
    num_classes : int
    input_size : int
        Height and width of the images, at least 32.
    width : float
        Factor on the channels.

    Returns
    -------
    ResNetCifar

    References
    ----------
    Banbury et al., "MLPerf Tiny Benchmark", 2021 (78,666 parameters as Keras counts).

    Examples
    --------
    >>> sum(p.numel() for p in resnet8().parameters())
    78186
    """
    options = {"num_classes": num_classes, "input_size": input_size}
    return ResNetCifar("resnet8", 1, projected=True, width=width, **options)


def resnet20(*, num_classes: int = 10, input_size: int = 32, width: float = 1.0) -> ResNetCifar:
    """Build ResNet-20 with shortcuts that have no parameters (option A).

    Parameters
    ----------
    num_classes : int
    input_size : int
        Height and width of the images, at least 32.
    width : float
        Factor on the channels.

    Returns
    -------
    ResNetCifar

    References
    ----------
    He et al., "Deep Residual Learning for Image Recognition", 2016, section 4.2.

    Examples
    --------
    >>> sum(p.numel() for p in resnet20().parameters())
    269722
    """
    options = {"num_classes": num_classes, "input_size": input_size}
    return ResNetCifar("resnet20", 3, projected=False, width=width, **options)


def resnet56(*, num_classes: int = 10, input_size: int = 32, width: float = 1.0) -> ResNetCifar:
    """Build ResNet-56 with shortcuts that have no parameters (option A).

    Parameters
    ----------
    num_classes : int
    input_size : int
        Height and width of the images, at least 32.
    width : float
        Factor on the channels.

    Returns
    -------
    ResNetCifar

    References
    ----------
    He et al., "Deep Residual Learning for Image Recognition", 2016, section 4.2.

    Examples
    --------
    >>> sum(p.numel() for p in resnet56().parameters())
    853018
    """
    options = {"num_classes": num_classes, "input_size": input_size}
    return ResNetCifar("resnet56", 9, projected=False, width=width, **options)


__all__ = ["BasicBlock", "ProjectedBlock", "ResNetCifar", "resnet20", "resnet56", "resnet8"]
