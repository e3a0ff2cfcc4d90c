"""Codebooks in device memory. Native half: ``cpp/tersor/codebook/cuda.h``."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..codebook import kmeans as cpu_kmeans
from ..codebook.kmeans import Codebook
from ..quantization.bit_packing import pack_bits
from .device_array import Array, array, on_device, operand, rows_operand
from .native import native

_REST_BITS = 14


class DeviceCodebook(NamedTuple):
    """What :func:`kmeans` finds.

    Attributes
    ----------
    centroids : ndarray of float32, shape (k,)
        Ascending, on the host.
    indices : device array of uint8
        Of the shape of the values.
    inertia : float
        Sum of squared distances.
    """

    centroids: NDArray[np.float32]
    indices: Any
    inertia: float


def kmeans(w: Any, k: int) -> DeviceCodebook:
    """Cluster the values of a device array: one-dimensional k-means, exact on bins.

    Values are collected in bins that are 1 / 512 of their magnitude wide, with exact means, in one
    pass; the optimal clusters of the bins are found by dynamic programming on the host, and every
    value then gets its nearest centroid on the device. Waits for the device.

    Parameters
    ----------
    w : device array of float32, shape (...)
        Finite, not empty.
    k : int
        Clusters, in [1, 256].

    Returns
    -------
    DeviceCodebook

    Raises
    ------
    ValueError
        If `w` is empty or holds NaN or infinity, or `k` is out of range.
    TypeError
        If `w` is no device array of float32.
    """
    a = operand("kmeans: w", w, np.float32)
    if not a.size:
        raise ValueError("kmeans: w must have at least one value, got none")
    module = native()
    with on_device(a.device):
        bins, most = int(module.float_bins), int(module.most_counted)
        weight, moment = np.zeros(bins), np.zeros(bins)
        for first in range(0, a.size, most):
            counts = array(np.zeros(bins + 1, np.uint64).view(np.int64), device=a.device)
            n = min(most, a.size - first)
            bad_at = counts.address + 8 * bins
            module.count_floats(a.address + 4 * first, n, False, counts.address, bad_at, a.stream)
            found = _host(counts, a.stream).view(np.uint64)
            if found[-1]:
                raise ValueError("kmeans: w must be finite, got NaN or infinity")
            weight += found[:-1] >> np.uint64(40)
            moment += found[:-1] & np.uint64((1 << 40) - 1)
        points, weights = _points(weight, moment)
        clusters = cpu_kmeans(
            points, min(k, points.size), weights=weights, max_points=bins, keep_zero=False
        )
        centroids = np.unique(np.asarray(clusters.centroids, np.float32))
        return _assigned(a, centroids)


def _points(
    weight: NDArray[np.float64], moment: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Mean value of every bin that holds one, ascending, and its weight."""
    used = np.flatnonzero(weight)
    low = (used.astype(np.uint32) << _REST_BITS).view(np.float32).astype(np.float64)
    last = ((used.astype(np.uint32) << _REST_BITS) | 1).view(np.float32).astype(np.float64)
    points = low + (last - low) * (moment[used] / weight[used])
    order = np.argsort(points, kind="stable")
    return points[order], weight[used][order].astype(np.float32)


def _assigned(a: Any, centroids: NDArray[np.float32]) -> DeviceCodebook:
    # The largest float32 that is not above the middle of two neighbours: ties take the lower one.
    middle = (centroids[:-1].astype(np.float64) + centroids[1:]) / 2
    thresholds = middle.astype(np.float32)
    above = thresholds > middle
    thresholds[above] = np.nextafter(thresholds[above], np.float32(-np.inf))
    on_gpu = array(np.concatenate([thresholds, centroids]), device=a.device)
    error = Array((1,), np.float64, a.device)
    indices, address = a.empty(a.shape, np.uint8)
    native().assign(
        a.address, a.size, on_gpu.address, thresholds.size, on_gpu.address + 4 * thresholds.size,
        -1, address, error.address, a.stream,
    )  # fmt: skip
    return DeviceCodebook(centroids, indices, float(_host(error, a.stream)[0]))


def _host(x: Array, stream: int) -> NDArray[Any]:
    out = np.empty(x.shape, x.dtype)
    native().copy_to_host(out.view(np.uint8), x.address, stream)
    return out


class LookupDense:
    """A dense layer whose weights stay indices of 4 bits into tables of up to 16 numbers.

    Parameters
    ----------
    codebook : tersor.codebook.Codebook
        Of a weight of shape (outputs, inputs) with ``k <= 16`` and `inputs` a multiple of 32;
        tables per tensor or along axis 0.
    bias : array-like of float32, shape (outputs,), optional
    low, high : float, optional
        Bounds of the result.

    Raises
    ------
    ValueError
        If the codebook has more than 16 centroids, or shapes do not fit.
    """

    def __init__(
        self,
        codebook: Codebook,
        bias: ArrayLike | None = None,
        *,
        low: float = -np.inf,
        high: float = np.inf,
    ) -> None:
        indices = np.asarray(codebook.indices, np.uint8)
        tables = np.atleast_2d(np.asarray(codebook.centroids, np.float32))
        if codebook.axis not in (None, 0) or tables.shape[1] > 16:
            raise ValueError(
                "LookupDense: codebook must have up to 16 centroids and tables along axis 0, got "
                f"{tables.shape[1]} and axis {codebook.axis}"
            )
        if indices.ndim != 2 or indices.shape[1] % 32:
            raise ValueError(
                "LookupDense: codebook must be of a weight (outputs, inputs), inputs a multiple "
                f"of 32, got {indices.shape}"
            )
        self.outputs, self.inputs = indices.shape
        group = 0 if codebook.axis is None else int(codebook.group_size or 1)
        self._sizes = self.outputs, self.inputs, group
        self._range = float(low), float(high)
        self._codes = array(pack_bits(indices, 4))
        self._tables = array(np.pad(tables, ((0, 0), (0, 16 - tables.shape[1]))))
        self._bias = None if bias is None else array(bias, np.float32)

    def __call__(self, x: Any) -> Any:
        """Apply the layer.

        Parameters
        ----------
        x : device array of float32 or bfloat16, shape (rows, inputs)

        Returns
        -------
        device array of float32, shape (rows, outputs)
        """
        a = rows_operand("LookupDense: x", x, self.inputs)
        with on_device(a.device):
            y, address = a.empty((a.shape[0], self.outputs), np.float32)
            native().lookup_dense(
                self._codes.address, self._sizes, self._tables.address,
                0 if self._bias is None else self._bias.address, *self._range, a.address,
                a.is_bfloat16, a.shape[0], address, a.stream,
            )  # fmt: skip
        return y


__all__ = ["DeviceCodebook", "LookupDense", "kmeans"]
