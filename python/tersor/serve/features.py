"""A few numbers for each sample that move when the data do: brightness, contrast, noise, range."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..compress.agreement import log_probabilities
from .confidence import confidence

Features = dict[str, NDArray[np.float64]]

# Channels with statistics of their own; more are taken together.
_CHANNELS = 4
# Columns of plain vectors that are watched one by one.
_COLUMNS = 16


class InputFeatures:
    """Numbers for each sample of one kind of input.

    Per channel mean and deviation; of all values the 5 % and 95 % quantiles and the shares at or
    beyond the ends of the calibration data, which saturation fills; mean and lower quartile of the
    absolute Laplacian (of the second difference along the last axis where samples are no images):
    noise raises the quiet places of every image, however different their contents.

    Parameters
    ----------
    x : ndarray
        Calibration samples, batch first; they define the ends.
    layout : {"NHWC", "NCHW"}, optional
        Of images; guessed where an axis is 1, 3 or 4 long.
    """

    def __init__(self, x: NDArray[Any], *, layout: Literal["NHWC", "NCHW"] | None = None) -> None:
        if layout not in (None, "NHWC", "NCHW"):
            raise ValueError(f"Monitor: layout must be NHWC or NCHW, got {layout!r}")
        self._shape = x.shape[1:]
        self._layout = layout or _guess_layout(self._shape)
        values = self._channels_last(x)
        axes = tuple(range(values.ndim - 1))
        self._low, self._high = values.min(axis=axes), values.max(axis=axes)

    def __call__(self, x: NDArray[Any]) -> Features:
        """Return the numbers of each sample.

        Parameters
        ----------
        x : ndarray, shape (rows, ...)
            Finite, of the shape of the calibration samples.

        Returns
        -------
        dict of str to ndarray of float64, shape (rows,)

        Raises
        ------
        ValueError
            If the shape is another one.
        """
        if x.shape[1:] != self._shape:
            raise ValueError(f"Monitor: samples must have shape {self._shape}, got {x.shape[1:]}")
        values = self._channels_last(x)
        channels = values.shape[-1]
        found: dict[str, NDArray[Any]] = {}
        if channels <= _CHANNELS and self._layout:
            for c in range(channels):
                plane = flat_rows(values[..., c])
                found[f"mean {c}"] = plane.mean(axis=1)
                found[f"deviation {c}"] = plane.std(axis=1)
        flat = flat_rows(values)
        if flat.shape[1] <= _COLUMNS:
            return {f"value {i}": flat[:, i] for i in range(flat.shape[1])}
        if not found:
            found = {"mean": flat.mean(axis=1), "deviation": flat.std(axis=1)}
        ordered = np.sort(flat, axis=1)
        found["quantile 5 %"] = ordered[:, int(0.05 * flat.shape[1])]
        found["quantile 95 %"] = ordered[:, int(0.95 * flat.shape[1])]
        found["share lowest"] = flat_rows(values <= self._low).mean(axis=1)
        found["share highest"] = flat_rows(values >= self._high).mean(axis=1)
        edges = self._edges(values)
        if edges is not None:
            found["detail"] = edges.mean(axis=1)
            edges.partition(edges.shape[1] // 4, axis=1)
            found["noise"] = edges[:, edges.shape[1] // 4]
        return {name: np.asarray(v, np.float64) for name, v in found.items()}

    def _channels_last(self, x: NDArray[Any]) -> NDArray[np.float32]:
        values: NDArray[np.float32] = np.asarray(x, np.float32)
        if self._layout == "NCHW":
            values = values.transpose(0, 2, 3, 1)
        return values if self._layout else values.reshape(len(values), *self._shape, 1)

    def _edges(self, values: NDArray[np.float32]) -> NDArray[np.float32] | None:
        if self._layout:
            if min(values.shape[1:3]) < 3:
                return None
            # Gray first: edges are seen in brightness, and the work is a third.
            gray = values.mean(axis=-1)
            middle = gray[:, 1:-1, 1:-1]
            around = gray[:, :-2, 1:-1] + gray[:, 2:, 1:-1] + gray[:, 1:-1, :-2] + gray[:, 1:-1, 2:]
            return flat_rows(np.abs(4 * middle - around))
        lines = values[..., 0]
        if lines.shape[-1] < 3:
            return None
        return flat_rows(np.abs(np.diff(lines, 2, axis=-1)))


def output_features(scores: NDArray[Any]) -> Features:
    """Return numbers for each row of a network's first output.

    Parameters
    ----------
    scores : ndarray, shape (rows, ...)

    Returns
    -------
    dict of str to ndarray of float64, shape (rows,)
        Of classes margin, entropy and the class itself; else mean and deviation.
    """
    if scores.ndim == 2 and scores.shape[1] > 1:
        logs = log_probabilities(scores)
        return {
            "margin": confidence(scores),
            "entropy": -(np.exp(logs) * logs).sum(axis=1),
            "class": scores.argmax(axis=1).astype(np.float64),
        }
    flat = flat_rows(np.asarray(scores, np.float64))
    return {"output mean": flat.mean(axis=1), "output deviation": flat.std(axis=1)}


def flat_rows(x: NDArray[Any]) -> NDArray[Any]:
    """Return an array with all axes but the first in one; there may be no rows.

    Parameters
    ----------
    x : ndarray, shape (rows, ...)

    Returns
    -------
    ndarray, shape (rows, values)
    """
    return x.reshape(len(x), math.prod(x.shape[1:]))


def _guess_layout(shape: tuple[int, ...]) -> str | None:
    if len(shape) != 3:
        return None
    if shape[2] in (1, 3, 4):
        return "NHWC"
    return "NCHW" if shape[0] in (1, 3, 4) else None


__all__ = ["Features", "InputFeatures", "flat_rows", "output_features"]
