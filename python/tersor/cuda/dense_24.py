"""Dense layers with 2:4 weights. Native half: ``cpp/tersor/sparse/cuda.h``."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from .device_array import array, on_device, operand
from .native import native
from .product import result_type

_PIECE, _TILE = 64, 16


class Dense24:
    """A dense layer whose weights keep two of every four inputs, on the sparse tensor cores.

    ``y = clip(x @ w.T + bias, low, high)`` with bfloat16 weights and input and float32 sums. The
    weights take 9 bits each of all, instead of 16. Before compute capability 8.0 the instruction is
    imitated, slowly.

    Parameters
    ----------
    w : array-like of float32, shape (outputs, inputs)
        On the host, rounded to bfloat16; in every four inputs at most two are not 0, as
        ``w * tersor.pruning.nm_mask(w, 2, 4)``. `inputs` is a multiple of 4.
    bias : array-like of float32, shape (outputs,), optional
    low, high : float, optional
        Bounds of the result.
    dtype : {float32, bfloat16}, default bfloat16
        Of the result.

    Raises
    ------
    ValueError
        If the weights are not 2:4, or shapes do not fit.
    """

    def __init__(
        self,
        w: ArrayLike,
        bias: ArrayLike | None = None,
        *,
        low: float = -np.inf,
        high: float = np.inf,
        dtype: DTypeLike = ml_dtypes.bfloat16,
    ) -> None:
        weights = np.asarray(w, np.float32)
        values, places = pack_24(weights)
        self.outputs, self.inputs = weights.shape
        self.dtype = result_type("Dense24", dtype)
        self._bounds = float(low), float(high)
        offsets = None if bias is None else np.asarray(bias, np.float32)
        if offsets is not None and offsets.shape != (self.outputs,):
            raise ValueError(
                f"Dense24: bias must have shape ({self.outputs},), got {offsets.shape}"
            )
        self._values, self._places = array(values), array(places)
        self._bias = None if offsets is None else array(offsets)

    @property
    def nbytes(self) -> int:
        """Bytes of the packed weights."""
        return self._values.nbytes + self._places.nbytes

    def __call__(self, x: Any) -> Any:
        """Apply the layer.

        Parameters
        ----------
        x : device array of bfloat16, shape (rows, inputs)

        Returns
        -------
        device array, shape (rows, outputs)
        """
        a = operand("Dense24: x", x, ml_dtypes.bfloat16)
        if len(a.shape) != 2 or a.shape[1] != self.inputs:
            raise ValueError(f"Dense24: x must have shape (rows, {self.inputs}), got {a.shape}")
        with on_device(a.device):
            y, address = a.empty((a.shape[0], self.outputs), self.dtype)
            native().dense_24(
                self._values.address, self._places.address, (self.outputs, self.inputs),
                0 if self._bias is None else self._bias.address, *self._bounds, a.address,
                a.shape[0], address, self.dtype != np.float32, a.stream,
            )  # fmt: skip
        return y


def pack_24(w: NDArray[np.float32]) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Pack 2:4 weights as the fragments of sparse tensor cores, see ``cpp/tersor/sparse/cuda.h``.

    Parameters
    ----------
    w : ndarray of float32, shape (outputs, inputs)

    Returns
    -------
    values : ndarray of uint32, shape (tiles, pieces, 2, 32, 4)
    places : ndarray of uint32, shape (tiles, pieces, 32)

    Raises
    ------
    ValueError
        If there are more than two values in four inputs, or inputs are no multiple of 4.
    """
    if w.ndim != 2 or w.shape[1] % 4 or not w.size:
        raise ValueError(
            f"Dense24: w must have shape (outputs, inputs), inputs a multiple of 4, got {w.shape}"
        )
    padded = np.pad(w, ((0, -w.shape[0] % _TILE), (0, -w.shape[1] % _PIECE)))
    fours = padded.reshape(padded.shape[0], -1, 4)
    kept = fours != 0
    most = int(kept.sum(axis=2).max())
    if most > 2:
        raise ValueError(f"Dense24: w must keep at most 2 of every 4 inputs, got {most}")
    # The places of what is kept, filled up with those of zeros; the lower place first.
    order = np.sort(np.argsort(~kept, axis=2, kind="stable")[:, :, :2], axis=2)
    pairs = np.take_along_axis(fours, order, axis=2).astype(ml_dtypes.bfloat16).view(np.uint16)
    words = pairs[..., 0].astype(np.uint32) | pairs[..., 1].astype(np.uint32) << np.uint32(16)
    tiles, pieces = padded.shape[0] // _TILE, padded.shape[1] // _PIECE
    # tile, r, g, piece, h, s, t
    values = words.reshape(tiles, 2, 8, pieces, 2, 2, 4).transpose(0, 3, 4, 2, 6, 5, 1)
    nibbles = (order[..., 0] | order[..., 1] << 2).astype(np.uint32)
    nibbles = nibbles.reshape(tiles, 2, 8, pieces, 2, 2, 4)
    halves = (nibbles << (4 * np.arange(4, dtype=np.uint32))).sum(axis=-1, dtype=np.uint32)
    both = halves[:, 0] | halves[:, 1] << np.uint32(16)  # tile, g, piece, h, half
    places = both.transpose(0, 2, 1, 3, 4)
    return (
        np.ascontiguousarray(values).reshape(tiles, pieces, 2, 32, 4),
        np.ascontiguousarray(places).reshape(tiles, pieces, 32),
    )


__all__ = ["Dense24", "pack_24"]
