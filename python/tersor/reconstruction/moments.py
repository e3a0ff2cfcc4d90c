"""Second moments of layer inputs. Native half: ``cpp/tersor/reconstruction/moments.h``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _core


class Moments:
    r"""Sums of products of what a linear layer ``y = W x`` sees and of what it should give.

    Twice the mean of ``x x^T`` is the Hessian of the layer's mean squared output error. Products
    are summed in float32 over 256 rows and then in float64; the patches of a convolution are never
    all in memory.

    Parameters
    ----------
    columns : int
        Inputs of one output: ``W.shape[1]`` of a dense layer, channels per group times kernel
        positions of a convolution.
    groups : int, default 1
        Independent layers side by side, as in a grouped or depthwise convolution.
    outputs : int, default 0
        Outputs per group, where targets are given with every batch; 0 without targets.
    threads : int, default 0
        0 follows :func:`tersor.set_threads`. Results do not depend on it.

    Raises
    ------
    ValueError
        If `columns` or `groups` is below 1.

    Examples
    --------
    >>> import numpy as np
    >>> from tersor.reconstruction import Moments
    >>> moments = Moments(2)
    >>> moments.add(np.array([[1, 2], [3, 4]], np.float32))
    >>> moments.hessian[0]
    array([[10., 14.],
           [14., 20.]])
    """

    def __init__(
        self, columns: int, *, groups: int = 1, outputs: int = 0, threads: int = 0
    ) -> None:
        for name, value, least in (
            ("columns", columns, 1),
            ("groups", groups, 1),
            ("outputs", outputs, 0),
            ("threads", threads, 0),
        ):
            if value < least:
                raise ValueError(f"moments: {name} must be at least {least}, got {value}")
        self._native = _core.reconstruction.Moments(groups, columns, outputs, threads)

    def add(self, x: ArrayLike, targets: ArrayLike | None = None) -> None:
        """Add rows of inputs.

        Parameters
        ----------
        x : array-like of float32, shape (..., groups * columns)
            Finite.
        targets : array-like of float32, shape (..., groups * outputs), optional
            Needed if and only if `outputs` is not 0.

        Raises
        ------
        ValueError
            If a shape does not fit, or a value is NaN or infinite.
        """
        rows = np.asarray(x, np.float32, order="C")
        wanted = None if targets is None else np.asarray(targets, np.float32, order="C")
        self._native.add_rows(
            rows.reshape(-1, rows.shape[-1]) if rows.ndim else rows,
            None if wanted is None else wanted.reshape(-1, wanted.shape[-1]),
        )

    def add_images(
        self,
        x: ArrayLike,
        targets: ArrayLike | None = None,
        *,
        kernel: Sequence[int],
        output: Sequence[int] | None = None,
        strides: Sequence[int] | None = None,
        dilations: Sequence[int] | None = None,
        pads: Sequence[int] | None = None,
        transposed: bool = False,
    ) -> None:
        """Add the patches that a convolution reads, at every output position.

        Parameters
        ----------
        x : array-like of float32, shape (images, channels, one to three axes)
            Finite. A patch holds ``channels * prod(kernel)`` values in the order of a
            convolution's weight (channels, then kernel positions), zeros outside the image.
        targets : array-like of float32, shape (images, groups * outputs, positions...), optional
            Needed if and only if `outputs` is not 0.
        kernel : sequence of int
            Kernel sizes, one per axis.
        output : sequence of int, optional
            Output sizes; by default those of the convolution, which a transposed one has not.
        strides, dilations : sequence of int, optional
            1 by default.
        pads : sequence of int, optional
            Zeros in front of every axis and, if there are twice as many, behind; 0 by default.
        transposed : bool, default False
            For transposed convolutions.

        Raises
        ------
        ValueError
            If a shape does not fit, or a value is NaN or infinite.
        """
        images = np.asarray(x, np.float32, order="C")
        wanted = None if targets is None else np.asarray(targets, np.float32, order="C")
        window = _window(images.shape[2:], kernel, output, strides, dilations, pads, transposed)
        self._native.add_patches(images, wanted, *window, transposed)

    def merge(self, other: Moments) -> None:
        """Add the sums of another accumulator of the same sizes.

        Parameters
        ----------
        other : Moments

        Raises
        ------
        ValueError
            If the sizes differ.
        """
        self._native.merge(other._native)

    @property
    def rows(self) -> int:
        """Rows seen, over all groups together."""
        return int(self._native.rows)

    @property
    def hessian(self) -> NDArray[np.float64]:
        """``2 / rows * sum(x x^T)``, shape (groups, columns, columns)."""
        return np.asarray(2 * self._native.xx / self._rows())

    @property
    def input_mean(self) -> NDArray[np.float64]:
        """Shape (groups, columns)."""
        return np.asarray(self._native.x / self._rows())

    @property
    def target_mean(self) -> NDArray[np.float64]:
        """Shape (groups, outputs)."""
        return np.asarray(self._native.t / self._rows())

    @property
    def target_variance(self) -> NDArray[np.float64]:
        """Mean squared distance of the targets from their mean, shape (groups, outputs)."""
        return np.asarray(np.maximum(self._native.tt / self._rows() - self.target_mean**2, 0))

    @property
    def cross(self) -> NDArray[np.float64]:
        """``sum(t x^T) / rows``, shape (groups, outputs, columns)."""
        return np.asarray(self._native.tx / self._rows())

    def _rows(self) -> int:
        if self.rows == 0:
            raise ValueError("moments: rows must have been added, got none")
        return self.rows

    def __repr__(self) -> str:
        native = self._native
        return (
            f"Moments({native.columns}, groups={native.groups}, outputs={native.outputs}, "
            f"{native.rows} rows)"
        )


def _window(
    sizes: Sequence[int],
    kernel: Sequence[int],
    output: Sequence[int] | None,
    strides: Sequence[int] | None,
    dilations: Sequence[int] | None,
    pads: Sequence[int] | None,
    transposed: bool,
) -> tuple[list[int], list[int], list[int], list[int], list[int]]:
    """Output, kernel, strides, dilations and leading pads, one entry per axis."""
    rank = len(kernel)
    steps = list(strides or [1] * rank)
    spread = list(dilations or [1] * rank)
    around = list(pads or [0] * rank)
    behind = around[rank:] or around
    if output is None:
        if transposed:
            raise ValueError("moments: output must be given for a transposed convolution, got None")
        output = [
            (n + a + b - d * (k - 1) - 1) // max(s, 1) + 1
            for n, k, s, d, a, b in zip(
                sizes, kernel, steps, spread, around[:rank], behind, strict=True
            )
        ]
    return list(output), list(kernel), steps, spread, around[:rank]


__all__ = ["Moments"]
