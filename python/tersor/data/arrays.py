"""Arrays from .npy and .npz files, with every length checked before memory is taken."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from .dataset import MAX_ARRAY_BYTES, Dataset
from .error import DataError
from .split import choose_split

_X_NAMES = ("x", "images", "data", "arr_0")
_Y_NAMES = ("y", "labels", "label", "target", "targets", "arr_1")


def load_npy(path: Path) -> Dataset:
    """Read an unlabeled data set from a .npy file, memory-mapped.

    Parameters
    ----------
    path : Path

    Returns
    -------
    Dataset

    Raises
    ------
    DataError
        If the file is damaged, pickled, not numeric or empty.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from None
    except (ValueError, EOFError):
        # NumPy's reason would be advice to allow pickles.
        raise DataError(f"{path} is damaged or no .npy file of numbers") from None
    return Dataset.from_arrays(array, name=str(path))


def load_npz(path: Path, *, split: str | None = None, default_split: str | None = None) -> Dataset:
    """Read a data set from a .npz file.

    Parameters
    ----------
    path : Path
        Samples are named ``x``, ``images``, ``data`` or ``arr_0``, labels ``y``, ``labels``,
        ``target`` or ``arr_1``; with splits ``x_train``, ``y_train`` and so on. A file of one array
        may call it anything.
    split, default_split : str, optional
        Which of the splits; the second counts where the first is None.

    Returns
    -------
    Dataset

    Raises
    ------
    DataError
        If the file is damaged, an array is pickled or takes more than 4 GiB, or no name fits.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = {item.filename.removesuffix(".npy"): item for item in archive.infolist()}
            x_name, y_name = _choose(list(members), split, default_split, path)
            x = _read_member(archive, members[x_name], path)
            y = None if y_name is None else _read_member(archive, members[y_name], path)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError) as error:
        raise DataError(f"{path} is damaged or no .npz file: {_first_line(error)}") from None
    return Dataset.from_arrays(x, y, name=str(path))


def _choose(
    names: list[str], split: str | None, default_split: str | None, path: Path
) -> tuple[str, str | None]:
    """Return the names of samples and labels (None where there are none)."""
    splits = {name[2:] for name in names if name.startswith("x_") and len(name) > 2}
    chosen = choose_split(splits, split, default_split, name=str(path))
    suffix = f"_{chosen}" if chosen else ""
    x_name = next((f"{name}{suffix}" for name in _X_NAMES if f"{name}{suffix}" in names), None)
    if x_name is None and len(names) == 1:
        x_name = names[0]
    if x_name is None:
        known = ", ".join(_X_NAMES)
        raise DataError(f"{path} must name its samples one of {known}, got {', '.join(names)}")
    y_name = next((f"{name}{suffix}" for name in _Y_NAMES if f"{name}{suffix}" in names), None)
    return x_name, y_name if y_name != x_name else None


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> NDArray[Any]:
    name = member.filename
    with archive.open(member) as stream:
        shape, fortran, dtype = _read_header(stream, f"{path}: {name}")
        if dtype.hasobject:
            raise DataError(f"{path}: {name} holds pickled objects, which are refused")
        count = 1
        for length in shape:
            count *= length
        size = count * dtype.itemsize
        if size > MAX_ARRAY_BYTES:
            limit = MAX_ARRAY_BYTES >> 30
            raise DataError(f"{path}: {name} would take {size} bytes, the limit is {limit} GiB")
        # What the header claims against what the archive holds: no memory is taken before.
        if size > member.file_size:
            raise DataError(f"{path}: {name} claims {size} bytes and has {member.file_size}")
        content = stream.read(size + 1)
    if len(content) != size:
        raise DataError(f"{path}: {name} must have {size} bytes of data, got {len(content)}")
    return np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C")


def _read_header(stream: IO[bytes], what: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    try:
        version = np.lib.format.read_magic(stream)
        if version == (1, 0):
            return np.lib.format.read_array_header_1_0(stream)
        if version == (2, 0):
            return np.lib.format.read_array_header_2_0(stream)
    except (ValueError, SyntaxError, TypeError) as error:
        raise DataError(f"{what} is damaged: {_first_line(error)}") from None
    raise DataError(f"{what} has version {version} of the .npy format; 1.0 and 2.0 are read")


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or ["it cannot be read"])[0]


__all__ = ["load_npy", "load_npz"]
