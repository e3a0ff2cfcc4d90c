"""A plain CNN whose filters, kernel, depth and separability are free: what sweeps vary."""

from __future__ import annotations

from torch import Tensor, nn

from ..base.schema import check_integer
from .blocks import image_size, initialise_weights, make_divisible


class StagedCNN(nn.Module):
    """Stages of convolution, BatchNorm, ReLU; channels double and pixels halve between them.

    Parameters
    ----------
    num_classes, input_size, width, filters, kernel, depth, separable
        As in :func:`staged_cnn`.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        input_size: int,
        width: float,
        filters: int,
        kernel: int,
        depth: int,
        separable: bool,
    ) -> None:
        super().__init__()
        image_size("staged_cnn", num_classes, input_size, width)
        check_integer(filters, least=1, what="staged_cnn: filters")
        check_integer(kernel, least=1, what="staged_cnn: kernel")
        check_integer(depth, least=1, what="staged_cnn: depth")
        if kernel % 2 == 0:
            raise ValueError(f"staged_cnn: kernel must be odd, got {kernel}")
        if input_size >> (depth - 1) < 1:
            raise ValueError(
                f"staged_cnn: depth must leave pixels of {input_size}, got {depth} stages"
            )
        self.input_shape = (3, input_size, input_size)
        layers: list[nn.Module] = []
        inputs = 3
        for stage in range(depth):
            outputs = make_divisible(filters * 2**stage * width, 4)
            if stage:
                layers.append(nn.MaxPool2d(2))
            # Three channels are too few to take apart.
            layers += _conv(inputs, outputs, kernel, separable=separable and stage > 0)
            inputs = outputs
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(inputs, num_classes)
        initialise_weights(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map images ``(n, 3, h, w)`` to logits ``(n, num_classes)``."""
        logits: Tensor = self.classifier(self.features(x).mean((2, 3)))
        return logits


def _conv(inputs: int, outputs: int, kernel: int, *, separable: bool) -> list[nn.Module]:
    layers: list[nn.Module] = []
    padding = kernel // 2
    if separable:
        layers += [
            nn.Conv2d(inputs, inputs, kernel, padding=padding, groups=inputs, bias=False),
            nn.BatchNorm2d(inputs),
            nn.ReLU(),
            nn.Conv2d(inputs, outputs, 1, bias=False),
        ]
    else:
        layers.append(nn.Conv2d(inputs, outputs, kernel, padding=padding, bias=False))
    return [*layers, nn.BatchNorm2d(outputs), nn.ReLU()]


def staged_cnn(
    *,
    num_classes: int = 10,
    input_size: int = 32,
    width: float = 1.0,
    filters: int = 32,
    kernel: int = 3,
    depth: int = 3,
    separable: bool = False,
) -> StagedCNN:
    """Build a plain CNN of `depth` stages with filters, 2 x filters, 4 x filters, ... channels.

    Parameters
    ----------
    num_classes : int
    input_size : int
        Height and width of the images, at least 32.
    width : float
        Factor on the channels.
    filters : int
        Of the first stage.
    kernel : int
        Side of the convolutions, odd.
    depth : int
        Stages.
    separable : bool
        Depthwise and pointwise convolutions behind the first stage.

    Returns
    -------
    StagedCNN

    Examples
    --------
    >>> sum(p.numel() for p in staged_cnn(filters=16, depth=3).parameters())
    24346
    """
    return StagedCNN(
        num_classes=num_classes,
        input_size=input_size,
        width=width,
        filters=filters,
        kernel=kernel,
        depth=depth,
        separable=separable,
    )


__all__ = ["StagedCNN", "staged_cnn"]
