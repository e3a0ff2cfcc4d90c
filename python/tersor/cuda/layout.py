"""Where scales lie in an array: ``AffineShape`` of ``cpp/tersor/quantization/affine.h``."""

from __future__ import annotations

import numpy as np


def layout_of(
    operation: str, shape: tuple[int, ...], axis: int | tuple[int, ...] | None, group: int
) -> tuple[int, int, int, int]:
    """Describe where scales lie as in ``affine.h``.

    Parameters
    ----------
    operation : str
        Named in errors.
    shape : tuple of int
    axis : int or tuple of int, optional
        Of the channels; None for one scale.
    group : int
        Channels that share a scale; 0 for none.

    Returns
    -------
    tuple of int
        outer, channels, inner, group.

    Raises
    ------
    ValueError
        If the shape has no such axis.
    """
    if axis is None or axis == ():
        return 1, 1, int(np.prod(shape, dtype=np.int64)), 0
    axes = axis if isinstance(axis, tuple) else (axis,)
    axes = tuple(a + len(shape) if a < 0 else a for a in axes)
    if not 0 <= axes[0] <= axes[-1] < len(shape) or list(axes) != list(
        range(axes[0], axes[-1] + 1)
    ):
        raise ValueError(f"{operation}: axis must be an axis of shape {shape}, got {axis}")
    sizes = [shape[: axes[0]], shape[axes[0] : axes[-1] + 1], shape[axes[-1] + 1 :]]
    outer, channels, inner = (int(np.prod(s, dtype=np.int64)) for s in sizes)
    return outer, channels, inner, group


def scale_count(layout: tuple[int, int, int, int]) -> int:
    """Count the scales of a layout.

    Parameters
    ----------
    layout : tuple of int
        From `layout_of`.

    Returns
    -------
    int
    """
    outer, channels, inner, group = layout
    return outer * -(-channels // group) * inner if group else channels


__all__ = ["layout_of", "scale_count"]
