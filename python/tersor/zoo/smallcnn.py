"""The small CNN of the multi-scale study on CIFAR-10, and its depthwise-separable rewrite."""

from __future__ import annotations

from torch import Tensor, nn

from ..torch.separable_conv import to_depthwise_separable
from .blocks import image_size, initialise_weights, make_divisible

_STAGES = (32, 64, 128)
_HIDDEN = 256


class SmallCNN(nn.Module):
    """Three pairs of 3x3 convolutions with BatchNorm, pooled between, mean, two dense layers.

    Convolutions have biases: 896 + 9,248 + 18,496 + 36,928 + 73,856 + 147,584 parameters; BatchNorm
    896, and 896 statistics; dense layers 33,024 + 2,570. Keras counts the statistics: 324,394.

    Parameters
    ----------
    num_classes, input_size, width, dropout
        As in :func:`small_cnn`.
    """

    def __init__(self, *, num_classes: int, input_size: int, width: float, dropout: float) -> None:
        super().__init__()
        image_size("small_cnn", num_classes, input_size, width)
        self.input_shape = (3, input_size, input_size)
        layers: list[nn.Module] = []
        inputs = 3
        for stage, channels in enumerate(_STAGES):
            outputs = make_divisible(channels * width)
            if stage:
                layers.append(nn.MaxPool2d(2))
            for _ in range(2):
                layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs)]
                layers.append(nn.ReLU())
                inputs = outputs
        self.features = nn.Sequential(*layers)
        hidden = make_divisible(_HIDDEN * width)
        self.classifier = nn.Sequential(
            nn.Linear(inputs, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, num_classes),
        )
        initialise_weights(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map images ``(n, 3, h, w)`` to logits ``(n, num_classes)``."""
        logits: Tensor = self.classifier(self.features(x).mean((2, 3)))
        return logits


def small_cnn(
    *,
    num_classes: int = 10,
    input_size: int = 32,
    width: float = 1.0,
    dropout: float = 0.2,
) -> SmallCNN:
    """Build the small CNN: 324,394 parameters as Keras counts, 38.6 million multiply-accumulates.

    Parameters
    ----------
    num_classes : int
    input_size : int
        Height and width of the images, at least 32.
    width : float
        Factor on the channels.
    dropout : float
        Before the last layer, in [0, 1].

    Returns
    -------
    SmallCNN

    Examples
    --------
    >>> network = small_cnn()
    >>> trained = sum(p.numel() for p in network.parameters())
    >>> statistics = sum(b.numel() for n, b in network.named_buffers() if "running" in n)
    >>> trained, statistics, trained + statistics
    (323498, 896, 324394)
    """
    return SmallCNN(num_classes=num_classes, input_size=input_size, width=width, dropout=dropout)


def small_cnn_separable(
    *,
    num_classes: int = 10,
    input_size: int = 32,
    width: float = 1.0,
    dropout: float = 0.2,
) -> nn.Module:
    """Build the small CNN with depthwise-separable convolutions behind the first.

    :func:`tersor.torch.to_depthwise_separable` makes the same network from a trained one.

    Parameters
    ----------
    num_classes : int
    input_size : int
        Height and width of the images, at least 32.
    width : float
        Factor on the channels.
    dropout : float
        Before the last layer, in [0, 1].

    Returns
    -------
    SmallCNN

    Examples
    --------
    >>> sum(p.numel() for p in small_cnn_separable().parameters())
    72426
    """
    network = small_cnn(
        num_classes=num_classes, input_size=input_size, width=width, dropout=dropout
    )
    # Three channels are too few: a rank-1 kernel for each loses what the layer is for.
    separable = to_depthwise_separable(network, exclude=["features.0"])
    initialise_weights(separable)
    return separable


__all__ = ["SmallCNN", "small_cnn", "small_cnn_separable"]
