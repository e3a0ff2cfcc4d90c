"""Trained networks in int8, calibrated on training images, for comparisons with other runtimes."""

from __future__ import annotations

import functools
import os

import numpy as np
import pytest

import tersor
from tests import datasets

MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)
NETWORKS = ("resnet20", pytest.param("mobilenetv2", marks=pytest.mark.slow), "resnet8")


def normalised(x):
    """NCHW floats of the networks from PyTorch."""
    return np.ascontiguousarray(((x.astype(np.float32) / 255 - MEAN) / STD).transpose(0, 3, 1, 2))


def raw(x):
    """NHWC floats of the networks from Keras."""
    return x.astype(np.float32)


@functools.cache
def float_network(name):
    """(graph, what makes its input of images)."""
    if name == "resnet8":
        pytest.importorskip("torch", reason="Keras needs a backend")
        os.environ.setdefault("KERAS_BACKEND", "torch")
        pytest.importorskip("keras", reason="reading the .h5 file needs keras")
        return tersor.load(datasets.find("models/resnet8-cifar10.h5")), raw
    return tersor.load(datasets.find(f"models/{name}-cifar10.onnx")), normalised


@functools.cache
def int8(name):
    """(compressed model, what makes its input of images)."""
    graph, prepare = float_network(name)
    train = datasets.cifar10("train")
    rows = np.random.default_rng(0).choice(len(train.y), 128, replace=False)
    return tersor.compress(graph, recipe="int8", calibration=prepare(train.x[rows])), prepare


def images(count=1000):
    """Images of the test set, spread over it."""
    images = datasets.cifar10("test")
    step = len(images.y) // count
    return datasets.Images(images.x[::step][:count], images.y[::step][:count])
