"""The data of the notebooks."""

import numpy as np
import pytest

import tersor
from tersor.zoo import load_task
from tests import datasets


def test_digits(monkeypatch):
    monkeypatch.delenv("TERSOR_TASK", raising=False)
    task = load_task()
    assert (task.name, len(task.train), len(task.test)) == ("digits", 256, 602)
    scores = tersor.Session(task.network())(task.preprocess(task.test.x))
    assert (scores.argmax(1) == task.test.y).mean() > 0.99


def test_enlarged_digits():
    task = load_task("digits", enlarge=True, images=100)
    assert len(task.train) == 100
    assert task.train.shape == task.test.shape == (32, 32, 3)
    x = np.asarray(task.test.x)
    np.testing.assert_array_equal(x[:, ::4, ::4, :1], load_task("digits").test.x)
    np.testing.assert_array_equal(load_task("digits", enlarge=16).test.x, x[:, ::2, ::2])


def test_errors(monkeypatch, tmp_path):
    for side in (12, -8):
        with pytest.raises(ValueError, match=f"enlarge must be a multiple of 8, got {side}"):
            load_task("digits", enlarge=side)
    monkeypatch.setenv("TERSOR_TASK", "mnist")
    with pytest.raises(ValueError, match="name must be one of digits, cifar10, got 'mnist'"):
        load_task()
    monkeypatch.setenv("TERSOR_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"must have .*cifar10-jpeg.tar.xz"):
        load_task("cifar10")


@pytest.mark.slow
def test_cifar10(monkeypatch):
    datasets.find("data/cifar10-jpeg.tar.xz")
    monkeypatch.setenv("TERSOR_DATA", str(datasets.folder()))
    task = load_task("cifar10", images=600)
    assert (len(task.train), len(task.calibration), len(task.test)) == (600, 512, 10_000)
    assert task.network().preprocess["layout"] == "NCHW"
