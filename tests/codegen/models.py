"""The networks of MLPerf Tiny in int8, each made once, and where their C lies."""

from __future__ import annotations

import functools
import itertools
import tempfile
import warnings
from pathlib import Path

import numpy as np
import torch

import tersor
from tersor.exporters import c
from tests import architectures, datasets

NAMES = ("resnet8", "ds_cnn", "mobilenet_v1", "autoencoder")
MACS = {
    "resnet8": 12.50e6,
    "clustered": 12.50e6,
    "pruned": 12.50e6,
    "ds_cnn": 2.66e6,
    "mobilenet_v1": 7.49e6,
    "autoencoder": 0.264e6,
}
# Instructions on a Cortex-M4 (docs/benchmarks.md, generated C).
COUNTED = {
    "resnet8": 15.77e6,
    "ds_cnn": 4.36e6,
    "mobilenet_v1": 13.90e6,
    "autoencoder": 0.366e6,
}
_WIDTHS = {"autoencoder": 128, "narrow_autoencoder": 64}
_FOLDER = tempfile.TemporaryDirectory(prefix="tersor-c-")


def inputs(name: str, count: int, seed: int) -> np.ndarray:
    """Random samples of the network's own kind."""
    rng = np.random.default_rng(seed)
    if name in ("resnet8", "clustered", "pruned") and is_trained("resnet8"):
        return rng.uniform(0, 255, size=(count, 32, 32, 3)).astype(np.float32)
    shape = network("resnet8" if name in GRAPHS else name).inputs[0].shape[1:]
    return rng.normal(size=(count, *shape)).astype(np.float32)


def is_trained(name: str) -> bool:
    """Whether trained weights are at hand (and Keras, which reads them)."""
    import importlib.util

    file = datasets.folder() / "models" / "resnet8-cifar10.h5"
    return name == "resnet8" and file.exists() and bool(importlib.util.find_spec("keras"))


@functools.cache
def network(name: str) -> tersor.Graph:
    """The float network."""
    if is_trained(name):
        with warnings.catch_warnings():
            # Keras 3.15 on NumPy 2: variables lack the copy argument of __array__.
            warnings.simplefilter("ignore", DeprecationWarning)
            return tersor.load(datasets.folder() / "models" / "resnet8-cifar10.h5")
    if name in _WIDTHS:
        return tersor.from_torch(_autoencoder(_WIDTHS[name]), (torch.zeros(2, 640),))
    return tersor.from_torch(*architectures.build(name))


def _autoencoder(width: int) -> torch.nn.Module:
    """MLPerf Tiny's is 640-128x4-8-128x4-640; narrower ones fit into less flash."""
    torch.manual_seed(0)
    widths = [640, *[width] * 4, 8, *[width] * 4]
    layers: list[torch.nn.Module] = []
    for a, b in itertools.pairwise(widths):
        layers += [torch.nn.Linear(a, b), torch.nn.BatchNorm1d(b), torch.nn.ReLU()]
    return architectures.initialise(torch.nn.Sequential(*layers, torch.nn.Linear(width, 640)))


@functools.cache
def compressed(name: str) -> tersor.CompressedModel:
    """The network in int8, calibrated on random samples."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # agreement on noise means nothing
        return tersor.compress(
            network(name), recipe="int8", calibration=inputs(name, 8, 0), progress=False
        )


@functools.cache
def clustered() -> tersor.Graph:
    """ResNet-8 in int8 with 16 values per layer."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # agreement on noise means nothing
        model = tersor.compress(
            network("resnet8"), recipe="codebook4a8", calibration=inputs("resnet8", 16, 0)
        )
    return tersor.Graph(model.graph)


@functools.cache
def pruned() -> tersor.Graph:
    """ResNet-8 in int8 without three quarters of its blocks of four input channels."""
    graph = tersor.Graph(compressed("resnet8").graph)
    for node in graph.nodes:
        weight = np.array(graph.edges[node.inputs[1]].constant) if node.op == "conv" else None
        if weight is not None and weight.shape[1] % 4 == 0:
            blocks = weight.reshape(len(weight), -1, 4, weight.shape[2] * weight.shape[3])
            sizes = np.abs(blocks.astype(int)).sum(2)
            blocks *= (sizes > np.quantile(sizes, 0.75))[:, :, None, :]
            graph.set_constant(node.inputs[1], blocks.reshape(weight.shape))
    return graph


GRAPHS = {"clustered": clustered, "pruned": pruned}


@functools.cache
def folder(name: str, kernels: str, **options: bool) -> Path:
    """Where the C of a network lies."""
    path = Path(_FOLDER.name) / "_".join([name, kernels, *options])
    graph = GRAPHS[name]() if name in GRAPHS else compressed(name).graph
    c.write(graph, path, kernels=kernels, **options)
    return path
