"""Unlabeled batches for calibration: any form of data in, checked float32 batches out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .dataset import Dataset
from .error import DataError
from .load import as_dataset, to_numpy
from .preprocess import Preprocess

Batch = NDArray[Any] | dict[str, NDArray[Any]]


def calibration_batches(
    data: Any,
    preprocess: Preprocess | None = None,
    *,
    limit: int | None = None,
    batch_size: int = 32,
    shape: Sequence[int | None] | None = None,
    names: Sequence[str] = (),
    seed: int = 0,
    what: str = "calibration",
) -> Iterator[Batch]:
    """Iterate over prepared, checked batches.

    Parameters
    ----------
    data : Dataset, path, array, pair (x, y), mapping, or iterable
        An array, or a mapping from input names to arrays for networks of several inputs, has a row
        per sample. An iterable gives batches, or pairs or mappings of them; labels are passed over.
    preprocess : Preprocess, optional
        Applied to each batch (not to mappings).
    limit : int, optional
        At most so many samples: drawn without replacement where all rows are at hand (sets are
        often sorted by class), the first ones of an iterable. None takes all.
    batch_size : int
        Rows of the batches made of data that are not batches yet, at least 1.
    shape : sequence of int or None, optional
        Shape of the network's input, batch first; checked but for the batch.
    names : sequence of str
        Of the inputs, for a network of several: a tuple or list with an array for each is then
        such a mapping, and not a pair (x, y) or a list of batches.
    seed : int
        For `limit`.
    what : str
        What messages call the data.

    Yields
    ------
    ndarray of float32, shape (rows, ...), or dict of such arrays
        Integers of mappings, such as token numbers, keep their type.

    Raises
    ------
    DataError
        If there is no sample, a value is NaN or infinite, or a shape does not fit.
    ValueError
        If `limit` or `batch_size` is below 1.
    FileNotFoundError
        If a path does not exist.

    Examples
    --------
    >>> x = np.zeros((5, 8, 8, 1), np.uint8)
    >>> [batch.shape for batch in calibration_batches(x, batch_size=4)]
    [(4, 8, 8, 1), (1, 8, 8, 1)]
    """
    if limit is not None and limit < 1:
        raise ValueError(f"{what}: limit must be at least 1, got {limit}")
    if batch_size < 1:
        raise ValueError(f"{what}: batch_size must be at least 1, got {batch_size}")
    seen = 0
    data = _named(data, names)
    whole = isinstance(data, (Mapping, Dataset, str, Path)) or hasattr(data, "__array__")
    if len(names) > 1 and isinstance(data, Iterable) and not whole:
        data = (_named(item, names) for item in data)
    for number, raw in enumerate(_raw_batches(data, limit, batch_size, seed, what)):
        left = None if limit is None else limit - seen
        batch = _prepare(raw, preprocess, left, f"{what} batch {number}")
        if isinstance(batch, dict):
            seen += len(next(iter(batch.values())))
        else:
            _check_shape(batch, shape, f"{what} batch {number}")
            seen += len(batch)
        yield batch
        if limit is not None and seen >= limit:
            return
    if seen == 0:
        raise DataError(f"{what} set is empty: give at least one sample")


def calibration_labels(
    data: Any, *, limit: int | None = None, names: Sequence[str] = (), seed: int = 0
) -> NDArray[np.int64] | None:
    """Return the labels of the samples that :func:`calibration_batches` gives.

    Parameters
    ----------
    data, limit, names, seed
        As there.

    Returns
    -------
    ndarray of int64, shape (samples,), or None
        None where there are none, or data are batches.

    Examples
    --------
    >>> calibration_labels((np.zeros((5, 2)), [4, 3, 2, 1, 0]), limit=5).tolist()
    [4, 3, 2, 1, 0]
    """
    pair = isinstance(data, tuple) and len(data) == 2 and _is_pair(data)
    if isinstance(_named(data, names), Mapping) or not (
        pair or isinstance(data, (Dataset, str, Path))
    ):
        return None
    dataset = as_dataset(data)
    return (dataset if limit is None else dataset.sample(limit, seed=seed)).y


def _raw_batches(
    data: Any, limit: int | None, batch_size: int, seed: int, what: str
) -> Iterator[Any]:
    if isinstance(data, Mapping):
        yield from _mapping_batches(data, limit, batch_size, seed, what)
        return
    pair = isinstance(data, tuple) and len(data) == 2 and _is_pair(data)
    if pair or isinstance(data, (Dataset, str, Path)) or hasattr(data, "__array__"):
        if hasattr(data, "shape") and len(data.shape) and data.shape[0] == 0:
            raise DataError(f"{what} set is empty: give at least one sample")
        dataset = as_dataset(data)
        dataset = dataset if limit is None else dataset.sample(limit, seed=seed)
        for x, _ in dataset.batches(batch_size):
            yield x
        return
    if not isinstance(data, Iterable):
        raise DataError(
            f"{what} data must be an array, a path or an iterable of batches, "
            f"got {type(data).__name__}"
        )
    for item in data:
        yield item[0] if isinstance(item, (tuple, list)) and len(item) == 2 else item


def _named(data: Any, names: Sequence[str]) -> Any:
    """Return arrays in the order of several inputs as a mapping, without labels beside them."""
    if len(names) < 2 or not isinstance(data, (tuple, list)):
        return data
    if len(data) == len(names) and all(hasattr(part, "shape") for part in data):
        return dict(zip(names, data, strict=True))
    if isinstance(data, tuple) and len(data) == 2:
        first = _named(data[0], names)
        if isinstance(first, Mapping):
            return first
    return data


def _is_pair(data: tuple[Any, Any]) -> bool:
    """Return whether two arrays are samples and labels rather than two batches."""
    x, y = (getattr(part, "shape", None) for part in data)
    y = (len(data[1]),) if y is None and isinstance(data[1], (list, tuple)) else y
    return x is not None and y is not None and len(y) <= 2 < len(x) + 1 and x[:1] == y[:1]


def _mapping_batches(
    data: Mapping[str, Any], limit: int | None, batch_size: int, seed: int, what: str
) -> Iterator[dict[str, Any]]:
    arrays = {str(name): np.asarray(to_numpy(value)) for name, value in data.items()}
    lengths = {array.shape[0] if array.ndim else 0 for array in arrays.values()}
    if len(lengths) > 1:
        raise DataError(f"{what}: all inputs must have as many rows, got {sorted(lengths)}")
    count = lengths.pop() if lengths else 0
    if count == 0:
        raise DataError(f"{what} set is empty: give at least one sample")
    rows = np.arange(count)
    if limit is not None and limit < count:
        rows = np.sort(np.random.default_rng(seed).choice(count, size=limit, replace=False))
    for start in range(0, len(rows), batch_size):
        chosen = rows[start : start + batch_size]
        yield {name: array[chosen] for name, array in arrays.items()}


def _prepare(raw: Any, preprocess: Preprocess | None, left: int | None, what: str) -> Batch:
    if isinstance(raw, Mapping):
        batch = {str(name): _numeric(value, left, what) for name, value in raw.items()}
        if not batch:
            raise DataError(f"{what} is empty")
        for name, array in batch.items():
            _check_finite(array, f"{what}, input {name!r},")
        return {
            name: array.astype(np.float32) if array.dtype.kind == "f" else array
            for name, array in batch.items()
        }
    array = _numeric(raw, left, what)
    prepared = array.astype(np.float32) if preprocess is None else preprocess(array)
    _check_finite(prepared, what)
    return prepared


def _numeric(value: Any, left: int | None, what: str) -> NDArray[Any]:
    array = np.asarray(to_numpy(value))
    if array.dtype.kind not in "biuf":
        raise DataError(f"{what} must be numeric, got dtype {array.dtype}")
    if array.ndim == 0 or array.shape[0] == 0:
        raise DataError(f"{what} must have a row per sample, got shape {array.shape}")
    return array if left is None else array[:left]


def _check_finite(array: NDArray[Any], what: str) -> None:
    if array.dtype.kind != "f":
        return
    bad = ~np.isfinite(array)
    if bad.any():
        row = int(np.argwhere(bad)[0][0])
        value = array[bad][0]
        kind = "NaN" if np.isnan(value) else "infinite values"
        raise DataError(f"{what} has {kind}, first in row {row}: remove or repair such samples")


def _check_shape(batch: NDArray[Any], shape: Sequence[int | None] | None, what: str) -> None:
    if shape is None:
        return
    wanted = tuple(shape)[1:]
    if len(wanted) + 1 != batch.ndim or any(
        want is not None and want >= 0 and want != got
        for want, got in zip(wanted, batch.shape[1:], strict=True)
    ):
        inner = ", ".join("?" if want is None or want < 0 else str(want) for want in wanted)
        swapped = batch.ndim == 4 and sorted(batch.shape[1:]) == sorted(w or 0 for w in wanted)
        hint = ": the channel axis is elsewhere, give a layout in preprocess" if swapped else ""
        raise DataError(f"{what} has shape {batch.shape}, the network wants (N, {inner}){hint}")


__all__ = ["Batch", "calibration_batches", "calibration_labels"]
