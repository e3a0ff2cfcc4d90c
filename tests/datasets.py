"""Networks and images that are not part of the repository.

The environment variable TERSOR_DATA names the folder that holds ``data/`` and ``models/`` (default:
``../shared`` from the project's root). Tests that need it skip where it is absent.
"""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parent.parent
CIFAR10_CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)


class Images(NamedTuple):
    """``x``: uint8 (n, 32, 32, 3); ``y``: int64 (n,)."""

    x: NDArray[np.uint8]
    y: NDArray[np.int64]


def folder() -> Path:
    """Where TERSOR_DATA points; it may not exist."""
    return Path(os.environ.get("TERSOR_DATA") or ROOT.parent / "shared")


def find(name: str) -> Path:
    """Return the path of a file or folder under TERSOR_DATA, or skip the test."""
    path = folder() / name
    if not path.exists():
        pytest.skip(f"{path} is absent: set TERSOR_DATA to the folder of data/ and models/")
    return path


def cifar10(split: str) -> Images:
    """Return the ``train`` or ``test`` images, decoded once into a cache folder."""
    archive = find("data/cifar10-jpeg.tar.xz")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tersor"
    # The size is part of the name, so that another archive is decoded again.
    file = cache / f"cifar10-jpeg-{archive.stat().st_size}-{split}.npz"
    if not file.exists():
        pytest.importorskip("PIL", reason="decoding the images needs pillow")
        cache.mkdir(parents=True, exist_ok=True)
        _decode_cifar10(archive, cache)
    with np.load(file) as arrays:
        return Images(arrays["x"], arrays["y"])


def _decode_cifar10(archive: Path, cache: Path) -> None:
    from PIL import Image

    images: dict[str, list[tuple[str, int, NDArray[np.uint8]]]] = {"train": [], "test": []}
    with tarfile.open(archive, "r:xz") as tar:
        for member in tar:
            if not member.name.endswith(".jpg"):
                continue
            split, label, _ = member.name.split("/")
            stream = tar.extractfile(member)
            assert stream is not None
            pixels = np.asarray(Image.open(io.BytesIO(stream.read())).convert("RGB"))
            images[split].append((member.name, CIFAR10_CLASSES.index(label), pixels))
    for split, rows in images.items():
        rows.sort(key=lambda row: row[0])
        file = cache / f"cifar10-jpeg-{archive.stat().st_size}-{split}.npz"
        # Written beside and renamed: parallel test runs never read half a file.
        part = file.with_suffix(f".{os.getpid()}.npz")
        np.savez(part, x=np.stack([r[2] for r in rows]), y=np.array([r[1] for r in rows], np.int64))
        part.replace(file)
