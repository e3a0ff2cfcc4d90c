"""CIFAR-10's own batches, in the binary and the Python (pickled) form.

The pickles are read by an interpreter that knows dictionaries, lists, texts, numbers and the one
way in which NumPy arrays are pickled: nothing in the file can name a function.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .archive import Entry
from .dataset import ArraySource, Dataset
from .error import DataError
from .split import choose_split

_TRAIN = tuple(f"data_batch_{number}" for number in range(1, 6))
_TEST = ("test_batch",)
_META = ("batches.meta", "batches.meta.txt")
_ROW = 1 + 3 * 32 * 32
_CLASSES = (
    "airplane automobile bird cat deer dog frog horse ship truck".split()  # noqa: SIM905
)


def is_cifar_name(name: str) -> bool:
    """Return whether a path names one of CIFAR-10's files.

    Parameters
    ----------
    name : str
        Path with forward slashes.

    Returns
    -------
    bool

    Examples
    --------
    >>> is_cifar_name("cifar-10-batches-bin/data_batch_1.bin"), is_cifar_name("readme.html")
    (True, False)
    """
    base = name.rsplit("/", 1)[-1]
    return base.removesuffix(".bin") in _TRAIN + _TEST or base in _META


def load_cifar(
    entries: Sequence[Entry], *, name: str, split: str | None, default_split: str | None = None
) -> Dataset:
    """Read CIFAR-10.

    Parameters
    ----------
    entries : sequence of Entry
        Files that :func:`is_cifar_name` accepts.
    name : str
        What messages call the set.
    split, default_split : str, optional
        ``"train"`` (up to 50,000 images) or ``"test"`` (10,000); the second counts where the first
        is None.

    Returns
    -------
    Dataset
        uint8, shape (32, 32, 3), in the order of the files.

    Raises
    ------
    DataError
        If the split is missing or unknown, or a file is damaged.
    """
    stems = {entry.name.rsplit("/", 1)[-1].removesuffix(".bin"): entry for entry in entries}
    parts = {"train": _TRAIN, "test": _TEST}
    there = {part: [stem for stem in files if stem in stems] for part, files in parts.items()}
    splits = [part for part, files in there.items() if files]
    if not splits:
        raise DataError(f"{name} has no batches of images")
    wanted = there[choose_split(splits, split, default_split, name=name) or ""]
    batches = [_read_batch(stems[stem]) for stem in wanted]
    images = np.concatenate([batch[0] for batch in batches])
    labels = np.concatenate([batch[1] for batch in batches])
    pixels = np.ascontiguousarray(images.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
    return Dataset(ArraySource(pixels), labels, _CLASSES, name=name)


def _read_batch(entry: Entry) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    content = entry.read()
    if entry.name.endswith(".bin"):
        if len(content) == 0 or len(content) % _ROW:
            raise DataError(f"{entry.name!r} must have rows of {_ROW} bytes, got {len(content)}")
        rows = np.frombuffer(content, np.uint8).reshape(-1, _ROW)
        return rows[:, 1:], rows[:, 0].astype(np.int64)
    batch = _read_pickle(content, entry.name)
    batch = {_text(key): value for key, value in batch.items()} if isinstance(batch, dict) else {}
    images = batch.get("data")
    images = images.array() if isinstance(images, _PickledArray) else images
    labels = batch.get("labels")
    if (
        not isinstance(images, np.ndarray)
        or images.dtype != np.uint8
        or images.shape[1:] != (3072,)
    ):
        raise DataError(f"{entry.name!r} must have 'data' of uint8, shape (n, 3072)")
    if (
        not isinstance(labels, list)
        or len(labels) != len(images)
        or not all(type(label) is int and 0 <= label < 256 for label in labels)
    ):
        raise DataError(f"{entry.name!r} must have {len(images)} integer 'labels'")
    return images, np.array(labels, np.int64)


def _text(value: Any) -> Any:
    return value.decode("latin-1") if isinstance(value, bytes) else value


class _PickledType:
    """Stands for numpy.dtype while unpickling."""

    def __init__(self, code: Any = None, *_: Any) -> None:
        self.code = _text(code)

    def __setstate__(self, state: Any) -> None:
        """Byte order and flags; one byte has none."""


class _PickledArray:
    """Stands for numpy.ndarray while unpickling."""

    def __init__(self, *_: Any) -> None:
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def array(self) -> NDArray[np.uint8] | None:
        try:
            _, shape, kind, fortran, content = self.state
            if not isinstance(kind, _PickledType) or kind.code not in ("u1", "|u1"):
                return None
            flat = np.frombuffer(
                content.encode("latin-1") if isinstance(content, str) else content, np.uint8
            )
            return np.asarray(flat.reshape(shape, order="F" if fortran else "C"))
        except (TypeError, ValueError, UnicodeEncodeError):
            return None


_STAND_INS = {
    ("numpy.core.multiarray", "_reconstruct"): _PickledArray,
    ("numpy._core.multiarray", "_reconstruct"): _PickledArray,
    ("numpy", "ndarray"): _PickledArray,
    ("numpy", "dtype"): _PickledType,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("_codecs", "encode"):
            return _encode_latin1
        if (module, name) not in _STAND_INS:
            raise DataError(f"the pickle names {module}.{name}, which is refused")
        return _STAND_INS[module, name]


def _encode_latin1(text: Any, _: Any = None) -> bytes:
    return str(text).encode("latin-1")


def _read_pickle(content: bytes, name: str) -> Any:
    try:
        # The unpickler allocates a table as long as the largest memo index: bound it first.
        for opcode, argument, _ in pickletools.genops(content):
            if "PUT" in opcode.name and isinstance(argument, int) and argument > 1 << 20:
                raise DataError("a memo index is too large")
        return _Unpickler(io.BytesIO(content), encoding="latin-1").load()
    except DataError as error:
        raise DataError(f"{name!r}: {error}") from None
    except Exception as error:  # a damaged pickle may raise anything
        raise DataError(f"{name!r} is damaged: {error}") from None


__all__ = ["is_cifar_name", "load_cifar"]
