"""The door of the room: a path, an array or a pair becomes a data set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .archive import list_entries
from .arrays import load_npy, load_npz
from .cifar import is_cifar_name, load_cifar
from .dataset import Dataset
from .error import DataError
from .images import is_image_name, load_images
from .split import choose_split


def load(
    path: str | Path,
    split: str | None = None,
    *,
    default_split: str | None = None,
    class_names: Sequence[str] | None = None,
    resize: tuple[int, int] | None = None,
    channels: int | None = None,
) -> Dataset:
    """Open a data set.

    Parameters
    ----------
    path : str or Path
        A ``.npy`` or ``.npz`` file; a folder, tar (plain, gz, bz2, xz) or zip with one folder per
        class of images, with or without ``train``, ``test`` ... above; or one with CIFAR-10's own
        batches, binary or Python.
    split : str, optional
        Which part, where the set has parts.
    default_split : str, optional
        What counts where `split` is None and the set has parts.
    class_names : sequence of str, optional
        Order of the classes (folders of images only); by default sorted by name.
    resize : (int, int), optional
        Height and width that every image is resized to while it is decoded.
    channels : int, optional
        1 or 3; by default what the first image has.

    Returns
    -------
    Dataset
        Images are uint8, shape (height, width, channels), and decoded when they are asked for.

    Raises
    ------
    FileNotFoundError
        If there is no such path.
    DataError
        If the data are damaged, empty, hostile, of an unknown format, or have no such split.
    ImportError
        If images are to be read and Pillow is not installed.

    Examples
    --------
    >>> data = load("cifar-10-python.tar.gz", split="test")  # doctest: +SKIP
    >>> data.shape, len(data), data.class_names[0]  # doctest: +SKIP
    ((32, 32, 3), 10000, 'airplane')
    """
    path = Path(path)
    name = str(path)
    if not path.exists():
        raise FileNotFoundError(f"data not found: {path}")
    suffix = path.suffix.lower()
    if path.is_file() and suffix == ".npz":
        return load_npz(path, split=split, default_split=default_split)
    if path.is_file() and suffix == ".npy":
        choose_split((), split, None, name=name)
        return load_npy(path)
    entries = list_entries(path, lambda entry: is_image_name(entry) or is_cifar_name(entry))
    batches = [entry for entry in entries if is_cifar_name(entry.name)]
    images = [entry for entry in entries if is_image_name(entry.name)]
    if batches and images:
        raise DataError(f"{path} has both image files and CIFAR-10 batches")
    if batches:
        return load_cifar(batches, name=name, split=split, default_split=default_split)
    if not images:
        raise DataError(f"{path} is empty: it has no images and no CIFAR-10 batches")
    return load_images(
        images,
        name=name,
        split=split,
        default_split=default_split,
        class_names=class_names,
        size=resize,
        channels=channels,
    )


def as_dataset(data: Any, split: str | None = None) -> Dataset:
    """Return a data set made of what a user gave.

    Parameters
    ----------
    data : Dataset, path, array, or pair (x, y) of arrays
    split : str, optional
        For paths, as for :func:`load`.

    Returns
    -------
    Dataset

    Raises
    ------
    DataError, FileNotFoundError
        As for :func:`load` and :meth:`Dataset.from_arrays`.

    Examples
    --------
    >>> import numpy as np
    >>> len(as_dataset((np.zeros((3, 2)), [0, 1, 1])))
    3
    """
    if isinstance(data, Dataset):
        return data
    if isinstance(data, (str, Path)):
        return load(data, split)
    if isinstance(data, tuple) and len(data) == 2:
        return Dataset.from_arrays(to_numpy(data[0]), to_numpy(data[1]))
    return Dataset.from_arrays(to_numpy(data))


def to_numpy(value: Any) -> Any:
    """Return tensors of any framework as something that NumPy reads.

    Parameters
    ----------
    value : object
        An array, a tensor of PyTorch, TensorFlow or JAX, or nested lists of numbers.

    Returns
    -------
    object
        An array where `value` is a tensor, else `value`.
    """
    if hasattr(value, "detach"):
        value = value.detach().cpu()
    return value.numpy() if hasattr(value, "numpy") and callable(value.numpy) else value


__all__ = ["as_dataset", "load", "to_numpy"]
