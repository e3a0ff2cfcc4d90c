"""Arrays from files: names, splits, labels, and files that lie about themselves."""

import io
import zipfile

import numpy as np
import pytest

from tersor.data import DataError, load
from tersor.data import arrays as arrays_module

X = np.arange(24, dtype=np.float32).reshape(4, 2, 3)
Y = np.array([0, 1, 1, 0])


def test_npy_is_mapped_and_unlabeled(tmp_path):
    np.save(tmp_path / "x.npy", X)
    data = load(tmp_path / "x.npy")
    assert isinstance(data._source.x.base, np.memmap)
    assert data.y is None
    np.testing.assert_array_equal(data.x, X)
    with pytest.raises(DataError, match="has no splits"):
        load(tmp_path / "x.npy", "test")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("names", [("x", "y"), ("images", "labels"), ("data", "target")])
def test_npz_names(save, names, tmp_path):
    save(tmp_path / "d.npz", **{names[0]: X, names[1]: Y[:, None]})
    data = load(tmp_path / "d.npz")
    np.testing.assert_array_equal(data.x, X)
    assert data.y.tolist() == Y.tolist()


def test_npz_positional_single_and_fortran(tmp_path):
    np.savez(tmp_path / "d.npz", X, Y)
    assert load(tmp_path / "d.npz").y.tolist() == Y.tolist()
    np.savez(tmp_path / "d.npz", pictures=np.asfortranarray(X))
    np.testing.assert_array_equal(load(tmp_path / "d.npz").x, X)
    assert load(tmp_path / "d.npz").y is None


def test_npz_splits(tmp_path):
    np.savez(tmp_path / "d.npz", x_train=X, y_train=Y, x_test=X[:1], y_test=Y[:1])
    assert len(load(tmp_path / "d.npz", "test")) == 1
    assert len(load(tmp_path / "d.npz", default_split="train")) == 4
    with pytest.raises(DataError, match="has the splits test, train: give split="):
        load(tmp_path / "d.npz")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": X, "b": Y}, "must name its samples one of x, images"),
        ({"x": X[:0]}, "is empty"),
        ({"x": np.array(["a"])}, "must be numeric"),
        ({"x": np.float32(1)}, "row per sample"),
        ({"x": X, "y": Y[:3]}, "4 samples need as many labels, got 3"),
        ({"x": X, "y": Y.astype(float)}, "labels must be class indices"),
        ({"x": X, "y": -Y}, "labels must not be negative, got -1"),
        ({"x": X, "y": np.eye(4)}, r"labels must have shape \(4,\), got \(4, 4\)"),
        ({"x": np.array([None], dtype=object)}, "pickled objects, which are refused"),
    ],
)
def test_unfit_arrays(arrays, message, tmp_path):
    np.savez(tmp_path / "d.npz", **arrays)
    with pytest.raises(DataError, match=message):
        load(tmp_path / "d.npz")


def header(shape, dtype="<f4"):
    stream = io.BytesIO()
    fields = {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, fields)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (header((1 << 40,)), "would take 4398046511104 bytes"),
        (header((1 << 20,)), "claims 4194304 bytes and has"),
        (header((1000,)) + bytes(10), "claims 4000 bytes and has 138"),
        (header((4,)) + bytes(10), "must have 16 bytes of data, got 10"),
        (header((4,)) + bytes(20), "must have 16 bytes of data, got 17"),
        (b"\x93NUMPY\x09\x00" + bytes(100), "damaged|version"),
        (b"nothing", "is damaged"),
        (b"", "is damaged"),
    ],
)
def test_members_that_lie(content, message, tmp_path):
    with zipfile.ZipFile(tmp_path / "d.npz", "w") as archive:
        archive.writestr("x.npy", content)
    with pytest.raises(DataError, match=message):
        load(tmp_path / "d.npz")


def test_damaged_files(tmp_path):
    (tmp_path / "d.npz").write_bytes(b"hello")
    with pytest.raises(DataError, match=r"is damaged or no \.npz file"):
        load(tmp_path / "d.npz")
    for content in (b"", b"hello", header((1000,)), header((-3,)), header((2,), "|O") + bytes(16)):
        (tmp_path / "x.npy").write_bytes(content)
        with pytest.raises(DataError, match=r"is damaged or no \.npy file of numbers$"):
            load(tmp_path / "x.npy")


def test_flipped_bits_are_noticed(tmp_path):
    np.savez_compressed(tmp_path / "d.npz", x=X, y=Y)
    whole = (tmp_path / "d.npz").read_bytes()
    random = np.random.default_rng(1)
    for trial in range(150):
        damaged = bytearray(whole)
        if trial % 2:
            damaged[random.integers(len(damaged))] ^= 1 << random.integers(8)
        else:
            damaged = damaged[: random.integers(len(damaged))]
        (tmp_path / "d.npz").write_bytes(damaged)
        try:
            data = load(tmp_path / "d.npz")
        except DataError:
            continue
        np.testing.assert_array_equal(data.x, X)


def test_limit_of_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(arrays_module, "MAX_ARRAY_BYTES", 95)
    np.savez(tmp_path / "d.npz", x=X)
    with pytest.raises(DataError, match="would take 96 bytes"):
        load(tmp_path / "d.npz")
