"""One folder per class of images, in a folder or an archive, decoded by Pillow."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..base.schema import did_you_mean
from .archive import Entry
from .dataset import Dataset
from .error import DataError
from .split import choose_split

if TYPE_CHECKING:
    from PIL.Image import Image

_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".tif", ".tiff")
_SPLITS = ("train", "training", "val", "valid", "validation", "test", "testing")
# 64 megapixels are 192 MB as RGB; the largest of ImageNet has 26.
MAX_PIXELS = 1 << 26


def is_image_name(name: str) -> bool:
    """Return whether a path names an image: known suffix, no hidden file or folder.

    Parameters
    ----------
    name : str
        Path with forward slashes.

    Returns
    -------
    bool

    Examples
    --------
    >>> is_image_name("test/cat/0001.JPG"), is_image_name("__MACOSX/._a.png")
    (True, False)
    """
    parts = name.split("/")
    hidden = any(part.startswith(".") and part != "." for part in parts) or parts[0] == "__MACOSX"
    return name.lower().endswith(_SUFFIXES) and not hidden


class ImageSource:
    """Images that are decoded when asked for; one shape for all."""

    def __init__(
        self, entries: Sequence[Entry], size: tuple[int, int] | None, channels: int | None
    ) -> None:
        self._entries = list(entries)
        self._size = size
        self.dtype = np.dtype(np.uint8)
        with _open(self._entries[0]) as first:
            self._channels = channels or (1 if first.mode in ("1", "L", "I;16", "LA") else 3)
            height, width = size or (first.height, first.width)
        self.shape: tuple[int, ...] = (height, width, self._channels)

    def __len__(self) -> int:
        return len(self._entries)

    def read(self, rows: NDArray[np.intp]) -> NDArray[Any]:
        """Decode rows; see :meth:`Source.read`.

        Parameters
        ----------
        rows : ndarray of int

        Returns
        -------
        ndarray of uint8, shape (len(rows), height, width, channels)

        Raises
        ------
        DataError
            If an image is damaged or of another size.
        """
        images = np.empty((len(rows), *self.shape), np.uint8)
        for image, row in zip(images, rows, strict=True):
            image[...] = self._decode(self._entries[row])
        return images

    def _decode(self, entry: Entry) -> NDArray[np.uint8]:
        height, width, channels = self.shape
        with _open(entry) as image:
            if self._size is None and image.size != (width, height):
                raise DataError(
                    f"image {entry.name!r} is {image.width} x {image.height}, the first one "
                    f"{width} x {height}: give resize=(height, width)"
                )
            try:
                if image.mode == "I;16":  # 16-bit gray: keep the high byte, as other readers do
                    pixels = (np.asarray(image) >> 8).astype(np.uint8)
                    image = _as_image(pixels)
                image = image.convert("L" if channels == 1 else "RGB")
                if image.size != (width, height):
                    image = image.resize((width, height), resample=2)  # 2: bilinear, antialiased
                return np.asarray(image).reshape(self.shape)
            except (OSError, ValueError, SyntaxError, EOFError, MemoryError) as error:
                raise DataError(f"image {entry.name!r} is damaged: {error}") from None


def load_images(
    entries: Sequence[Entry],
    *,
    name: str,
    split: str | None = None,
    default_split: str | None = None,
    class_names: Sequence[str] | None = None,
    size: tuple[int, int] | None = None,
    channels: int | None = None,
) -> Dataset:
    """Make a data set of image files laid out as ``[.../][split/]class/file``.

    Parameters
    ----------
    entries : sequence of Entry
        The image files. Those that lie in no folder at all make an unlabeled set.
    name : str
        What messages call the set.
    split : str, optional
        Which of the folders ``train``, ``test``, ``val`` ... above the classes.
    default_split : str, optional
        What counts where `split` is None and there are such folders.
    class_names : sequence of str, optional
        Order of the classes; by default all class folders of all splits, sorted.
    size : (int, int), optional
        Height and width that every image is resized to; by default all must agree.
    channels : int, optional
        1 or 3; by default what the first image has.

    Returns
    -------
    Dataset
        uint8, shape (height, width, channels), in the order of class and file name.

    Raises
    ------
    DataError
        If there is no image, the split or a class folder is unknown, or the folders do not follow
        the layout. Damaged images are found when they are decoded.
    ImportError
        If Pillow is not installed.
    """
    if not entries:
        raise DataError(f"{name} has no images ({', '.join(_SUFFIXES)})")
    placed = [(*_place(entry.name, name), entry) for entry in entries]
    splits = {where for where, _, _ in placed if where}
    split = choose_split(splits, split, default_split, name=name)
    folders = sorted({label for _, label, _ in placed if label})
    if folders and any(not label for _, label, _ in placed):
        raise DataError(f"{name} has images inside and outside of class folders")
    names = tuple(class_names) if class_names is not None else tuple(folders)
    for folder in folders:
        if folder not in names:
            hint = did_you_mean(folder, names)
            known = ", ".join(names)
            raise DataError(f"{name}: unknown class folder {folder!r}{hint}; known: {known}")
    chosen = [(label, entry) for where, label, entry in placed if where == (split or "")]
    index = {label: number for number, label in enumerate(names)}
    chosen.sort(key=lambda item: (index.get(item[0], 0), item[1].name))
    source = ImageSource([entry for _, entry in chosen], size, channels)
    labels = [index[label] for label, _ in chosen] if folders else None
    return Dataset(source, labels, names, name=name)


def _place(path: str, name: str) -> tuple[str, str]:
    """Return split ("" for none) and class ("" for none) of an image path."""
    *folders, _ = path.split("/")
    if not folders:
        return "", ""
    split = folders[-2] if len(folders) >= 2 and folders[-2].lower() in _SPLITS else ""
    if len(folders) > (3 if split else 2):
        raise DataError(f"{name}: {path!r} lies too deep; expected [split/]class/file")
    return split, folders[-1]


def _open(entry: Entry) -> Image:
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        raise ImportError(
            "reading image files needs Pillow: pip install 'tersor[images]'"
        ) from None
    content = entry.read()
    try:
        with warnings.catch_warnings():
            # Pillow warns above its own limit of pixels; ours is checked below.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(content))
    except UnidentifiedImageError:
        raise DataError(f"image {entry.name!r} is damaged or no image") from None
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise DataError(f"image {entry.name!r} is damaged: {error}") from None
    if image.width * image.height > MAX_PIXELS:
        raise DataError(
            f"image {entry.name!r} has {image.width} x {image.height} pixels, the limit is "
            f"{MAX_PIXELS}"
        )
    return image


def _as_image(pixels: NDArray[np.uint8]) -> Image:
    from PIL import Image

    return Image.fromarray(pixels)


__all__ = ["ImageSource", "is_image_name", "load_images"]
