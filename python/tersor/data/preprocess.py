"""From stored images to the network's input: resize, scale, mean, std, layout."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..base.schema import check_keys
from ..base.yaml_file import format_yaml, parse_yaml, read_yaml
from .error import DataError
from .resize import resize_images

_KEYS = ("scale", "mean", "std", "layout", "source_layout", "resize")
_LAYOUTS = ("NHWC", "NCHW")


@dataclass(frozen=True, init=False)
class Preprocess:
    """What happens to a sample before the network sees it; stored in the artifact.

    ``y = (resize(x) * scale - mean) / std`` in float32, then the axes are put in `layout`.

    Parameters
    ----------
    scale : float
        Factor before the mean is taken off; ``1 / 255`` maps bytes to [0, 1]. Text such as
        ``"1/255"`` counts as its quotient, here and below.
    mean, std : float or sequence of float
        One value, or one per channel; `std` is not 0.
    layout : str or None
        What the network wants, ``"NCHW"`` or ``"NHWC"``; None leaves the axes as they are.
    source_layout : str
        What the data have: ``"NHWC"`` (images) or ``"NCHW"``.
    resize : (int, int) or None
        Height and width in pixels; None keeps them.

    Raises
    ------
    ValueError
        If a value is not finite, `std` has a 0, or a layout is unknown.

    Examples
    --------
    >>> prepare = Preprocess(scale=1 / 255, mean=(0.5,), std=(0.25,), layout="NCHW")
    >>> prepare(np.full((2, 4, 4, 3), 255, np.uint8)).shape
    (2, 3, 4, 4)
    >>> Preprocess.parse(prepare.to_dict()) == prepare
    True
    """

    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    layout: str | None
    source_layout: str
    resize: tuple[int, int] | None

    def __init__(
        self,
        scale: float = 1.0,
        mean: float | Sequence[float] = 0.0,
        std: float | Sequence[float] = 1.0,
        layout: str | None = None,
        source_layout: str = "NHWC",
        resize: Sequence[int] | None = None,
    ) -> None:
        values = {
            "scale": _numbers(scale, "scale")[0],
            "mean": _numbers(mean, "mean"),
            "std": _numbers(std, "std"),
            "layout": layout,
            "source_layout": source_layout,
            "resize": None if resize is None else _size(resize),
        }
        # In float32, which is what is computed in.
        if not np.array(values["std"], np.float32).all():
            raise ValueError(f"preprocess: std must not be 0, got {std}")
        if layout not in (None, *_LAYOUTS) or source_layout not in _LAYOUTS:
            raise ValueError(
                f"preprocess: layouts must be NHWC or NCHW, got {layout!r} and {source_layout!r}"
            )
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @classmethod
    def parse(cls, value: Preprocess | Mapping[str, Any] | str | Path | None) -> Preprocess | None:
        """Read preprocessing from a mapping, YAML text, or the path of a YAML file.

        Parameters
        ----------
        value : Preprocess, mapping, str, Path or None
            Text with a colon or a newline is YAML; other text is a path. None stays None.

        Returns
        -------
        Preprocess or None

        Raises
        ------
        ValueError
            If a key is unknown (the closest one is named) or a value is wrong.
        FileNotFoundError
            If the file is missing.
        """
        if value is None or isinstance(value, Preprocess):
            return value
        if isinstance(value, str) and ("\n" in value or ": " in value):
            value = parse_yaml(value, what="preprocess")
        elif isinstance(value, (str, Path)):
            value = read_yaml(value, what="preprocess file")
        return cls(**check_keys(value, allowed=_KEYS, what="preprocess"))

    def to_dict(self) -> dict[str, Any]:
        """Return plain data that :meth:`parse` reads back to an equal object.

        Returns
        -------
        dict
        """
        return {
            "scale": self.scale,
            "mean": list(self.mean),
            "std": list(self.std),
            "layout": self.layout,
            "source_layout": self.source_layout,
            "resize": None if self.resize is None else list(self.resize),
        }

    def to_yaml(self) -> str:
        """Return a YAML document that :meth:`parse` reads back to an equal object.

        Returns
        -------
        str
        """
        return format_yaml(self.to_dict())

    def table(self, channels: int) -> NDArray[np.float32]:
        """Return what each byte becomes: the same values as :meth:`__call__` on uint8.

        Parameters
        ----------
        channels : int
            Number of channels.

        Returns
        -------
        ndarray of float32, shape (channels, 256)

        Raises
        ------
        DataError
            If `mean` or `std` has another number of channels.
        """
        levels = np.arange(256, dtype=np.float32)[None, :].repeat(channels, axis=0)
        return self._apply(levels, 0)

    def __call__(self, x: ArrayLike) -> NDArray[np.float32]:
        """Prepare a batch.

        Parameters
        ----------
        x : array-like of uint8 or float, shape (n, ...)
            Images in `source_layout` (a missing channel axis counts as one channel), or vectors of
            shape (n, features), for which only scale, mean and std apply.

        Returns
        -------
        ndarray of float32, C-contiguous
            In `layout`.

        Raises
        ------
        DataError
            If the rank is wrong, or `mean` or `std` has another number of channels.
        """
        batch = np.asarray(x)
        if batch.dtype.kind not in "biuf":
            raise DataError(f"preprocess: data must be numeric, got dtype {batch.dtype}")
        if batch.ndim == 2 and self.layout is None and self.resize is None:
            return self._apply(batch.astype(np.float32, order="C"), 1)
        if batch.ndim == 3:
            batch = batch[..., None] if self.source_layout == "NHWC" else batch[:, None]
        if batch.ndim != 4:
            raise DataError(
                f"preprocess: images must have shape (n, height, width) or (n, {self._axes()}), "
                f"got {np.shape(x)}"
            )
        if self.source_layout == "NCHW":
            batch = batch.transpose(0, 2, 3, 1)
        if self.resize is not None and batch.shape[1:3] != self.resize:
            batch = resize_images(batch, self.resize)
        if (self.layout or self.source_layout) == "NHWC":
            return self._apply(batch.astype(np.float32, order="C"), 3)
        return self._apply(batch.transpose(0, 3, 1, 2).astype(np.float32, order="C"), 1)

    def _axes(self) -> str:
        axes = {"H": "height", "W": "width", "C": "channels"}
        return ", ".join(axes[axis] for axis in self.source_layout[1:])

    def _apply(self, x: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
        """Scale, mean and std along the axis of channels, in place."""
        channels = x.shape[axis]
        shape = [channels if index == axis else 1 for index in range(x.ndim)]
        parameters = []
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (1, channels):
                counts = f"{len(values)} values, the data have {channels} channels"
                raise DataError(f"preprocess: {name} has {counts}")
            full = np.broadcast_to(np.array(values, np.float32), (channels,))
            parameters.append(full.reshape(shape))
        if axis == x.ndim - 1 and x.ndim > 2:
            # Rows of pixels instead of pixels: NumPy's loops are then width x channels long, not 3.
            width = x.shape[-2]
            x = x.reshape(*x.shape[:-2], width * channels)
            parameters = [np.tile(p.reshape(channels), width) for p in parameters]
            return self._scaled(x, parameters).reshape(*x.shape[:-1], width, channels)
        return self._scaled(x, parameters)

    def _scaled(
        self, x: NDArray[np.float32], parameters: list[NDArray[np.float32]]
    ) -> NDArray[np.float32]:
        x *= np.float32(self.scale)
        x -= parameters[0]
        x /= parameters[1]
        return x


def _numbers(value: float | Sequence[float], name: str) -> tuple[float, ...]:
    items = value if isinstance(value, (list, tuple, np.ndarray)) else [value]
    try:
        numbers = tuple(_number(item) for item in items)
    except (TypeError, ValueError, ZeroDivisionError):
        raise ValueError(f"preprocess: {name} must be numbers, got {value!r}") from None
    # float32 is what is computed in, so a value must be finite there too.
    if not numbers or not all(math.isfinite(n) and abs(n) < 3.4e38 for n in numbers):
        raise ValueError(f"preprocess: {name} must be finite numbers, got {value!r}")
    return numbers


def _number(value: object) -> float:
    if isinstance(value, str) and "/" in value:
        above, below = value.split("/")
        return float(above) / float(below)
    if isinstance(value, bool):
        raise TypeError
    return float(value)  # type: ignore[arg-type]


def _size(value: Sequence[int]) -> tuple[int, int]:
    items = list(value) if isinstance(value, (list, tuple)) else []
    if len(items) != 2 or not all(
        isinstance(n, int) and not isinstance(n, bool) and 1 <= n <= 16384 for n in items
    ):
        raise ValueError(
            f"preprocess: resize must be height and width in [1, 16384], got {value!r}"
        )
    return items[0], items[1]


__all__ = ["Preprocess"]
