"""Samples with optional labels, decoded when they are asked for, always in the same order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .error import DataError

# Dataset.x refuses more than this: a laptop keeps working, and batches() needs no such array.
MAX_ARRAY_BYTES = 4 << 30


class Source(Protocol):
    """Where rows come from: a reader implements this and nothing else."""

    shape: tuple[int, ...]
    """Of one row."""
    dtype: np.dtype[Any]

    def __len__(self) -> int:
        """Return the number of rows."""
        ...

    def read(self, rows: NDArray[np.intp]) -> NDArray[Any]:
        """Return rows in the order asked for.

        Parameters
        ----------
        rows : ndarray of int, shape (n,)

        Returns
        -------
        ndarray, shape (n, *shape)
        """
        ...


class ArraySource:
    """Rows of an array that is in memory or memory-mapped."""

    def __init__(self, x: NDArray[Any]) -> None:
        self.x = x
        self.shape = tuple(x.shape[1:])
        self.dtype = x.dtype

    def __len__(self) -> int:
        return len(self.x)

    def read(self, rows: NDArray[np.intp]) -> NDArray[Any]:
        """Return rows; a view where they follow one another.

        Parameters
        ----------
        rows : ndarray of int, shape (n,)

        Returns
        -------
        ndarray, shape (n, *shape)
        """
        if len(rows) and np.array_equal(rows, np.arange(rows[0], rows[0] + len(rows))):
            return np.asarray(self.x[rows[0] : rows[0] + len(rows)])
        return np.asarray(self.x[rows])


class Dataset:
    """Samples, labels and class names.

    Parameters
    ----------
    source : Source
        Where rows come from.
    y : array-like of int, shape (n,), optional
        Class indices; None for unlabeled data.
    class_names : sequence of str
        Name of each class, by index; empty where there are none.
    name : str
        What messages call it, such as its path.

    Attributes
    ----------
    y : ndarray of int64, shape (n,), or None
    class_names : tuple of str
    name : str

    Raises
    ------
    DataError
        If the set is empty, or labels do not fit it.

    Examples
    --------
    >>> data = Dataset.from_arrays(np.zeros((5, 8, 8, 1), np.uint8), [0, 1, 2, 1, 0])
    >>> len(data), data.shape, [len(x) for x, _ in data.batches(2)]
    (5, (8, 8, 1), [2, 2, 1])
    """

    def __init__(
        self,
        source: Source,
        y: ArrayLike | None = None,
        class_names: Sequence[str] = (),
        *,
        name: str = "data",
        _rows: NDArray[np.intp] | None = None,
    ) -> None:
        self._source = source
        self._rows = np.arange(len(source), dtype=np.intp) if _rows is None else _rows
        self.name = name
        self.class_names = tuple(class_names)
        if len(self._rows) == 0:
            raise DataError(f"{name} is empty: there must be at least one sample")
        self.y = None if y is None else _labels(y, len(self._rows), self.class_names, name)

    @classmethod
    def from_arrays(
        cls,
        x: ArrayLike,
        y: ArrayLike | None = None,
        class_names: Sequence[str] = (),
        *,
        name: str = "data",
    ) -> Dataset:
        """Wrap arrays without a copy.

        Parameters
        ----------
        x : array-like of a numeric dtype, shape (n, ...)
        y : array-like of int, shape (n,) or (n, 1), optional
        class_names : sequence of str
        name : str

        Returns
        -------
        Dataset

        Raises
        ------
        DataError
            If `x` is empty, has no rows, or is not numeric, or labels do not fit it.
        """
        array = np.asarray(x)
        if array.dtype.kind not in "biuf":
            raise DataError(f"{name} must be numeric, got dtype {array.dtype}")
        if array.ndim < 1:
            raise DataError(f"{name} must have a row per sample, got a scalar")
        return cls(ArraySource(array), y, class_names, name=name)

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        labels = "unlabeled" if self.y is None else f"{len(self.class_names) or '?'} classes"
        return f"Dataset({self.name!r}, {len(self)} x {self.shape} {self.dtype}, {labels})"

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample, such as ``(height, width, channels)``."""
        return self._source.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the samples: uint8 for images."""
        return self._source.dtype

    @property
    def x(self) -> NDArray[Any]:
        """All samples in one array, shape ``(n, *shape)``.

        Raises
        ------
        DataError
            If they take more than 4 GiB; iterate over :meth:`batches` instead.
        """
        size = len(self) * int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize
        if size > MAX_ARRAY_BYTES:
            raise DataError(
                f"{self.name}: x would take {size / 2**30:.1f} GiB, the limit is "
                f"{MAX_ARRAY_BYTES / 2**30:.0f} GiB; use batches() or sample()"
            )
        return self._source.read(self._rows)

    def batches(
        self, batch_size: int = 64
    ) -> Iterator[tuple[NDArray[Any], NDArray[np.int64] | None]]:
        """Iterate in order; only one batch is decoded at a time.

        Parameters
        ----------
        batch_size : int
            Rows in a batch, at least 1; the last batch may have fewer.

        Yields
        ------
        x : ndarray, shape (rows, *shape)
        y : ndarray of int64, shape (rows,), or None

        Raises
        ------
        ValueError
            If `batch_size` is below 1.
        DataError
            If a sample cannot be decoded.
        """
        if batch_size < 1:
            raise ValueError(f"batches: batch_size must be at least 1, got {batch_size}")
        for start in range(0, len(self), batch_size):
            part = slice(start, start + batch_size)
            yield self._source.read(self._rows[part]), None if self.y is None else self.y[part]

    def subset(self, rows: ArrayLike | slice) -> Dataset:
        """Return the given rows, in the order given, as a data set of their own.

        Parameters
        ----------
        rows : slice or array-like of int or bool

        Returns
        -------
        Dataset

        Raises
        ------
        DataError
            If no row is left.
        IndexError
            If a row does not exist.

        Examples
        --------
        >>> data = Dataset.from_arrays(np.arange(6).reshape(6, 1))
        >>> data.subset([4, 0]).x.tolist()
        [[4], [0]]
        """
        index = rows if isinstance(rows, slice) else np.asarray(rows)
        if not isinstance(index, slice) and index.size == 0:
            index = slice(0)
        chosen = self._rows[index]
        y = None if self.y is None else self.y[index]
        return Dataset(self._source, y, self.class_names, name=self.name, _rows=chosen)

    def sample(self, count: int, *, seed: int = 0) -> Dataset:
        """Return `count` rows drawn without replacement, in their original order.

        Parameters
        ----------
        count : int
            At least 1; where there are no more rows, all are taken.
        seed : int
            The same seed draws the same rows.

        Returns
        -------
        Dataset

        Raises
        ------
        ValueError
            If `count` is below 1.
        """
        if count < 1:
            raise ValueError(f"sample: count must be at least 1, got {count}")
        if count >= len(self):
            return self
        rows = np.random.default_rng(seed).choice(len(self), size=count, replace=False)
        return self.subset(np.sort(rows))


def _labels(y: ArrayLike, count: int, class_names: tuple[str, ...], name: str) -> NDArray[np.int64]:
    labels = np.asarray(y)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise DataError(f"{name}: labels must have shape ({count},), got {labels.shape}")
    if len(labels) != count:
        raise DataError(f"{name}: {count} samples need as many labels, got {len(labels)}")
    if labels.dtype.kind not in "biu":
        raise DataError(f"{name}: labels must be class indices (integers), got {labels.dtype}")
    if int(labels.min()) < 0:
        raise DataError(f"{name}: labels must not be negative, got {labels.min()}")
    if class_names and int(labels.max()) >= len(class_names):
        raise DataError(
            f"{name}: labels must be below the {len(class_names)} classes, got {labels.max()}"
        )
    return labels.astype(np.int64)


__all__ = ["ArraySource", "Dataset", "Source"]
