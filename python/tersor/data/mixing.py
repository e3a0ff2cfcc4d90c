"""Batches of blended images: mixup and CutMix."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .counter import keyed_bits, keyed_permutation


@dataclass(frozen=True)
class Mixture:
    """How a batch was blended: ``weight * loss(y) + (1 - weight) * loss(y[partner])``."""

    weight: float
    """Share of the image itself, in [0, 1]."""
    partner: NDArray[np.intp]
    """Which image of the batch each was blended with, shape (n,)."""


@dataclass(frozen=True)
class Mixing:
    """Blend images of a batch in pairs.

    Parameters
    ----------
    mixup : float
        Parameter of Beta(a, a) that the weight of a weighted sum is drawn from; 0 for none.
    cutmix : float
        The same for the share of the area that is kept while a box comes from the partner. Where
        both are given, each batch takes one of them.

    Raises
    ------
    ValueError
        If a parameter is negative.

    References
    ----------
    Zhang et al., "mixup: beyond empirical risk minimization", ICLR 2018.
    Yun et al., "CutMix: regularization strategy to train strong classifiers", ICCV 2019.

    Examples
    --------
    >>> x = np.arange(4, dtype=np.float32).reshape(4, 1, 1, 1)
    >>> mixture = Mixing(mixup=1.0)(x, key=(0, 1, 2))
    >>> 0 <= mixture.weight <= 1
    True
    """

    mixup: float = 0.0
    cutmix: float = 0.0

    def __post_init__(self) -> None:
        for name in ("mixup", "cutmix"):
            value = getattr(self, name)
            if not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
                raise ValueError(f"mixing: {name} must be a finite number >= 0, got {value!r}")

    def __bool__(self) -> bool:
        return self.mixup > 0 or self.cutmix > 0

    def __call__(
        self, x: NDArray[np.float32], *, key: tuple[int, ...], channels_last: bool = True
    ) -> Mixture:
        """Blend a batch in place.

        Parameters
        ----------
        x : ndarray of float32, shape (n, height, width, channels) or (n, ...)
            Prepared images; CutMix needs four dimensions.
        key : tuple of int
            What the random numbers are a function of, such as seed, epoch and step.
        channels_last : bool
            False for (n, channels, height, width).

        Returns
        -------
        Mixture
        """
        random = np.random.Generator(np.random.Philox(key=keyed_bits(*key)[0]))
        partner = keyed_permutation(len(x), *key, 1)
        use_cutmix = self.cutmix > 0 and (self.mixup == 0 or random.random() < 0.5)
        strength = self.cutmix if use_cutmix else self.mixup
        weight = float(random.beta(strength, strength))
        if not use_cutmix:
            blend = x[partner]
            blend *= np.float32(1 - weight)
            x *= np.float32(weight)
            x += blend
            return Mixture(weight, partner)
        if x.ndim != 4:
            raise ValueError(f"cutmix: inputs must be images of 4 dimensions, got shape {x.shape}")
        height, width = x.shape[1:3] if channels_last else x.shape[2:4]
        side = np.sqrt(1 - weight)
        y, high = _span(height, side, random)
        z, wide = _span(width, side, random)
        box = (slice(y, y + high), slice(z, z + wide))
        where = (slice(None), *box) if channels_last else (slice(None), slice(None), *box)
        x[where] = x[where][partner]
        return Mixture(1 - high * wide / (height * width), partner)


def _span(size: int, side: float, random: np.random.Generator) -> tuple[int, int]:
    """Start and length of a box around a random center, cut off at the border."""
    center = int(random.integers(size))
    half = round(size * side) // 2
    start, stop = max(center - half, 0), min(center + half, size)
    return start, stop - start


__all__ = ["Mixing", "Mixture"]
