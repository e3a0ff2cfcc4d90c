"""Random crops, flips, erased boxes and colors for whole batches of images.

What happens to an image depends on (seed, epoch, row) alone: not on its neighbours in the batch, on
the number of processes, or on what was augmented before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike, NDArray

from .counter import keyed_integers, keyed_uniform
from .error import DataError

# One independent stream of random numbers per decision.
_TOP, _LEFT, _FLIP, _ERASE, _AREA, _ASPECT, _ERASE_TOP, _ERASE_LEFT = range(8)
_BRIGHTNESS, _CONTRAST, _SATURATION = range(8, 11)
# Weights of red, green and blue in gray, ITU-R BT.601.
_GRAY = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True)
class Augment:
    """Random changes of images that keep their class.

    Parameters
    ----------
    crop : int
        Pixels of black border on every side, out of which an image of the old size is cut.
    flip : bool or float
        Mirror left and right: probability, True for 0.5.
    cutout : int
        Side in pixels of a black square around a random center, cut off at the border (DeVries &
        Taylor 2017).
    erase : float
        Probability of a black box of 2 % to 33 % of the area and aspect 0.3 to 3.3 (Zhong et al.
        2020).
    brightness, contrast, saturation : float
        In [0, 1]: each is multiplied by a factor within 1 - x and 1 + x.
    variants : int, optional
        How many versions of an image there are: epoch e uses version ``e % variants``, so that what
        a teacher says about them can be kept. None draws a new one in every epoch.

    Raises
    ------
    ValueError
        If a value is out of range.

    References
    ----------
    DeVries & Taylor, "Improved regularization of convolutional neural networks with cutout", 2017.
    Zhong et al., "Random erasing data augmentation", AAAI 2020.

    Examples
    --------
    >>> augment = Augment(crop=4, flip=True)
    >>> x = np.zeros((2, 32, 32, 3), np.uint8)
    >>> augment(x, rows=[7, 8], seed=1, epoch=5).shape
    (2, 32, 32, 3)
    """

    crop: int = 0
    flip: bool | float = False
    cutout: int = 0
    erase: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    variants: int | None = None

    def __post_init__(self) -> None:
        for name, low in (("crop", 0), ("cutout", 0), ("variants", 1)):
            value = getattr(self, name)
            if name == "variants" and value is None:
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < low:
                raise ValueError(f"augment: {name} must be an integer >= {low}, got {value!r}")
        for name in ("flip", "erase", "brightness", "contrast", "saturation"):
            value = getattr(self, name)
            if not isinstance(value, (int, float)) or not 0 <= value <= 1:
                raise ValueError(f"augment: {name} must be in [0, 1], got {value!r}")

    def version(self, epoch: int) -> int:
        """Return the number of the version that an epoch uses.

        Parameters
        ----------
        epoch : int

        Returns
        -------
        int
        """
        return epoch if self.variants is None else epoch % self.variants

    def __call__(
        self, x: ArrayLike, *, rows: ArrayLike, seed: int = 0, epoch: int = 0
    ) -> NDArray[np.uint8]:
        """Augment a batch.

        Parameters
        ----------
        x : array-like of uint8, shape (n, height, width, channels)
        rows : array-like of int, shape (n,)
            Which sample of the data set each image is.
        seed, epoch : int

        Returns
        -------
        ndarray of uint8, shape (n, height, width, channels), C-contiguous
            A new array.

        Raises
        ------
        DataError
            If `x` is not uint8 or has another rank, or `rows` another length.
        """
        images = np.asarray(x)
        index = np.asarray(rows)
        if images.dtype != np.uint8 or images.ndim != 4:
            raise DataError(
                "augment: images must be uint8 of shape (n, height, width, channels), got "
                f"{images.dtype} of shape {images.shape}"
            )
        if index.shape != images.shape[:1]:
            raise DataError(f"augment: rows must be {len(images)}, got shape {index.shape}")
        if self.saturation and images.shape[3] != 3:
            raise DataError(f"augment: saturation needs 3 channels, got {images.shape[3]}")
        key = (seed, self.version(epoch), index)
        out = self._moved(images, key)
        if self.cutout:
            _blacken(out, *self._cutout_boxes(out.shape, key))
        if self.erase:
            _blacken(out, *self._erase_boxes(out.shape, key))
        if self.brightness or self.contrast or self.saturation:
            self._color(out, key)
        return out

    def _moved(self, x: NDArray[np.uint8], key: tuple[Any, ...]) -> NDArray[np.uint8]:
        """Crop and flip into a new array."""
        n, height, width, channels = x.shape
        if self.crop:
            pad = self.crop
            wide = np.zeros((n, height + 2 * pad, width + 2 * pad, channels), np.uint8)
            wide[:, pad:-pad, pad:-pad] = x
            windows = sliding_window_view(wide, (height, width), axis=(1, 2))
            top = keyed_integers(2 * pad + 1, *key, _TOP)
            left = keyed_integers(2 * pad + 1, *key, _LEFT)
            # Axes of a window come last: (n, channels, height, width), a view of each image.
            x = windows.transpose(0, 1, 2, 4, 5, 3)[np.arange(n), top, left]
        probability = 0.5 if self.flip is True else float(self.flip)
        out = np.ascontiguousarray(x) if self.crop else np.array(x, order="C")
        if probability:
            chosen = np.flatnonzero(keyed_uniform(*key, _FLIP) < probability)
            # A pixel as one opaque value: NumPy then copies pixels, not bytes, backwards.
            pixels = out.view(f"V{channels}")[..., 0]
            pixels[chosen] = pixels[chosen][:, :, ::-1]
        return out

    def _cutout_boxes(self, shape: tuple[int, ...], key: tuple[Any, ...]) -> tuple[Any, ...]:
        height, width = shape[1:3]
        top = keyed_integers(height, *key, _ERASE_TOP) - self.cutout // 2
        left = keyed_integers(width, *key, _ERASE_LEFT) - self.cutout // 2
        return top, top + self.cutout, left, left + self.cutout

    def _erase_boxes(self, shape: tuple[int, ...], key: tuple[Any, ...]) -> tuple[Any, ...]:
        height, width = shape[1:3]
        area = (0.02 + 0.31 * keyed_uniform(*key, _AREA)) * height * width
        aspect = np.exp(np.log(0.3) + np.log(11.0) * keyed_uniform(*key, _ASPECT))
        high = np.minimum(np.round(np.sqrt(area * aspect)), height).astype(np.intp)
        wide = np.minimum(np.round(np.sqrt(area / aspect)), width).astype(np.intp)
        wide[keyed_uniform(*key, _ERASE) >= self.erase] = 0
        top = (keyed_uniform(*key, _ERASE_TOP, 1) * (height - high + 1)).astype(np.intp)
        left = (keyed_uniform(*key, _ERASE_LEFT, 1) * (width - wide + 1)).astype(np.intp)
        return top, top + high, left, left + wide

    def _color(self, x: NDArray[np.uint8], key: tuple[Any, ...]) -> None:
        """Change brightness, contrast around the image's mean, then saturation; in place."""
        values = x.astype(np.float32)

        def factor(strength: float, stream: int) -> NDArray[np.float32]:
            drawn = 1 + strength * (2 * keyed_uniform(*key, stream) - 1)
            return drawn.astype(np.float32)[:, None, None, None]

        values *= factor(self.brightness, _BRIGHTNESS)
        if self.contrast:
            mean = values.mean(axis=(1, 2, 3), keepdims=True)
            values -= mean
            values *= factor(self.contrast, _CONTRAST)
            values += mean
        if self.saturation:
            gray = (values @ _GRAY)[..., None]
            values -= gray
            values *= factor(self.saturation, _SATURATION)
            values += gray
        np.clip(values, 0, 255, out=values)
        x[...] = np.rint(values, out=values)


def _blacken(
    x: NDArray[np.uint8],
    top: NDArray[np.intp],
    bottom: NDArray[np.intp],
    left: NDArray[np.intp],
    right: NDArray[np.intp],
) -> None:
    """Set one box per image to 0, in place; boxes may reach over the border."""
    for image, y0, y1, x0, x1 in zip(
        x,
        np.maximum(top, 0).tolist(),
        bottom.tolist(),
        np.maximum(left, 0).tolist(),
        right.tolist(),
        strict=True,
    ):
        image[y0:y1, x0:x1] = 0


__all__ = ["Augment"]
