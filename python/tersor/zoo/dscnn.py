"""DS-CNN for keyword spotting on MFCC features."""

from __future__ import annotations

from torch import Tensor, nn

from .blocks import check_classes, initialise_weights, make_divisible

_KERNEL = (10, 4)
_BLOCKS = 4


class DSCNN(nn.Module):
    """Strided convolution, four depthwise-separable convolutions, mean, classifier.

    Parameters
    ----------
    num_classes, input_size, width, dropout
        As in :func:`ds_cnn`.
    """

    def __init__(
        self, *, num_classes: int, input_size: tuple[int, int], width: float, dropout: float
    ) -> None:
        super().__init__()
        check_classes("ds_cnn", num_classes, width)
        if min(input_size) < 4:
            raise ValueError(f"ds_cnn: input_size must be at least (4, 4), got {input_size}")
        self.input_shape = (1, *input_size)
        channels = make_divisible(64 * width)
        # As Keras pads "same": the odd row goes below.
        pads = [_same(size, kernel) for size, kernel in zip(input_size, _KERNEL, strict=True)]
        self.pad = nn.ZeroPad2d((*pads[1], *pads[0]))
        self.stem = nn.Sequential(
            nn.Conv2d(1, channels, _KERNEL, 2), nn.BatchNorm2d(channels, eps=1e-3), nn.ReLU()
        )
        self.dropout1 = nn.Dropout(dropout / 2)
        self.blocks = nn.Sequential(*(_separable(channels) for _ in range(_BLOCKS)))
        self.dropout2 = nn.Dropout(dropout)
        self.classifier = nn.Linear(channels, num_classes)
        initialise_weights(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map features ``(n, 1, time, coefficients)`` to logits ``(n, num_classes)``."""
        x = self.blocks(self.dropout1(self.stem(self.pad(x))))
        logits: Tensor = self.classifier(self.dropout2(x).mean((2, 3)))
        return logits


def _same(size: int, kernel: int) -> tuple[int, int]:
    total = max((-(-size // 2) - 1) * 2 + kernel - size, 0)
    return total // 2, total - total // 2


def _separable(channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, padding=1, groups=channels),
        nn.BatchNorm2d(channels, eps=1e-3),
        nn.ReLU(),
        nn.Conv2d(channels, channels, 1),
        nn.BatchNorm2d(channels, eps=1e-3),
        nn.ReLU(),
    )


def ds_cnn(
    *,
    num_classes: int = 12,
    input_size: tuple[int, int] = (49, 10),
    width: float = 1.0,
    dropout: float = 0.4,
) -> DSCNN:
    """Build DS-CNN as in MLPerf Tiny's keyword spotting, up to the logits.

    Parameters
    ----------
    num_classes : int
    input_size : tuple of int
        Frames and MFCC coefficients, at least 4 each.
    width : float
        Factor on the 64 channels.
    dropout : float
        Before the mean, and half of it after the stem, in [0, 1].

    Returns
    -------
    DSCNN

    References
    ----------
    Zhang et al., "Hello Edge: Keyword Spotting on Microcontrollers", 2017; Banbury et al., "MLPerf
    Tiny Benchmark", 2021 (24,908 parameters as Keras counts).

    Examples
    --------
    >>> sum(p.numel() for p in ds_cnn().parameters())
    23756
    """
    return DSCNN(num_classes=num_classes, input_size=input_size, width=width, dropout=dropout)


__all__ = ["DSCNN", "ds_cnn"]
