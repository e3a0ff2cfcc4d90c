"""CIFAR-10's own batches: binary, Python 2 and Python 3 pickles, and hostile ones."""

import pickle
import pickletools

import numpy as np
import pytest

from tersor.data import DataError, load

from .conftest import write_tar

ROWS = 7


def batch(number):
    random = np.random.default_rng(number)
    labels = random.integers(0, 10, ROWS).tolist()
    return random.integers(0, 256, (ROWS, 3072), dtype=np.uint8), labels


def binary(number):
    images, labels = batch(number)
    return np.concatenate([np.array(labels, np.uint8)[:, None], images], axis=1).tobytes()


def pickled(number, protocol=2):
    images, labels = batch(number)
    content = {
        b"data": images,
        b"labels": labels,
        b"batch_label": b"x",
        b"filenames": [b"a"] * ROWS,
    }
    return pickle.dumps(content, protocol)


def python2(number):
    """Write a batch as Python 2 did: text keys as raw bytes and the old name of NumPy's module."""
    images, labels = batch(number)
    whole = pickle.dumps({"data": images, "labels": labels}, 2)
    return whole.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


FORMS = {
    "binary": (binary, ".bin"),
    "python": (pickled, ""),
    "python2": (python2, ""),
    "protocol 4": (lambda number: pickled(number, 4), ""),
    "protocol 0": (lambda number: pickled(number, 0), ""),
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_batches(form, packed, tmp_path):
    make, suffix = FORMS[form]
    files = {f"cifar/data_batch_{n}{suffix}": make(n) for n in (2, 1)}
    files[f"cifar/test_batch{suffix}"] = make(9)
    files["cifar/batches.meta"] = b"not read"
    path = tmp_path / "c.tar.gz"
    if packed:
        write_tar(path, files, "w:gz")
    else:
        for name, content in files.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_bytes(content)
        path = tmp_path
    train = load(path, split="train")
    assert (train.shape, len(train), len(train.class_names)) == ((32, 32, 3), 2 * ROWS, 10)
    images, labels = zip(batch(1), batch(2), strict=True)
    assert train.y.tolist() == labels[0] + labels[1]
    expected = np.concatenate(images).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(train.x, expected)
    assert load(path, split="test").y.tolist() == batch(9)[1]


def one(tmp_path, content, name="test_batch"):
    (tmp_path / name).write_bytes(content)
    return tmp_path


def test_splits(tmp_path):
    one(tmp_path, binary(1), "test_batch.bin")
    with pytest.raises(DataError, match="give split="):
        load(tmp_path)
    with pytest.raises(DataError, match="unknown split 'train'"):
        load(tmp_path, "train")
    assert len(load(tmp_path, default_split="test")) == ROWS


class Evil:
    def __reduce__(self):
        return eval, ("__import__('os').abort()",)


def test_pickles_that_name_functions_are_refused(tmp_path):
    path = one(tmp_path, pickle.dumps({"data": Evil()}))
    with pytest.raises(DataError, match=r"the pickle names builtins.eval, which is refused"):
        load(path, "test")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "damaged"),
        (b"\x80\x02r\xff\xff\xff\x7f.", "memo index is too large"),
        (pickle.dumps([1]), "must have 'data'"),
        (pickle.dumps({"data": 3}), "must have 'data'"),
        (pickle.dumps({"data": np.zeros((2, 3072), np.float32), "labels": [1, 2]}), "uint8"),
        (pickle.dumps({"data": np.zeros((2, 9), np.uint8), "labels": [1, 2]}), "'data'"),
        (
            pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [1]}),
            "2 integer 'labels'",
        ),
        (pickle.dumps({"data": np.zeros((1, 3072), np.uint8), "labels": ["a"]}), "integer"),
        (pickle.dumps({"data": np.zeros((1, 3072), np.uint8), "labels": [10]}), "below the 10"),
    ],
)
def test_refused_pickles(content, message, tmp_path):
    with pytest.raises(DataError, match=message):
        load(one(tmp_path, content), "test")


def test_binary_of_a_wrong_length(tmp_path):
    with pytest.raises(DataError, match="rows of 3073 bytes, got 3072"):
        load(one(tmp_path, bytes(3072), "test_batch.bin"), "test")


def test_damaged_pickles_end_in_one_error(tmp_path):
    whole = pickletools.optimize(pickled(3))
    random = np.random.default_rng(5)
    for trial in range(200):
        damaged = bytearray(whole)
        if trial % 2:
            damaged[random.integers(300)] ^= 1 << random.integers(8)
        else:
            damaged = damaged[: random.integers(0, len(damaged))]
        try:
            assert load(one(tmp_path, damaged), "test").shape == (32, 32, 3)
        except DataError:
            continue
