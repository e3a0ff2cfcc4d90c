"""Folders and archives of images: contents, order, labels, and refusals."""

import re

import numpy as np
import pytest

from tersor.data import DataError, load
from tersor.data.images import is_image_name

from .conftest import pixels_of, png, write_tar, write_zip

FORMS = ["folder", "tar", "tar.gz", "tar.bz2", "tar.xz", "zip", "prefixed tar"]


def write(form, folder, files, tmp_path):
    if form == "folder":
        return folder
    if form == "zip":
        return write_zip(tmp_path / "set.zip", files)
    if form == "prefixed tar":
        return write_tar(tmp_path / "p.tar", {f"./root/{n}": c for n, c in files.items()})
    kind = form.partition(".")[2]
    # Reversed, so that the order must come from the names.
    contents = dict(reversed(files.items()))
    return write_tar(tmp_path / f"set.{form}", contents, f"w:{kind}" if kind else "w")


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_set(form, folder, files, tmp_path):
    path = write(form, folder, files, tmp_path)
    train = load(path, split="train")
    assert train.class_names == ("cat", "dog")
    assert train.y.tolist() == [0, 0, 0, 1, 1, 1]
    assert (train.shape, train.dtype, len(train)) == ((6, 5, 3), np.uint8, 6)
    np.testing.assert_array_equal(train.x, [pixels_of(number) for number in range(6, 12)])
    np.testing.assert_array_equal(load(str(path), "test").x[4], pixels_of(4))
    np.testing.assert_array_equal(train.subset([5, 0]).x, [pixels_of(11), pixels_of(6)])


def test_batches_cover_the_set_in_order(folder):
    test = load(folder, split="test")
    batches = list(test.batches(4))
    assert [len(x) for x, _ in batches] == [4, 2]
    np.testing.assert_array_equal(np.concatenate([x for x, _ in batches]), test.x)
    np.testing.assert_array_equal(np.concatenate([y for _, y in batches]), test.y)


def test_splits(folder, tmp_path):
    with pytest.raises(DataError, match="has the splits test, train: give split="):
        load(folder)
    assert load(folder, default_split="train").y is not None
    assert load(folder, default_split="train").x[0, 0, 0, 0] == pixels_of(6)[0, 0, 0]
    with pytest.raises(DataError, match=r"unknown split 'tset' \(did you mean 'test'\?\)"):
        load(folder, split="tset")
    with pytest.raises(DataError, match="has no splits, but split='train' was given"):
        load(folder / "train", split="train")
    assert load(folder / "train", default_split="test").y.tolist() == [0, 0, 0, 1, 1, 1]


def test_a_class_missing_from_a_split_keeps_its_number(tmp_path):
    files = {"train/a/1.png": png(pixels_of(1)), "train/b/1.png": png(pixels_of(2))}
    files["test/b/1.png"] = png(pixels_of(3))
    data = load(write_zip(tmp_path / "s.zip", files), split="test")
    assert data.y.tolist() == [1]
    assert data.class_names == ("a", "b")


def test_class_names_given(folder):
    data = load(folder, "test", class_names=["dog", "bird", "cat"])
    assert data.y.tolist() == [0, 0, 0, 2, 2, 2]
    with pytest.raises(DataError, match=r"unknown class folder 'cat' \(did you mean 'cap'\?\)"):
        load(folder, "test", class_names=["dog", "cap"])


def test_images_without_folders_are_unlabeled(tmp_path):
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(png(pixels_of(number)))
    data = load(tmp_path)
    assert data.y is None
    assert len(data) == 3
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "1.png").write_bytes(png(pixels_of(1)))
    with pytest.raises(DataError, match="inside and outside of class folders"):
        load(tmp_path)


def test_gray_images_and_channels(tmp_path):
    gray = pixels_of(1, (6, 5, 1))
    path = write_zip(tmp_path / "g.zip", {"a/1.png": png(gray)})
    np.testing.assert_array_equal(load(path).x[0], gray)
    np.testing.assert_array_equal(load(path, channels=3).x[0], np.repeat(gray, 3, axis=2))


def test_sixteen_bit_gray_keeps_the_high_byte(tmp_path):
    deep = np.arange(30, dtype=np.uint16).reshape(6, 5) * 2000
    path = write_zip(tmp_path / "g.zip", {"a/1.png": png(deep)})
    np.testing.assert_array_equal(load(path).x[0, ..., 0], deep >> 8)


def test_sizes_must_agree_or_be_given(tmp_path):
    files = {"a/1.png": png(pixels_of(1)), "a/2.png": png(pixels_of(2, (7, 5, 3)))}
    path = write_zip(tmp_path / "s.zip", files)
    with pytest.raises(DataError, match=re.escape("'a/2.png' is 5 x 7, the first one 5 x 6")):
        _ = load(path).x
    assert load(path, resize=(4, 3)).x.shape == (2, 4, 3, 3)


def test_damaged_images_are_named(tmp_path, files):
    whole = files["test/cat/0.png"]
    cases = {"a/1.png": whole, "a/2.png": whole[: len(whole) // 2], "a/3.png": b"not an image"}
    data = load(write_zip(tmp_path / "s.zip", cases))
    with pytest.raises(DataError, match=r"image 'a/2.png' is damaged"):
        data.subset([1]).x  # noqa: B018
    with pytest.raises(DataError, match=r"image 'a/3.png' is damaged or no image"):
        data.subset([2]).x  # noqa: B018
    with pytest.raises(DataError, match="damaged or no image"):
        load(write_zip(tmp_path / "t.zip", {"a/3.png": b""}))


def test_images_of_too_many_pixels_are_refused(tmp_path):
    image = pytest.importorskip("PIL.Image")
    path = tmp_path / "a" / "1.png"
    path.parent.mkdir()
    image.new("1", (16000, 8000)).save(path)
    assert path.stat().st_size < 100_000
    with pytest.raises(DataError, match="has 16000 x 8000 pixels, the limit is"):
        load(tmp_path)


def test_too_deep(tmp_path):
    path = write_zip(tmp_path / "s.zip", {"x/y/z/cat/1.png": png(pixels_of(1))})
    with pytest.raises(DataError, match="lies too deep"):
        load(path)


def test_nothing_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="data not found"):
        load(tmp_path / "none")
    with pytest.raises(DataError, match="is empty: it has no images"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("name", "image"),
    [("a/b.JPG", True), ("a/b.txt", False), ("a/.b.png", False), ("__MACOSX/a/b.png", False)],
)
def test_is_image_name(name, image):
    assert is_image_name(name) is image


def test_without_pillow_the_error_names_the_command(folder, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "PIL", None)
    with pytest.raises(ImportError, match=r"pip install 'tersor\[images\]'"):
        load(folder, "test")
