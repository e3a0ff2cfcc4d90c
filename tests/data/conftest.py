"""A small set of images in every form that the readers take."""

import io
import tarfile
import zipfile

import numpy as np
import pytest


def pixels_of(number, shape=(6, 5, 3)):
    return np.random.default_rng(number).integers(0, 256, shape, dtype=np.uint8)


def png(pixels):
    image = pytest.importorskip("PIL.Image")
    stream = io.BytesIO()
    image.fromarray(pixels.squeeze()).save(stream, format="PNG")
    return stream.getvalue()


@pytest.fixture(scope="session")
def files():
    """Names and contents of a set with two splits of two classes, three images each."""
    names = [
        f"{split}/{label}/{number}.png"
        for split in ("test", "train")
        for label in ("cat", "dog")
        for number in range(3)
    ]
    return {name: png(pixels_of(index)) for index, name in enumerate(names)}


@pytest.fixture
def folder(tmp_path, files):
    root = tmp_path / "set"
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (root / "train" / "cat" / ".hidden.png").write_bytes(b"junk")
    (root / "readme.txt").write_text("passed over")
    return root


def write_tar(path, files, mode="w"):
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def write_zip(path, files):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path
